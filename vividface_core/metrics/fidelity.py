"""PSNR and SSIM: how near an output's values are to the truth's."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vividface_core.metrics.metric import Chunk, ClipFacts, FrameMeter, Metric, MetricContext

EXACT = 100.0
"""PSNR given to a frame that equals its reference, whose own would be infinite."""
SIDE, SIGMA = 11, 1.5


def psnr(output: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of ``[n, 3, H, W]`` pairs, 0…1, over all values of a frame; float64 ``[n]``."""
    error = (output.double() - reference.double()).square().mean((1, 2, 3))
    return (-10 * torch.log10(error)).clamp(max=EXACT)


def ssim(output: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity of ``[n, 3, H, W]`` pairs, 0…1, as its authors compute it; float64 ``[n]``.

    Gaussian window 11×11, σ = 1.5; K₁ = 0.01, K₂ = 0.03; population covariance; only places where the window lies
    within the picture; the mean over places and channels (Wang et al. 2004). Pictures have sides of 11 or more.
    """
    a, b = output.double(), reference.double()
    mean_a, mean_b = _window(a), _window(b)
    square_a, square_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    small, smaller = 0.01**2, 0.03**2
    light = (2 * mean_a * mean_b + small) / (mean_a**2 + mean_b**2 + small)
    structure = (2 * covariance + smaller) / (square_a + square_b + smaller)
    return (light * structure).mean((1, 2, 3))


def _window(x: Tensor) -> Tensor:
    at = torch.arange(SIDE, dtype=x.dtype, device=x.device) - SIDE // 2
    line = torch.exp(-0.5 * (at / SIGMA) ** 2)
    line, channels = (line / line.sum()).expand(x.shape[1], 1, SIDE), x.shape[1]
    return F.conv2d(F.conv2d(x, line[..., None, :], groups=channels), line[..., None], groups=channels)


def _pairwise(measure: Callable[[Tensor, Tensor], Tensor]) -> Callable[[MetricContext, ClipFacts], FrameMeter]:
    return lambda context, clip: FrameMeter(lambda chunk: _of(measure, chunk))


def _of(measure: Callable[[Tensor, Tensor], Tensor], chunk: Chunk) -> Tensor:
    # Frame by frame: in float64 a whole chunk's intermediate values would be the peak of a run.
    return torch.cat([measure(a[None], b[None]) for a, b in zip(chunk.output, chunk.frames("reference"))])


ENTRIES = (
    Metric(
        "psnr",
        "PSNR",
        True,
        "needed",
        "RGB, 8 bits, no border cut; mean squared error over a frame's values, mean over frames, then over clips; a "
        f"frame without any error counts {EXACT:g} dB.",
        _pairwise(psnr),
        digits=2,
    ),
    Metric(
        "ssim",
        "SSIM",
        True,
        "needed",
        "RGB, 8 bits; Gaussian window 11×11 with σ 1.5, within the picture, mean of the three channels; mean over "
        "frames, then over clips.",
        _pairwise(ssim),
    ),
)
