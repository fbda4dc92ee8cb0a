"""The streams of :mod:`vividface_core.wan.vae`, faster and leaner, with the same results up to rounding.

What is saved: copies for padding and for the past of each convolution; the doubled map before each convolution that
follows an upsampling, and 5/9 of that convolution; two thirds of the first frame's; on a CPU in fp32 a third to a half
of every 3×3×3 convolution (:mod:`vividface_core.wan.fast_vae.winograd`). Nothing is kept of the weights but the
weights.

For inference only. Modules whose own forward matters (hooks, gradients) are left to the plain streams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vividface_core.wan.fast_vae.layers import Memory
from vividface_core.wan.fast_vae.stages import LEVELS, Stage, decoder_stages, encoder_stages, required_regions, run
from vividface_core.wan.fast_vae.tiles import Region, tiles
from vividface_core.wan.module_types import WanModule
from vividface_core.wan.vae import (
    StreamingDecoder,
    StreamingEncoder,
    after_first,
    from_patches,
    to_patches,
)

Progress = Callable[[float], None]


class _Fast:
    """Runs the steps of a net in place of its forward; goes before a plain stream in a class's bases.

    Attributes:
        memory: one dict of remembered frames a sample of the batch and a place in it: the steps that see whole maps,
            then each tile.
    """

    memory: list[dict[Any, Memory]]

    def _prepare(self, before: list[Stage], local: list[Stage], after: list[Stage], side: int | None) -> None:
        self._before, self._local, self._after, self._side = before, local, after, side
        self.memory = []

    def resume(self, memory: list) -> None:
        """Go on after another stream's last push; ``memory`` is that stream's. It isn't changed."""
        self.memory = [{place: dict(known) for place, known in sample.items()} for sample in memory]
        self.started = True

    def _step(self, x: Tensor, **first: bool) -> Tensor:
        self.started = True
        self.memory += [{} for _ in range(len(x) - len(self.memory))]
        samples = [self._one(part, memory) for part, memory in zip(x.permute(0, 2, 3, 4, 1), self.memory)]
        return torch.stack(samples).permute(0, 4, 1, 2, 3)

    def _one(self, x: Tensor, memory: dict[Any, Memory]) -> Tensor:
        """``[T, H, W, C]`` in and out."""
        whole = memory.setdefault("whole", {})
        x = self._tiled(_run(self._before, x.contiguous(), whole), memory)
        return _run(self._after, x, whole)

    def _tiled(self, x: Tensor, memory: dict[Any, Memory]) -> Tensor:
        first, *others = self._places(*x.shape[1:3])
        out = first.put(first.run(x, memory.setdefault(first.tile, {})), None)
        for place in others:
            out = place.put(place.run(x, memory.setdefault(place.tile, {})), out)
        return out

    def _places(self, height: int, width: int) -> list[_Place]:
        """The tiles of the local steps, for an input of this size."""
        shown = Region(0, height, 0, width)
        for step in self._local:
            shown = step.gives(shown)
        return [
            _Place(self._local, tile, shown, required_regions(self._local, tile, height, width))
            for tile in tiles(shown.height, shown.width, self._side)
        ]


class _Place:
    """The local steps over one tile of their output.

    Attributes:
        seen: what of the input they depend on.
    """

    def __init__(self, steps: list[Stage], tile: Region, whole: Region, regions: list[Region]) -> None:
        self._steps, self.tile, self._whole, self._regions = steps, tile, whole, regions
        self.seen = regions[0]

    def run(self, x: Tensor, memory: Memory) -> Tensor:
        """The tile of ``x``, which is the whole input."""
        whole = Region(0, x.shape[1], 0, x.shape[2])
        part = self.seen.of(x, whole)
        # Steps write into their input, and tiles share some of it.
        return self.run_seen(x.clone() if part is x and self.tile != self._whole else part, memory)

    def run_seen(self, x: Tensor, memory: Memory) -> Tensor:
        """The tile of ``x``, which is :attr:`seen` and may be written into."""
        return run(self._steps, x, memory, self._regions)

    def put(self, done: Tensor, out: Tensor | None) -> Tensor:
        """``out``, or a new map, with the tile in its place."""
        tile, whole = self.tile, self._whole
        if tile == whole:
            return done
        out = done.new_empty(len(done), whole.height, whole.width, done.shape[-1]) if out is None else out
        out[:, tile.top : tile.bottom, tile.left : tile.right] = done
        return out


Read = Callable[[int, int, Region], Tensor]
"""``read(start, stop, region)``: those frames of a clip there, ``[1, 3, n, H, W]``, −1…1."""


class Piece(NamedTuple):
    """Finished frames ``start`` … of one region, ``[B, 3, m, h, w]``, not clamped."""

    start: int
    region: Region
    frames: Tensor


