"""A decoder that sees the degraded frames beside the restored latent.

An autoencoder loses detail that a good input still has. This decoder is a small U-Net over the input's own frames: the
latent enters at its coarsest level, and the result is

    x̂ = r + (1 + δ) ⊙ x_l,

with a residual r and a per-pixel share 1 + δ of the input, both from one head that starts at zero. A decoder that has
learned nothing returns its input, and one that is given no input (zeros) decodes the latent alone.

Everything is causal: all blocks but the U-Net's at half the size see the frame before theirs, by a quarter of their
channels that is one frame old, and that is all a stream remembers. Where the decoder is ``aligned`` they follow the
motion from frame to frame (:mod:`vividface_core.wan.motion`), which is found on whole frames. Norms are of a pixel's
own channels and there is no attention over the frame, so what else a pixel depends on has a known radius, and tiles are
exact.

Frames are ``[B, 3, T, H, W]``, −1…1; latents ``[B, C, T', H/s, W/s]``, normalised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.errors import UnsupportedCheckpoint
from vividface_core.wan.decoder_blocks import SHIFTED, Block, Memory, larger, levels, normed, run_blocks
from vividface_core.wan.degradation_measures import REACH as MEASURES_REACH
from vividface_core.wan.degradation_measures import DegradationMeasures
from vividface_core.wan.degradation_measures import count as count_measures
from vividface_core.wan.fast_vae.streams import Piece
from vividface_core.wan.fast_vae.tiles import Region, tiles
from vividface_core.wan.motion import FARTHEST, MotionStream, motion, places
from vividface_core.wan.vae import StreamingDecoder, spatial_ratio, temporal_ratio


@dataclass(frozen=True)
class DecoderConfig:
    """The shape of a :class:`ConditionalDecoder`.

    Attributes:
        latent_channels: C.
        temporal_ratio: frames per latent frame after the first.
        widths: channels of the levels at 1/2, 1/4 … of the frame's side; the last one is the latent's grid.
        down_blocks, up_blocks: residual blocks of each level on the way down and up, the last level's are joined.
        head: channels at the full size.
        head_blocks: residual blocks at the full size. What the levels below say of a pixel is interpolated; without
            such blocks noise in a sharp picture can't be told from its detail.
        refines: whether it also sees what the autoencoder's own decoder makes of the latent, and mixes that in by a
            second share: x̂ = r + (1 + δ) ⊙ x_l + γ ⊙ (D(ẑ) − x_l).
        measures: channels of a code of the frames' noise and sharpness
            (:mod:`vividface_core.wan.degradation_measures`) that scales what normed blocks find; 0: none.
        fine: channels of blocks at half the size behind the U-Net, whose residual is shuffled to pixels: they see the
            frames again, a block of 2×2 pixels at once, and say each pixel's own value; 0: none.
        fine_blocks: how many. They are normed.
        normed: whether the blocks of the U-Net bring each pixel's channels to mean 0 and variance 1 before they look
            at them. Without it features may grow from block to block until a ReLU is shut for good on all clips of a
            kind.
        limit: largest magnitude of the U-Net's features, which keeps one that isn't normed from that; 0: none.
        aligned: whether the channels that are a frame old follow the motion of the picture.
    """

    latent_channels: int
    temporal_ratio: int
    widths: tuple[int, ...]
    down_blocks: tuple[int, ...]
    up_blocks: tuple[int, ...]
    head: int = 16
    refines: bool = False
    head_blocks: int = 0
    measures: int = 0
    fine: int = 0
    fine_blocks: int = 0
    normed: bool = False
    limit: float = 0.0
    aligned: bool = False

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: Any = "The decoder") -> DecoderConfig:
        """Raises UnsupportedCheckpoint for unknown, missing or ill-typed entries."""
        try:
            entries: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            config = cls(**entries)
            counts = [config.latent_channels, config.temporal_ratio, config.head, *config.widths]
            blocks = [*config.down_blocks, *config.up_blocks, config.head_blocks, config.fine_blocks]
            blocks += [config.fine, config.measures]
            levels = {len(config.widths), len(config.down_blocks), len(config.up_blocks)}
            fits = config.limit >= 0 and type(config.normed) is type(config.aligned) is bool
            fits = (
                fits
                and all(type(n) is int and n > 0 for n in counts)
                and all(type(n) is int and n >= 0 for n in blocks)
            )
        except TypeError as error:
            raise UnsupportedCheckpoint(f"{source}: this is no conditional decoder's config ({error}).") from error
        head = (config.head,) if config.head_blocks else ()
        shifted = (*config.widths, *head, config.fine)
        fits = fits and bool(config.fine) == bool(config.fine_blocks)
        fits = fits and not (config.measures and not config.fine and not config.normed)
        if not fits or len(levels) != 1 or any(width % SHIFTED for width in shifted):
            raise UnsupportedCheckpoint(
                f"{source}: a conditional decoder needs positive numbers, as many blocks as widths, widths that are "
                f"multiples of {SHIFTED}, and normed blocks where there are measures; this is {values}."
            )
        return config

    def to_dict(self) -> dict[str, Any]:
        """JSON values that :meth:`from_dict` takes back."""
        return asdict(self)

    @property
    def spatial_ratio(self) -> int:
        """Pixels per latent cell and side."""
        return 2 ** len(self.widths)

    @property
    def radius(self) -> int:
        """Pixels around one of the output that it depends on, rounded up to whole latent cells."""
        fine = 4 + (4 + self._moved(2)) * self.fine_blocks if self.fine else 0
        reach = max(2 + (2 + self._moved(1)) * self.head_blocks, fine)
        for level in range(len(self.widths)):
            cell = 2 ** (level + 1)
            # Two convolutions a block; one that halves the map, or the first; and the bilinear way back.
            block = 2 * cell + (self._moved(cell) if level else 0)
            reach += block * (self.down_blocks[level] + self.up_blocks[level]) + cell + cell
        cells, measures = -(-reach // self.spatial_ratio), MEASURES_REACH if self.measures else 0
        if not self.normed:
            # Then the fine stage alone is scaled by the measures.
            return max(cells, -(-fine // self.spatial_ratio) + measures) * self.spatial_ratio
        return (cells + measures) * self.spatial_ratio

    def _moved(self, cell: int) -> int:
        """Pixels to where a block finds the frame before, and the cell's next, between which it is interpolated."""
        return FARTHEST + cell if self.aligned else 0

    def check_fits(self, vae_config: Any) -> None:
        """Raises UnsupportedCheckpoint unless the decoder reads this autoencoder's latents."""
        check_fits(self, vae_config, "conditional decoder")


