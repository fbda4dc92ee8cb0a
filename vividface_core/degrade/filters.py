"""Blur and resizing of frames ``Tensor[T, C, H, W]``, 0…1; no frame depends on the others."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_blur(clip: Tensor, sigma: float, radius: int | None = None) -> Tensor:
    """Blur ``[T, C, H, W]`` with an isotropic Gaussian of ``sigma`` pixels, reflected borders.

    Args:
        radius: where the kernel is cut off; ``None``: at 3 σ. What is left is scaled to a sum of 1.
    """
    radius = int(np.ceil(3 * sigma)) if radius is None else radius
    if radius < 1 or sigma <= 0:
        return clip
    at = torch.arange(-radius, radius + 1, dtype=clip.dtype, device=clip.device)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    return _along_both(clip, kernel / kernel.sum())


def low_pass(clip: Tensor, cutoff: float, radius: int = 10) -> Tensor:
    """Cut ``[T, C, H, W]`` off above ``cutoff`` of the highest frequency, so sharply that edges ring: the ideal
    low-pass c·sinc(c·n) along both axes, cut at ``radius`` without a window and scaled to a sum of 1."""
    at = torch.arange(-radius, radius + 1, dtype=clip.dtype, device=clip.device)
    kernel = torch.sinc(cutoff * at)
    return _along_both(clip, kernel / kernel.sum())


def _along_both(clip: Tensor, kernel: Tensor) -> Tensor:
    """Convolve with a kernel ``[2 r + 1]`` along x and then y, reflected borders."""
    channels, radius = clip.shape[1], len(kernel) // 2
    for axis, shape in ((-1, (1, 1, 1, -1)), (-2, (1, 1, -1, 1))):
        clip = _reflect(clip, radius, axis)
        clip = F.conv2d(clip, kernel.view(shape).expand(channels, *kernel.view(shape).shape[1:]), groups=channels)
    return clip


def oriented_blur(clip: Tensor, sigma: float, sigma_y: float, angle: float, radius: int | None = None) -> Tensor:
    """Blur with the Gaussian ``exp(−½ xᵀ Σ⁻¹ x)``, Σ = R diag(σ², σ_y²) Rᵀ; ``angle`` of R in degrees."""
    radius = int(np.ceil(3 * max(sigma, sigma_y))) if radius is None else radius
    if radius < 1 or min(sigma, sigma_y) <= 0:
        return clip
    turn = math.radians(angle)
    at = torch.arange(-radius, radius + 1, dtype=torch.float64)
    y, x = torch.meshgrid(at, at, indexing="ij")
    along = (x * math.cos(turn) + y * math.sin(turn)) / sigma
    across = (y * math.cos(turn) - x * math.sin(turn)) / sigma_y
    kernel = torch.exp(-0.5 * (along**2 + across**2))
    kernel = (kernel / kernel.sum()).to(clip)
    channels = clip.shape[1]
    clip = _reflect(_reflect(clip, radius, -1), radius, -2)
    return F.conv2d(clip, kernel.expand(channels, 1, *kernel.shape), groups=channels)


def _reflect(clip: Tensor, radius: int, axis: int) -> Tensor:
    """Reflect borders by index, because ``F.pad`` refuses a radius beyond the picture's side."""
    size = clip.shape[axis]
    at = torch.arange(-radius, size + radius, device=clip.device)
    period = max(2 * (size - 1), 1)
    at = at.abs() % period
    at = torch.where(at >= size, period - at, at)
    return clip.index_select(axis, at)


def downscale(clip: Tensor, scale: float) -> Tensor:
    """Shrink by ``scale`` ≥ 1 with anti-aliased bilinear filtering; sides are rounded to even numbers for the codec."""
    height, width = (max(2, 2 * round(side / scale / 2)) for side in clip.shape[-2:])
    if (height, width) == tuple(clip.shape[-2:]):
        return clip
    return F.interpolate(clip, size=(height, width), mode="bilinear", antialias=True, align_corners=False)


def shrink(clip: Tensor, scale: float, filter: str) -> Tensor:
    """Shrink by ``scale`` ≥ 1 as OpenCV does: sides are rounded down, and only ``area`` sees every pixel."""
    height, width = (max(2, int(side // scale)) for side in clip.shape[-2:])
    if (height, width) == tuple(clip.shape[-2:]):
        return clip
    if filter == "area":
        down, across = (_coverage(*pair).to(clip) for pair in ((clip.shape[-2], height), (clip.shape[-1], width)))
        return down @ clip @ across.T
    return F.interpolate(clip, size=(height, width), mode=filter, align_corners=False)


def _coverage(size: int, new: int) -> Tensor:
    """``[new, size]``: which share of each new pixel every old one covers."""
    edges = torch.arange(new + 1, dtype=torch.float64) * (size / new)
    pixels = torch.arange(size, dtype=torch.float64)
    covered = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    return covered.clamp(min=0) / (size / new)


def resize(clip: Tensor, height: int, width: int) -> Tensor:
    """Bicubic resize to ``height`` × ``width``, clamped to 0…1."""
    if (height, width) == tuple(clip.shape[-2:]):
        return clip.clamp(0, 1)
    return F.interpolate(clip, size=(height, width), mode="bicubic", align_corners=False).clamp(0, 1)
