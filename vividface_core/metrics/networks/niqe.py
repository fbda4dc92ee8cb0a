"""NIQE: how far a picture's local statistics are from those of natural pictures (Mittal, Soundararajan, Bovik 2013).

Of each block of 96×96 luma values, at full and at half size, 18 figures describe how locally normalised values and the
products of neighbours are spread (asymmetric generalised Gaussians). The blocks' mean ν₂ and covariance Σ₂ are compared
with those of pristine pictures: D = √((ν₁ − ν₂)ᵀ ((Σ₁ + Σ₂) / 2)⁺ (ν₁ − ν₂)), Eq. 10. Lower is more natural.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.errors import UnsupportedCheckpoint, first_line

BLOCK, FIGURES = 96, 36
LUMA = (0.298936021293775, 0.587043074451121, 0.114020904255103)
"""Of red, green and blue, as in MATLAB's ``rgb2gray``, which the authors use."""
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""To the neighbours whose products are looked at."""
SIGMA = 7 / 6
SMALL = 1e-9
"""Differences below it are rounding errors, whose signs would be counted where a picture is flat."""
HALVING = tuple(value / 256 for value in (-3, -9, 29, 111, 111, 29, -9, -3))
"""A cubic kernel (a = −½) stretched to twice its width, as MATLAB's ``imresize`` halves."""


class Niqe(nn.Module):
    """The measure against one set of pristine statistics.

    Args:
        mean: of the figures of pristine blocks, ``[36]``.
        covariance: of the same, ``[36, 36]``.
    """

    mean: Tensor
    covariance: Tensor
    shapes: Tensor
    ratios: Tensor

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.double())
        self.register_buffer("covariance", covariance.double())
        shapes = torch.arange(200, 10001, dtype=torch.float64) / 1000
        self.register_buffer("shapes", shapes, persistent=False)
        self.register_buffer("ratios", _ratio(shapes), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """``[n]`` float64 of ``[n, 3, H, W]``, 0…1, sides of 96 or more; NaN with less than two blocks that vary."""
        x = luma(frames)
        rows, columns = x.shape[-2] // BLOCK, x.shape[-1] // BLOCK
        x = x[..., : rows * BLOCK, : columns * BLOCK]
        figures = torch.cat([self._figures(x, BLOCK), self._figures(halve(x), BLOCK // 2)], 2)
        return torch.stack([self._distance(picture) for picture in figures])

    def _figures(self, x: Tensor, side: int) -> Tensor:
        """``[n, blocks, 18]`` of luma ``[n, 1, H, W]``."""
        blocks = F.unfold(normalise(x), side, stride=side).transpose(1, 2).unflatten(2, (side, side))
        shape, left, right = self._spread(blocks)
        figures = [shape, (left + right) / 2]
        for shift in SHIFTS:
            shape, left, right = self._spread(blocks * blocks.roll(shift, (2, 3)))
            middle = (right - left) * torch.exp(torch.lgamma(2 / shape) - torch.lgamma(1 / shape))
            figures += [shape, middle, left, right]
        return torch.stack(figures, 2)

    def _spread(self, blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shape and both scales of asymmetric generalised Gaussians, each ``[n, blocks]``; NaN if nothing varies."""
        squares = blocks.square()
        left, right = (((squares * side).sum((2, 3)) / side.sum((2, 3))).sqrt() for side in (blocks < 0, blocks > 0))
        skew = left / right
        ratio = blocks.abs().mean((2, 3)).square() / squares.mean((2, 3))
        ratio = ratio * (skew**3 + 1) * (skew + 1) / (skew.square() + 1).square()
        after = torch.searchsorted(self.ratios, ratio.contiguous()).clamp(1, len(self.ratios) - 1)
        nearer = after - (ratio - self.ratios[after - 1] <= self.ratios[after] - ratio).long()
        shape = torch.where(ratio.isnan(), ratio, self.shapes[nearer])
        width = torch.exp((torch.lgamma(1 / shape) - torch.lgamma(3 / shape)) / 2)
        return shape, left * width, right * width

    def _distance(self, figures: Tensor) -> Tensor:
        whole = figures[~figures.isnan().any(1)]
        if len(whole) < 2:
            return figures.new_full((), float("nan"))
        apart = self.mean - figures.nanmean(0)
        return (apart @ torch.linalg.pinv((self.covariance + whole.T.cov()) / 2) @ apart).sqrt()


def _ratio(shape: Tensor) -> Tensor:
    """(E|x|)² / E x² of generalised Gaussians, by their shape: Γ(2/α)² / (Γ(1/α) Γ(3/α))."""
    return torch.exp(2 * torch.lgamma(2 / shape) - torch.lgamma(1 / shape) - torch.lgamma(3 / shape))


def luma(frames: Tensor) -> Tensor:
    """Rounded luma 0…255 of ``[n, 3, H, W]``, 0…1: ``[n, 1, H, W]`` float64."""
    values = (frames.double() * 255).round()
    total: Any = sum(weight * values[:, i] for i, weight in enumerate(LUMA))
    return total.round()[:, None]


def normalise(x: Tensor) -> Tensor:
    """(x − μ) / (σ + 1) with μ, σ under a Gaussian window 7×7, σ = 7/6; borders repeat the last value (Eq. 1)."""
    at = torch.arange(-3, 4, dtype=x.dtype, device=x.device)
    line = torch.exp(-0.5 * (at / SIGMA).square())
    mean, square = (_filter(F.pad(y, (3, 3, 3, 3), "replicate"), line / line.sum()) for y in (x, x.square()))
    return F.hardshrink(x - mean, SMALL) / ((square - mean.square()).abs().sqrt() + 1)


def halve(x: Tensor) -> Tensor:
    """Half the size of ``[n, 1, H, W]`` with even sides; borders are mirrored, the last value included."""
    rows, columns = (_mirrored(side, x.device) for side in x.shape[-2:])
    return _filter(x[..., rows, :][..., columns], x.new_tensor(HALVING), 2)


def _mirrored(side: int, device: torch.device) -> Tensor:
    at = torch.arange(-3, side + 3, device=device)
    return torch.where(at < 0, -1 - at, torch.where(at >= side, 2 * side - 1 - at, at))


def _filter(x: Tensor, line: Tensor, stride: int = 1) -> Tensor:
    x = F.conv2d(x, line[None, None, :, None], stride=(stride, 1))
    return F.conv2d(x, line[None, None, None, :], stride=(1, stride))


def load_niqe(path: Path) -> Niqe:
    """The measure with the pristine statistics of an ``.npz`` file (``mu_pris_param``, ``cov_pris_param``).

    Raises:
        UnsupportedCheckpoint: the file holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            mean, covariance = (torch.from_numpy(file[key]) for key in ("mu_pris_param", "cov_pris_param"))
        return Niqe(mean.reshape(FIGURES), covariance.reshape(FIGURES, FIGURES))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile) as error:
        raise UnsupportedCheckpoint(
            f"{path} holds no NIQE statistics ({first_line(error)}); fetch it again."
        ) from error
