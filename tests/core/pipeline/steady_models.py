"""Hand-made models of de-flickering, with the faults that a model with a codebook has."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.restorers.base import DEFLICKER_BRIGHTNESS, DEFLICKER_PIXEL, Restorer
from vividface_core.restorers.lengths import ClipLengths


class Unchanging(Restorer):
    """A model that changes nothing."""

    name = "unchanging"
    valid_lengths = ClipLengths(2)
    size_multiple, native_size, native_frames = 8, 64, 24
    color_default = "none"
    tasks = (DEFLICKER_BRIGHTNESS, DEFLICKER_PIXEL)

    def __init__(self) -> None:
        self._net = nn.Linear(1, 1)

    def restore(self, clip, *, mask=None, strength=1.0, progress=None):
        return clip.clone()

    def memory_for(self, frames: int, height: int, width: int) -> int:
        return 100 * frames * height * width

    @property
    def modules(self) -> dict[str, nn.Module]:
        return {"net": self._net}

    def to(self, device=None, dtype=None) -> Unchanging:
        return self

    device, dtype = torch.device("cpu"), torch.float32


class Steady(Unchanging):
    """Each frame as bright as the clip's median, everywhere 4 % too dark, blurred, and one percent off at random."""

    name = "steady"

    def restore(self, clip, *, mask=None, strength=1.0, progress=None):
        level = clip.mean((1, 2, 3))
        noise = 0.01 * torch.randn(len(clip), generator=torch.Generator().manual_seed(len(clip)))
        gain = 0.96 * level.median() / level * (1 + noise)
        return (F.avg_pool2d(clip, 5, 1, 2, count_include_pad=False) * gain.view(-1, 1, 1, 1)).clamp(0, 1)


class Averaging(Unchanging):
    """Each frame the mean of its neighbours, a little too red."""

    name = "averaging"

    def restore(self, clip, *, mask=None, strength=1.0, progress=None):
        frames = range(len(clip))
        means = [clip[max(0, t - 4) : t + 5].mean(0) for t in frames]
        return (torch.stack(means) + torch.tensor([0.03, 0, 0]).view(3, 1, 1)).clamp(0, 1)


def flickering(clip: Tensor, factors: dict[int, float]) -> Tensor:
    """A clip with some frames multiplied, in 8 bits that saturate."""
    low = clip.clone()
    for frame, factor in factors.items():
        low[frame] = (clip[frame] * factor * 255).round().clamp(0, 255) / 255
    return low


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean().clamp_min(1e-12)))