def check_fits(config: Any, vae_config: Any, what: str) -> None:
    """Raises UnsupportedCheckpoint unless a net of ``config`` and the autoencoder have latents of one shape."""
    ours = config.latent_channels, config.spatial_ratio, config.temporal_ratio
    theirs = vae_config.z_dim, spatial_ratio(vae_config), temporal_ratio(vae_config)
    if ours != theirs:
        raise UnsupportedCheckpoint(
            f"The {what} doesn't fit the autoencoder: channels, pixels and frames a latent cell are {ours} here and "
            f"{theirs} there."
        )


class ConditionalDecoder(nn.Module):
    """See the module's docstring. Weights are fp32 or narrower; the sum with the input is taken in fp32."""

    _keep_in_fp32_modules: tuple[str, ...] = ()

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config, widths = config, config.widths
        self.latent_in = nn.Conv2d(config.latent_channels, widths[-1] * config.temporal_ratio, 1)
        pictures = 2 if config.refines else 1
        self.frames_in = nn.Conv2d(12 * pictures, widths[0], 3, padding=1)
        measured = config.measures if config.normed else 0
        self.down = levels(widths, config.down_blocks, measured, config.normed)
        self.smaller = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(widths, widths[1:]))
        self.up = levels(widths, config.up_blocks, measured, config.normed)
        self.larger = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in zip(widths, widths[1:]))
        self.to_full = nn.Conv2d(widths[0], config.head, 1)
        self.head_in = nn.Conv2d(3 * pictures, config.head, 3, padding=1)
        self.full = nn.ModuleList(Block(config.head, shifted=True) for _ in range(config.head_blocks))
        self.head_out = nn.Conv2d(config.head, 3 + pictures, 3, padding=1)
        self.measures = DegradationMeasures(len(widths), config.measures) if config.measures else None
        zero = [*self.head_out.parameters()]
        if config.fine:
            self.fine_in = nn.Conv2d(12 * pictures + widths[0], config.fine, 3, padding=1)
            blocks = (Block(config.fine, True, config.measures, True) for _ in range(config.fine_blocks))
            self.fine = nn.ModuleList(blocks)
            self.fine_out = nn.Conv2d(config.fine, 12, 3, padding=1)
            zero += self.fine_out.parameters()
        for tensor in zero:
            nn.init.zeros_(tensor)

    def forward(
        self,
        latents: Tensor,
        frames: Tensor,
        memory: Memory | None = None,
        decoded: Tensor | None = None,
        found: Tensor | None = None,
    ) -> Tensor:
        """Decode a clip, or the next piece of a stream.

        Args:
            latents: ``[B, C, n, h, w]``, normalised, n ≥ 1.
            frames: ``[B, 3, m, H, W]``, −1…1; zeros where there is no input. m is n times the temporal ratio; the
                very first latent frame makes one frame.
            memory: of the pieces before; changed. ``None``: a whole clip.
            decoded: D(ẑ) for a decoder that refines it, of the shape of ``frames``.
            found: the motion of the frames, for a decoder that is ``aligned``; ``None``: it is found in ``frames``,
                which then are whole.

        Returns:
            ``[B, 3, m, H, W]`` fp32 around −1…1, not clamped.
        """
        memory = {} if memory is None else memory
        batch, count = frames.shape[0], frames.shape[2]
        given = frames.transpose(1, 2).flatten(0, 1).float()
        own = None if decoded is None else decoded.transpose(1, 2).flatten(0, 1).float().clamp(-1, 1)
        x = given if own is None else torch.cat([given, own], 1)
        x = x.to(self.head_out.weight.dtype).contiguous(memory_format=torch.channels_last)
        halves, codes = F.pixel_unshuffle(x, 2), self._codes(given, batch, memory)
        where = self._places(frames, found, memory)
        features = self._features(halves, self._latent(latents, count, memory), batch, memory, codes, where[1:])
        out = self._head(features, x, batch, memory, where[0]).float()
        if self.config.fine:
            y = self.fine_in(torch.cat([halves, normed(features)], 1))
            y = self.fine_out(normed(run_blocks(self.fine, y, batch, memory, codes[0], where[1])))
            out[:, :3] += F.pixel_shuffle(y.float(), 2)
        result = given * (1 + out[:, 3:4]) + out[:, :3]
        if own is not None:
            result = result + out[:, 4:] * (own - given)
        return result.unflatten(0, (batch, -1)).transpose(1, 2)

    def _latent(self, latents: Tensor, count: int, memory: Memory) -> Tensor:
        """``[B·m, width, h, w]``: a latent frame speaks for its group of frames, in its own way for each of them."""
        batch, ratio = latents.shape[0], self.config.temporal_ratio
        weight = self.latent_in.weight
        x = latents.transpose(1, 2).flatten(0, 1).to(weight.device, weight.dtype)
        x = self.latent_in(x.contiguous(memory_format=torch.channels_last))
        x = x.unflatten(1, (ratio, -1)).unflatten(0, (batch, -1)).flatten(1, 2)
        first = 0 if "started" in memory else ratio - 1
        memory["started"] = x.new_empty(0)
        if x.shape[1] - first != count:
            raise ValueError(f"{count} frames beside latents for {x.shape[1] - first}")
        return x[:, first:].flatten(0, 1)

    def _codes(self, given: Tensor, batch: int, memory: Memory) -> list[Tensor | None]:
        """The code of the measures for each level, ``[B·m, measures, h, w]``, where blocks are scaled by it."""
        if self.measures is None:
            return [None] * len(self.down)
        code, memory[self.measures] = self.measures(given, batch, memory.get(self.measures))
        cell = self.config.spatial_ratio
        scales = [cell // 2 ** (level + 1) for level in range(len(self.down) if self.config.normed else 1)]
        codes = [code if scale == 1 else larger(code, scale) for scale in scales]
        return codes + [None] * (len(self.down) - len(codes))

    def _places(self, frames: Tensor, found: Tensor | None, memory: Memory) -> list[Tensor | None]:
        """Where blocks find the frame before, at the full size and at each level's."""
        if not self.config.aligned:
            return [None] * (1 + len(self.down))
        if found is None:
            found, memory["luma"] = motion(frames, memory.get("luma"))
        maps = found.transpose(1, 2).flatten(0, 1)
        halved = [maps, *(F.avg_pool2d(maps, 2 ** (level + 1)) / 2 ** (level + 1) for level in range(len(self.down)))]
        return [places(x) for x in halved]

    def _features(
        self,
        x: Tensor,
        latent: Tensor,
        batch: int,
        memory: Memory,
        codes: Sequence[Tensor | None],
        where: Sequence[Tensor | None],
    ) -> Tensor:
        """The U-Net: blocks of 2×2 pixels ``[B·m, 12, H/2, W/2]`` to ``[B·m, width, H/2, W/2]``."""
        x, skips = self.frames_in(x), []
        for level, blocks in enumerate(self.down):
            if level == len(self.smaller):
                x = x + latent
            x = self._limited(run_blocks(blocks, x, batch, memory, codes[level], where[level]))
            if level < len(self.smaller):
                skips.append(x)
                x = self.smaller[level](x)
        x = self._limited(run_blocks(self.up[-1], x, batch, memory, codes[-1], where[-1]))
        for level in reversed(range(len(self.larger))):
            # Interpolated, not shuffled: a shuffle leaves a pattern of its phases in flat areas.
            x = skips[level] + larger(self.larger[level](x))
            x = self._limited(run_blocks(self.up[level], x, batch, memory, codes[level], where[level]))
        return x

    def _limited(self, x: Tensor) -> Tensor:
        return x.clamp(-self.config.limit, self.config.limit) if self.config.limit else x

    def _head(self, features: Tensor, x: Tensor, batch: int, memory: Memory, where: Tensor | None) -> Tensor:
        x = F.relu_(self.head_in(x).add_(larger(self.to_full(features))))
        return self.head_out(run_blocks(self.full, x, batch, memory, places=where))


Read = Callable[[int, int, Region], Tensor]
"""``read(start, stop, region)``: those degraded frames there, ``[1, 3, n, H, W]``, −1…1."""


def decoded_with_input(
    decoder: ConditionalDecoder,
    latents: Tensor,
    read: Read,
    chunk: int = 1,
    side: int | None = None,
    own: StreamingDecoder | None = None,
) -> Iterator[Piece]:
    """Frames as they leave the decoder, while later ones wait for theirs.

    Args:
        latents: ``[1, C, T', h, w]``, normalised.
        read: gives the degraded frames, padded to whole latent cells.
        chunk: latent frames that are decoded together; the first one alone makes one frame.
        side: side in pixels of the tiles; ``None``: whole frames. The pictures are the same.
        own: a new stream of the autoencoder's own decoder, for a decoder that refines what it makes.
    """
    config = decoder.config
    height, width = (size * config.spatial_ratio for size in latents.shape[-2:])
    spots = [_Place(config, tile, height, width) for tile in _tiles(config, height, width, side)]
    memories: list[Memory] = [{} for _ in spots]
    motions = MotionStream() if config.aligned else None
    for first, last in _spans(latents.shape[2], chunk):
        start = max(0, 1 + (first - 1) * config.temporal_ratio)
        stop = 1 + (last - 1) * config.temporal_ratio
        part = latents[:, :, first:last]
        decoded = None if own is None else own.push(part)
        whole = read(start, stop, Region(0, height, 0, width)) if motions else None
        found = None if motions is None or whole is None else motions.push(whole)
        for place, memory in zip(spots, memories):
            frames = read(start, stop, place.seen) if whole is None else place.of(whole)
            beside, along = (None if x is None else place.of(x) for x in (decoded, found))
            yield Piece(start, place.tile, place.inner(decoder(place.of_latent(part), frames, memory, beside, along)))


class _Place:
    """A tile in pixels, and what of the frame its pixels depend on."""

    def __init__(self, config: DecoderConfig, tile: Region, height: int, width: int) -> None:
        self.tile, self._cell = tile, config.spatial_ratio
        self.seen = tile.wider(config.radius).within(height, width)

    def of(self, frames: Tensor) -> Tensor:
        """:attr:`seen` of whole frames ``[…, H, W]``."""
        return frames[..., self.seen.top : self.seen.bottom, self.seen.left : self.seen.right]

    def of_latent(self, latent: Tensor) -> Tensor:
        """The same of a latent."""
        top, bottom, left, right = (edge // self._cell for edge in self.seen)
        return latent[..., top:bottom, left:right]

    def inner(self, frames: Tensor) -> Tensor:
        """The tile out of frames that show :attr:`seen`."""
        top, left = self.tile.top - self.seen.top, self.tile.left - self.seen.left
        return frames[..., top : top + self.tile.height, left : left + self.tile.width]


def _tiles(config: DecoderConfig, height: int, width: int, side: int | None) -> Iterator[Region]:
    """Tiles of whole latent cells, in pixels."""
    cell = config.spatial_ratio
    for tile in tiles(height // cell, width // cell, None if side is None else max(1, side // cell)):
        yield tile.times(cell)


def _spans(count: int, chunk: int) -> Iterator[tuple[int, int]]:
    """The first latent frame alone, then ``chunk`` at a time."""
    yield 0, 1
    for first in range(1, count, chunk):
        yield first, min(count, first + chunk)


def operations(config: DecoderConfig, frames: int, height: int, width: int) -> int:
    """Floating-point operations (two a multiplication with its sum) of decoding a clip, by its convolutions."""
    total = 0
    for level, wide in enumerate(config.widths):
        area = height * width // 4 ** (level + 1)
        total += area * 9 * 2 * wide * wide * 2 * (config.down_blocks[level] + config.up_blocks[level])
        if level + 1 < len(config.widths):
            narrow, wider = wide, config.widths[level + 1]
            total += area // 4 * 2 * narrow * wider * (9 + 1)
        if config.normed:
            total += area * 2 * config.measures * wide * (config.down_blocks[level] + config.up_blocks[level])
    pictures = 2 if config.refines else 1
    total += height * width // 4 * 2 * config.widths[0] * (12 * pictures * 9 + config.head)
    total += height * width * 2 * 9 * config.head * (4 * pictures + 3 + 2 * config.head * config.head_blocks)
    half = height * width // 4 * 2 * config.fine
    total += half * 9 * (12 * pictures + config.widths[0] + 12)
    total += half * config.fine_blocks * (18 * config.fine + config.measures)
    cells = height * width // 4 ** len(config.widths)
    total += cells * 4 * config.measures * (count_measures(len(config.widths)) + config.measures)
    total += cells * 2 * config.latent_channels * config.widths[-1]
    return frames * total