class FastEncoder(_Fast, StreamingEncoder):
    """Frames in, normalised latents out, as :class:`~vividface_core.wan.vae.StreamingEncoder`.

    Args:
        vae: ``AutoencoderKLWan`` of any config.
        tile: side in pixels of the tiles that the large maps run in; ``None``: whole frames.
    """

    def __init__(self, vae: WanModule, tile: int | None = None) -> None:
        super().__init__(vae)
        local, after = encoder_stages(vae.encoder)
        cell = (vae.config.patch_size or 1) * 2 ** min(LEVELS, len(vae.config.dim_mult) - 1)
        self._prepare([], local, after, None if tile is None else max(1, tile // cell))

    def by_tiles(
        self, read: Read, size: tuple[int, int, int], chunk: int, progress: Progress = lambda share: None
    ) -> Tensor:
        """A whole clip, one tile through all its frames after the other: what is remembered is that of one tile.

        Args:
            read: gives the frames.
            size: frames, height and width of the clip, as :meth:`push` wants them.
            chunk: frames that pass together.
            progress: called with the share done.

        Returns:
            ``[1, C, T', h, w]`` fp32, normalised.
        """
        frames, height, width = size
        patch = self._config.patch_size or 1
        spans = [(0, 1), *((start, min(frames, start + chunk)) for start in range(1, frames, chunk))]
        places = self._places(height // patch, width // patch)
        maps: Tensor | None = None
        for number, place in enumerate(places):
            memory: Memory = {}
            parts: list[Tensor] = []
            for at, (start, stop) in enumerate(spans, start=1):
                pixels = read(start, stop, place.seen.times(patch)).to(self.device, self.dtype)
                pixels = to_patches(pixels, patch)[0].permute(1, 2, 3, 0).contiguous()
                parts.append(place.run_seen(pixels, memory))
                progress((number + at / len(spans)) / len(places))
            maps = place.put(torch.cat(parts), maps)
        assert maps is not None  # there is a tile at least
        memory = {}
        latents = [_run(self._after, part, memory) for part in _first_then(maps, chunk)]
        return self._normalised(self._quant(torch.cat(latents).permute(3, 0, 1, 2)[None]).chunk(2, 1)[0])


class FastDecoder(_Fast, StreamingDecoder):
    """Normalised latents in, frames out, as :class:`~vividface_core.wan.vae.StreamingDecoder`.

    Args:
        vae: ``AutoencoderKLWan`` of any config.
        tile: side in pixels of the tiles that what lies after the last attention runs in; ``None``: whole frames.
    """

    def __init__(self, vae: WanModule, tile: int | None = None) -> None:
        super().__init__(vae)
        before, local = decoder_stages(vae.decoder)
        self._prepare(before, local, [], None if tile is None else max(1, tile // (vae.config.patch_size or 1)))

    def by_tiles(self, latents: Tensor, chunk: int) -> Iterator[Piece]:
        """A whole clip, one tile through all its frames after the other: what is remembered is that of one tile.

        Args:
            latents: ``[1, C, T', h, w]``, normalised.
            chunk: latent frames that pass together.
        """
        x, patch = self._raw(latents)[0].permute(1, 2, 3, 0).contiguous(), self._config.patch_size
        memory: Memory = {}
        maps = torch.cat([_run(self._before, part, memory) for part in _first_then(x, chunk)])
        for place in self._places(*maps.shape[1:3]):
            memory, start = {}, 0
            for part in _first_then(maps, chunk):
                done = place.run(part, memory).permute(3, 0, 1, 2)[None].float()
                yield Piece(start, place.tile.times(patch or 1), from_patches(done, patch))
                start += done.shape[2]


def encoder_stream(vae: WanModule, *, plain: bool = False, tile: int | None = None) -> StreamingEncoder:
    """The fast stream where it can be had, the plain one otherwise or if it is wanted."""
    return StreamingEncoder(vae) if plain or not suits(vae.encoder) else FastEncoder(vae, tile)


def decoder_stream(vae: WanModule, *, plain: bool = False, tile: int | None = None) -> StreamingDecoder:
    """As :func:`encoder_stream`."""
    return StreamingDecoder(vae) if plain or not suits(vae.decoder) else FastDecoder(vae, tile)


def decoded(stream: StreamingDecoder, latents: Tensor, chunk: int = 1, by_tiles: bool = False) -> Iterator[Piece]:
    """Frames as they leave the decoder, while later ones wait for theirs.

    Args:
        latents: ``[B, C, T', h, w]``, normalised.
        chunk: latent frames that are decoded together; the first one alone makes one frame.
        by_tiles: one tile through all its frames after the other (one clip, in the least memory), where the stream
            can do so.
    """
    if by_tiles and isinstance(stream, FastDecoder):
        yield from stream.by_tiles(latents, chunk)
        return
    start = 0
    for part in after_first(latents, chunk):
        frames = stream.push(part)
        yield Piece(start, Region(0, frames.shape[3], 0, frames.shape[4]), frames)
        start += frames.shape[2]


DEVICES = ("cpu", "cuda")
"""Channels-last 3D convolutions are reliable on these device types."""


def suits(net: WanModule) -> bool:
    """Whether the fast path may replace an encoder's or decoder's forward: no hooks, no gradients, no unknown
    layers."""
    if next(net.parameters()).device.type not in DEVICES:
        return False
    if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in net.parameters()):
        return False
    for module in net.modules():
        hooked = module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module)
        if hooked or module.training and isinstance(module, nn.Dropout) and module.p:
            return False
    return isinstance(net.nonlinearity, nn.SiLU)


def _run(steps: list[Stage], x: Tensor, memory: Memory) -> Tensor:
    """Steps over a whole map."""
    regions = [Region(0, x.shape[1], 0, x.shape[2])]
    for step in steps:
        regions.append(step.gives(regions[-1]))
    return run(steps, x, memory, regions)


def _first_then(x: Tensor, chunk: int) -> tuple[Tensor, ...]:
    """``[T, …]`` cut into its first frame and the others, ``chunk`` at a time."""
    return (x[:1], *(x[1:].split(chunk) if len(x) > 1 else ()))
