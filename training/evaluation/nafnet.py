"""An image restorer without any idea of video or faces, as an honest control: NAFNet (Chen et al., ECCV 2022).

A block is, on ``[B, C, H, W]``:

    u = SCA(SG(depthwise 3×3 (1×1 to 2C (LN x)))),  y = x + β · 1×1 (u)
    z = y + γ · 1×1 (SG(1×1 to 2C (LN y)))

LN normalises each pixel over its channels, SG (simple gate) multiplies one half of the channels with the other, SCA
(simplified channel attention) multiplies each channel by a 1×1 convolution of the channels' means over the picture; β
and γ are learned per channel and start at 0. Blocks stand in a U: each stage halves the sides (2×2, stride 2) and
doubles the channels, the way up is a 1×1 convolution and a pixel shuffle, and what the way down had is added. The
output is the input plus what the network says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class NafnetSize:
    """How large it is.

    Attributes:
        width: channels at full size.
        down, up: blocks of each stage on the way down and back, the outermost first and last.
        middle: blocks at the bottom.
    """

    width: int = 32
    down: tuple[int, ...] = (1, 1, 1, 28)
    middle: int = 1
    up: tuple[int, ...] = (1, 1, 1, 1)


PUBLISHED = NafnetSize()
"""NAFNet-32 of its GoPro experiments: 17.1 M parameters, 16 GMAC at 256×256. (For SIDD: down 2, 2, 4, 8, middle 12,
up 2 each.)"""


class PixelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        spread, mean = torch.var_mean(x, dim=1, keepdim=True, correction=0)
        return (x - mean) * (spread + 1e-6).rsqrt() * self.weight[:, None, None] + self.bias[:, None, None]


class NafBlock(nn.Module):
    """See the module."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.norm_again = PixelNorm(channels), PixelNorm(channels)
        self.widen = nn.Conv2d(channels, 2 * channels, 1)
        self.spatial = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.attend = nn.Conv2d(channels, channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)
        self.widen_again, self.project_again = nn.Conv2d(channels, 2 * channels, 1), nn.Conv2d(channels, channels, 1)
        self.scale, self.scale_again = (nn.Parameter(torch.zeros(1, channels, 1, 1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        gated = _gate(self.spatial(self.widen(self.norm(x))))
        gated = gated * self.attend(gated.mean((2, 3), keepdim=True))
        x = x + self.project(gated) * self.scale
        return x + self.project_again(_gate(self.widen_again(self.norm_again(x)))) * self.scale_again


def _gate(x: Tensor) -> Tensor:
    one, other = x.chunk(2, dim=1)
    return one * other


class Nafnet(nn.Module):
    """``[B, 3, H, W]`` to the same, any range; sides are padded to what the stages need."""

    def __init__(self, size: NafnetSize = PUBLISHED) -> None:
        super().__init__()
        if len(size.down) != len(size.up):
            raise ValueError(f"{len(size.down)} stages down and {len(size.up)} up")
        widths = [size.width * 2**stage for stage in range(len(size.down) + 1)]
        self.first = nn.Conv2d(3, size.width, 3, padding=1)
        self.last = nn.Conv2d(size.width, 3, 3, padding=1)
        self.down = nn.ModuleList(_blocks(width, count) for width, count in zip(widths, size.down))
        self.shrink = nn.ModuleList(nn.Conv2d(width, 2 * width, 2, 2) for width in widths[:-1])
        self.middle = _blocks(widths[-1], size.middle)
        self.enlarge = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, 2 * width, 1, bias=False), nn.PixelShuffle(2))
            for width in reversed(widths[1:])
        )
        self.up = nn.ModuleList(_blocks(width, count) for width, count in zip(reversed(widths[:-1]), size.up))
        self.multiple = 2 ** len(size.down)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        padded = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        features, skips = self.first(padded), []
        for blocks, shrink in zip(self.down, self.shrink):
            features = blocks(features)
            skips.append(features)
            features = shrink(features)
        features = self.middle(features)
        for enlarge, blocks in zip(self.enlarge, self.up):
            features = blocks(enlarge(features) + skips.pop())
        return (padded + self.last(features))[..., :height, :width]


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(NafBlock(channels) for _ in range(count)))


def parameters(net: nn.Module) -> int:
    """Numbers that are learned."""
    return sum(weight.numel() for weight in net.parameters())


def gflop(net: nn.Module, side: int = 256) -> float:
    """10⁹ floating-point operations of one frame of ``side``², two for each multiplication and addition; convolutions
    alone, counted from their shapes."""
    total = 0

    def count(layer: nn.Conv2d, _: object, out: Tensor) -> None:
        nonlocal total
        kernel = layer.kernel_size[0] * layer.kernel_size[1] * layer.in_channels // layer.groups
        total += 2 * kernel * out[0].numel()

    hooks = [layer.register_forward_hook(count) for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        net(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    return total / 1e9


def sizes(candidates: Sequence[NafnetSize], side: int = 256) -> list[tuple[NafnetSize, int, float]]:
    """Parameters and GFLOP a frame of each candidate."""
    return [(size, parameters(net), gflop(net, side)) for size in candidates for net in [Nafnet(size)]]
