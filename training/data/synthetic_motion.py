"""Synthetic camera and face motion: cut a moving, slowly bending square out of a clip or a still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

FIELD = 5
"""Control points a side of the bending."""


@dataclass(frozen=True)
class Move:
    """A path of the square over the clip's frames.

    Attributes:
        centre: ``[T, 2]`` x and y in pixels of the picture.
        side: ``[T]`` pixels.
        angle: ``[T]`` radians.
        bend: ``[T, 5, 5, 2]`` displacement of control points, as a share of the side: what parallax and expression do
            to a face, at a size where nothing tears.
    """

    centre: np.ndarray
    side: np.ndarray
    angle: np.ndarray
    bend: np.ndarray

    @classmethod
    def sample(cls, frames: int, centre: np.ndarray, side: float, strength: float, rng: np.random.Generator) -> Move:
        """A smooth random path around ``centre`` whose extent grows with ``strength``; 0: it stands still."""
        amount = strength * rng.exponential(1.0)
        paths = np.stack([smooth_path(frames, rng) for _ in range(4)], 1)
        bend = np.stack([smooth_path(frames, rng) for _ in range(FIELD * FIELD * 2)], 1)
        return cls(
            centre=centre + 0.06 * amount * side * paths[:, :2],
            side=side * np.exp(0.03 * amount * paths[:, 2]),
            angle=0.03 * amount * paths[:, 3],
            bend=0.02 * amount * bend.reshape(frames, FIELD, FIELD, 2),
        )

    def grid(self, size: int, height: int, width: int) -> Tensor:
        """Sampling places ``[T, size, size, 2]`` for ``F.grid_sample`` (``align_corners=False``)."""
        at = (torch.arange(size) + 0.5) / size - 0.5
        y, x = torch.meshgrid(at, at, indexing="ij")
        bend = torch.from_numpy(self.bend).float().permute(0, 3, 1, 2)
        bend = F.interpolate(bend, (size, size), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
        local = torch.stack([x, y], -1) + bend
        angle = torch.from_numpy(self.angle).float()[:, None, None]
        turned = torch.stack(
            [
                local[..., 0] * angle.cos() - local[..., 1] * angle.sin(),
                local[..., 0] * angle.sin() + local[..., 1] * angle.cos(),
            ],
            -1,
        )
        side = torch.from_numpy(self.side).float()[:, None, None, None]
        centre = torch.from_numpy(self.centre).float()[:, None, None]
        return (turned * side + centre) / torch.tensor([width, height]) * 2 - 1


def smooth_path(frames: int, rng: np.random.Generator) -> np.ndarray:
    """``[T]``: a slow random walk of unit order: two sine waves of up to one and a half turns over the clip."""
    at = np.linspace(0, 1, frames)
    turns, phases = rng.uniform(0.1, 1.5, 2), rng.uniform(0, 2 * np.pi, 2)
    heights = rng.normal(0, 0.7, 2)
    return (heights[:, None] * np.sin(2 * np.pi * turns[:, None] * at + phases[:, None])).sum(0)


def cut(pictures: Tensor, grid: Tensor, side: float, mode: str = "bicubic") -> Tensor:
    """Sample ``[T or 1, C, H, W]`` at ``grid`` of :meth:`Move.grid`: ``[T, C, size, size]``.

    ``side`` is the square's mean side in pixels of ``pictures``: where it is much larger than the grid, they are shrunk
    first, so that fine structure is averaged, not skipped.
    """
    size = grid.shape[1]
    # A strip at the edge may be all that the square shows of its picture, and nothing of it would be left.
    thin = min(pictures.shape[-2:]) * size < side
    if side > 1.5 * size and mode == "bicubic" and not thin:
        pictures = F.interpolate(pictures, scale_factor=size / side, mode="bilinear", antialias=True)
    pictures = pictures.expand(len(grid), -1, -1, -1)
    return F.grid_sample(pictures, grid, mode=mode, padding_mode="reflection", align_corners=False)
