"""How much a clip flickers: how jerkily the brightness of its frames, and of parts of them, changes; and what stays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vividface_core.video.colorspace import luma

GRID = 8
"""Blocks along each side of a frame."""
REACH = 5
"""Frames on each side that tell what stays. What takes longer than these is lighting."""


def running_median(values: Tensor, reach: int = REACH) -> Tensor:
    """Median over the frames ``t − reach … t + reach`` that there are, for each t of ``[T, …]``."""
    last = len(values)
    return torch.stack([values[max(0, t - reach) : min(last, t + reach + 1)].quantile(0.5, dim=0) for t in range(last)])


def brightness(frames: Tensor) -> Tensor:
    """Mean luma of each frame and of each of its :data:`GRID` × :data:`GRID` blocks, 0…255: ``[T, 1 + GRID²]`` of
    frames ``[T, 3, H, W]``, 0…1. Sides that aren't divisible have blocks that overlap by a pixel."""
    y = 255 * luma(frames.double())
    return torch.cat([y.mean((2, 3)), F.adaptive_avg_pool2d(y, GRID).flatten(1)], 1).cpu()


@dataclass
class FlickerSums:
    """Sums of second differences x[t − 1] − 2·x[t] + x[t + 1] of the brightness, from which the figures come. Those of
    several shots can be added: nothing is compared across a cut.

    Attributes:
        count: second differences seen.
        total, squares: their sum and the sum of their squares; first the whole frame's, then the blocks'.
    """

    count: int = 0
    total: Sequence[float] = ()
    squares: Sequence[float] = ()

    def __add__(self, other: FlickerSums) -> FlickerSums:
        if not (self.count and other.count):
            return self if self.count else other
        total, squares = (
            [a + b for a, b in zip(*pair, strict=True)]
            for pair in ((self.total, other.total), (self.squares, other.squares))
        )
        return FlickerSums(self.count + other.count, total, squares)

    @property
    def variances(self) -> list[float]:
        """Of the whole frame, then of each block."""
        return [max(0.0, b / self.count - (a / self.count) ** 2) for a, b in zip(self.total, self.squares)]

    @property
    def frame(self) -> float:
        """Variance of the whole frame's second differences, in (1/255)²; NaN: there are none."""
        return self.variances[0] if self.count else math.nan

    @property
    def blocks(self) -> float:
        """The same of the blocks, their mean."""
        return math.fsum(self.variances[1:]) / GRID**2 if self.count else math.nan


class FlickerMeter:
    """Takes the frames of one shot in order, and keeps sums alone."""

    def __init__(self) -> None:
        self.sums = FlickerSums()
        self._last: Tensor | None = None

    def update(self, frames: Tensor) -> Tensor:
        """Take the next frames ``[n, 3, H, W]``, 0…1.

        Returns:
            The second differences that they complete, ``[up to n, 1 + GRID²]``: the first two frames complete none.
        """
        seen = brightness(frames)
        seen = seen if self._last is None else torch.cat([self._last, seen])
        self._last = seen[-2:]
        found = seen.diff(n=2, dim=0)
        if len(found):
            self.sums += FlickerSums(len(found), found.sum(0).tolist(), found.square().sum(0).tolist())
        return found
