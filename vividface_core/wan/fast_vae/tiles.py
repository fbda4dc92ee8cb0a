"""Where a layer must look for a part of its output: exact tiles.

A tile starts with as much around it as its result depends on, layer by layer, and no more: at the inner edges the
outermost ring of every map is wrong (zeros were taken for neighbours), and is cut off before it can reach what counts.
So tiles put side by side are the untiled result; nothing is blended.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Region(NamedTuple):
    """Rows ``top`` … ``bottom`` − 1 and columns ``left`` … ``right`` − 1 of a map."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    def wider(self, ring: int) -> Region:
        """With ``ring`` cells more on every side."""
        return Region(self.top - ring, self.bottom + ring, self.left - ring, self.right + ring)

    def within(self, height: int, width: int) -> Region:
        """What of it lies in a map of this size."""
        return Region(max(0, self.top), min(height, self.bottom), max(0, self.left), min(width, self.right))

    def times(self, ratio: int) -> Region:
        """The same place in a map of ``ratio`` times the size."""
        return Region(*(edge * ratio for edge in self))

    def of(self, x: Tensor, region: Region) -> Tensor:
        """A copy of this region of ``x`` ``[T, H, W, C]``, which shows ``region``; ``x`` itself where they are one."""
        if self == region:
            return x
        rows = slice(self.top - region.top, self.bottom - region.top)
        columns = slice(self.left - region.left, self.right - region.left)
        return x[:, rows, columns].clone(memory_format=torch.contiguous_format)


def tiles(height: int, width: int, side: int | None) -> Iterator[Region]:
    """A map cut into regions of about equal size, at most ``side``×``side``; ``None``: one region."""
    rows, columns = (-(-length // side) if side else 1 for length in (height, width))
    for row in range(rows):
        for column in range(columns):
            yield Region(
                height * row // rows,
                height * (row + 1) // rows,
                width * column // columns,
                width * (column + 1) // columns,
            )
