"""Wan's encoder and decoder as a list of steps, taken off diffusers' modules.

Each step runs on ``[T, H, W, C]`` with the memory of its stream, and knows which part of its input a part of its
output depends on, so that a list of steps runs on a tile as well as on a whole map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.wan.fast_vae import layers
from vividface_core.wan.fast_vae.layers import Memory
from vividface_core.wan.fast_vae.tiles import Region
from vividface_core.wan.module_types import WanModule

FRAME_BATCH = 4
"""Frames of a large map that are computed together: those of one latent frame."""
LARGE = 64 << 20
"""Bytes of several frames from which a map is large, on a CPU; elsewhere eight times as much."""
LEVELS = 2
"""Halvings of the map in the part of the encoder that runs in tiles."""
WIDTH = 64
"""Channels of a map that is large in pixels, at least."""


class Stage:
    """Keeps the size of the map unless a subclass says otherwise."""

    ring: int = 0
    """Cells around a part of the output that it depends on."""

    def run(self, x: Tensor, memory: Memory, region: Region) -> Tensor:
        """May write into ``x``, which shows ``region``."""
        raise NotImplementedError

    def needs(self, region: Region, height: int, width: int) -> Region:
        """What ``region`` of the output depends on, in an input of ``height``×``width``."""
        return region.wider(self.ring).within(height, width)

    def gives(self, region: Region) -> Region:
        """What comes out of ``region`` of the input."""
        return region


@dataclass(frozen=True)
class Convolution(Stage):
    """Causal 3×3×3 convolution, of the normed and activated input where there is a norm."""

    conv: WanModule
    norm: WanModule | None = None
    ring = 1

    def run(self, x: Tensor, memory: Memory, region: Region) -> Tensor:
        return normed_convolution(x, self.norm, self.conv, memory)


@dataclass(frozen=True)
class Residual(Stage):
    """Twice norm, SiLU and convolution, added to the input."""

    block: WanModule
    ring = 2

    def run(self, x: Tensor, memory: Memory, region: Region) -> Tensor:
        block = self.block
        inner = normed_convolution(x, block.norm1, block.conv1, memory)
        shortcut = x if isinstance(block.conv_shortcut, nn.Identity) else layers.pointwise(x, block.conv_shortcut)
        del x
        return normed_convolution(inner, block.norm2, block.conv2, memory, shortcut)


@dataclass(frozen=True)
class Attention(Stage):
    """Looks at all of the frame: not for tiles."""

    block: WanModule

    def run(self, x: Tensor, memory: Memory, region: Region) -> Tensor:
        return layers.self_attention(x, self.block)

    def needs(self, region: Region, height: int, width: int) -> Region:
        return Region(0, height, 0, width)


@dataclass(frozen=True)
class Downsample(Stage):
    """Half the size, and half the frames where the module says so."""

    resample: WanModule

    def run(self, x: Tensor, memory: Memory, region: Region) -> Tensor:
        x = layers.downsample(x, self.resample.resample[1])
        return (
            layers.temporal_downsample(x, self.resample.time_conv, memory)
            if self.resample.mode == "downsample3d"
            else x
        )

    def needs(self, region: Region, height: int, width: int) -> Region:
        # Output i sees 2i … 2i + 2; one more makes pairs.
        double = region.times(2)
        return double._replace(bottom=double.bottom + 2, right=double.right + 2).within(height, width)

    def gives(self, region: Region) -> Region:
        return Region(*(edge // 2 for edge in region))


@dataclass(frozen=True)
class Upsample(Stage):
    """Twice the size, and twice the frames where the module says so; the very first frame stays one."""

    resample: WanModule

    def run(self, x: Tensor, memory: Memory, region: Region) -> Tensor:
        if self.resample.mode == "upsample3d":
            if self.resample in memory:
                x = layers.temporal_upsample(x, self.resample.time_conv, memory)
            else:
                memory[self.resample] = x.new_empty(0)  # the first frame has been; it isn't remembered
        return layers.upsample(x, self.resample.resample[1])

    def needs(self, region: Region, height: int, width: int) -> Region:
        near = region.wider(1)
        return Region(near.top // 2, -(-near.bottom // 2), near.left // 2, -(-near.right // 2)).within(height, width)

    def gives(self, region: Region) -> Region:
        return region.times(2)


@dataclass(frozen=True)
class ResidualBranch(Stage):
    """Steps around which a resized copy of the input is led (Wan 2.2's blocks)."""

    steps: tuple[Stage, ...]
    shortcut: WanModule

    def run(self, x: Tensor, memory: Memory, region: Region) -> Tensor:
        last = self.steps[-1]
        inner, at = x.clone(), region
        for step in self.steps:
            inner, at = step.run(inner, memory, at), step.gives(at)
        if isinstance(last, Upsample):
            _add_upsampled(inner, x, self.shortcut)
        else:
            _add_downsampled(inner, x, self.shortcut)
        return inner

    def needs(self, region: Region, height: int, width: int) -> Region:
        return required_regions(self.steps, region, height, width)[0]

    def gives(self, region: Region) -> Region:
        for step in self.steps:
            region = step.gives(region)
        return region


def normed_convolution(
    x: Tensor, norm: WanModule | None, conv: WanModule, memory: Memory, into: Tensor | None = None
) -> Tensor:
    """Causal convolution of SiLU(norm(x)), added to ``into``."""

    def fill(target: Tensor) -> None:
        if norm is None:
            target.copy_(x)
        else:
            layers.norm_silu(x, norm, target)

    return layers.causal(conv, memory, tuple(x.shape), x, fill, into)


def _add_upsampled(x: Tensor, small: Tensor, layer: WanModule) -> None:
    """Add the small map, each value repeated over the cells and frames that it stands for (DupUp3D)."""
    time, side = layer.factor_t, layer.factor_s
    frames, height, width, _ = small.shape
    first = time - len(x) // frames  # the very first frame stays one: the last of its repetitions
    cells = x.view(frames, time - first, height, side, width, side, -1)
    if layer.repeats % layer.factor == 0:
        wide = small.repeat_interleave(layer.repeats // layer.factor, -1)
        cells += wide[:, None, :, None, :, None]
        return
    wide = small.repeat_interleave(layer.repeats, -1).unflatten(-1, (-1, time, side, side))
    cells += wide[..., first:, :, :].permute(0, 4, 1, 5, 2, 6, 3)


def _add_downsampled(x: Tensor, large: Tensor, layer: WanModule) -> None:
    """Add the means of groups of channels, cells and frames (AvgDown3D)."""
    time, side = layer.factor_t, layer.factor_s
    large = F.pad(large, (0, 0, 0, 0, 0, 0, -len(large) % time, 0))
    frames, height, width, channels = large.shape
    cells = large.view(frames // time, time, height // side, side, width // side, side, channels)
    groups = cells.permute(0, 2, 4, 6, 1, 3, 5).reshape(*x.shape[:3], layer.out_channels, layer.group_size)
    x += groups.mean(-1)


def required_regions(steps: Sequence[Stage], region: Region, height: int, width: int) -> list[Region]:
    """The region before each step, and ``region`` itself last; ``height``×``width`` is the first step's whole input."""
    sizes = [Region(0, height, 0, width)]
    for step in steps:
        sizes.append(step.gives(sizes[-1]))
    regions = [region]
    for step, size in zip(reversed(steps), reversed(sizes[:-1])):
        regions.insert(0, step.needs(regions[0], size.height, size.width))
    return regions


def run(steps: Sequence[Stage], x: Tensor, memory: Memory, regions: Sequence[Region]) -> Tensor:
    """All steps, one after the other; ``regions`` are those of :func:`required_regions`, and ``x`` shows the first.

    Many frames pass the small maps together and large ones a few at a time. ``x`` may be written into.
    """
    for at, (step, region, wanted) in enumerate(zip(steps, regions, regions[1:])):
        if _large(x) and at and _resizes(steps[at - 1], Upsample):
            return torch.cat([run(steps[at:], part, memory, regions[at:]) for part in x.split(FRAME_BATCH)])
        if at == 0 and _large(x) and (small := _first_downsample(steps)):
            parts = [run(steps[:small], part, memory, regions[: small + 1]) for part in x.split(FRAME_BATCH)]
            return run(steps[small:], torch.cat(parts), memory, regions[small:])
        x = wanted.of(step.run(x, memory, region), step.gives(region))
    return x


def _large(x: Tensor) -> bool:
    # An encoder's first map is as thin as a picture; the next one is as wide as most.
    size = x[..., :1].numel() * max(x.shape[-1], WIDTH) * x.element_size()
    return len(x) > FRAME_BATCH and size > (LARGE if x.device.type == "cpu" else 8 * LARGE)


def _resizes(step: Stage, kind: type[Stage]) -> bool:
    return isinstance(step.steps[-1] if isinstance(step, ResidualBranch) else step, kind)


def _first_downsample(steps: Sequence[Stage]) -> int:
    """How many steps there are up to the first that halves the map."""
    return next((number for number, step in enumerate(steps, start=1) if _resizes(step, Downsample)), 0)


def encoder_stages(net: WanModule) -> tuple[list[Stage], list[Stage]]:
    """Of a ``WanEncoder3d``: the large maps, up to a quarter of the size, and the rest, which ends in attention.

    Tiles are for the former: deeper down a cell's surroundings are wide, and whole maps are small.

    Raises:
        TypeError: a layer that isn't known here.
    """
    local: list[Stage] = [Convolution(net.conv_in)]
    for block in net.down_blocks:
        local += _block(block, "downsampler")
    smaller = [number for number, step in enumerate(local, start=1) if _resizes(step, Downsample)]
    at = smaller[:LEVELS][-1] if smaller else 0
    return local[:at], [*local[at:], *_middle(net.mid_block), Convolution(net.conv_out, net.norm_out)]


def decoder_stages(net: WanModule) -> tuple[list[Stage], list[Stage]]:
    """Of a ``WanDecoder3d``: up to the last attention, and what is local."""
    steps = [Convolution(net.conv_in), *_middle(net.mid_block)]
    for block in net.up_blocks:
        steps += _block(block, "upsampler")
    steps.append(Convolution(net.conv_out, net.norm_out))
    at = max((number for number, step in enumerate(steps, start=1) if isinstance(step, Attention)), default=0)
    return steps[:at], steps[at:]


def _middle(block: WanModule) -> list[Stage]:
    steps: list[Stage] = [Residual(block.resnets[0])]
    for attention, resnet in zip(block.attentions, block.resnets[1:]):
        steps += [*([Attention(attention)] if attention is not None else []), Residual(resnet)]
    return steps


def _block(block: WanModule, resampler: str) -> list[Stage]:
    kind = type(block).__name__
    if kind == "WanResidualBlock":
        return [Residual(block)]
    if kind == "WanResample" and block.mode.startswith(("downsample", "upsample")):
        return [Downsample(block) if block.mode.startswith("downsample") else Upsample(block)]
    if kind == "WanUpBlock":
        return [*map(Residual, block.resnets), *(step for each in block.upsamplers or () for step in _block(each, ""))]
    if kind in ("WanResidualDownBlock", "WanResidualUpBlock"):
        last = getattr(block, resampler)
        steps = (*map(Residual, block.resnets), *(_block(last, "") if last is not None else ()))
        return [ResidualBranch(steps, block.avg_shortcut)] if block.avg_shortcut is not None else list(steps)
    raise TypeError(f"no fast form of {kind}")
