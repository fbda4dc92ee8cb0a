"""How sharp and how noisy a small picture is, whichever way it was blurred."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vividface_core.mllm.judges.measures import measure

_LUMA = (0.2126, 0.7152, 0.0722)
_WAYS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Steps down and across."""
_STEP, _BLURRED_STEP = ((-1, -0.5), (1, 0.5)), ((-2, -0.125), (-1, -0.25), (1, 0.25), (2, 0.125))
"""The difference over two pixels, and the same after a blur with weights 1 2 1: places along the way and weights."""
_NOISE_SHARE = 0.5 - 0.15625
"""Of white noise of variance 1, what the blur takes from the squared difference."""


def luma(picture: Tensor) -> Tensor:
    """Rec. 709 luma ``[H, W]``, 0…255, of ``[3, H, W]`` uint8."""
    return sum(share * channel.float() for share, channel in zip(_LUMA, picture))


def sharpness_and_noise(picture: Tensor) -> tuple[float, float]:
    """Of ``[3, H, W]`` uint8, sides of 16 or more.

    Returns:
        Sharpness 0…1: the share of the squared differences along a line that a slight blur along that line takes away,
        noise discounted, of the direction in which it is least. A picture that was blurred along one direction only is
        as blurred as that direction is. And the standard deviation of the noise, in units of luma.
    """
    noise = measure(picture[None]).noise
    values = luma(picture)[None, None]
    fine, coarse = (F.conv2d(values, _kernels(taps)).square().mean((0, 2, 3)) for taps in (_STEP, _BLURRED_STEP))
    # Twice the noise is taken off, as it is read where there is least of it.
    lost = (fine - coarse - 2 * _NOISE_SHARE * noise * noise).clamp(min=0) / fine.clamp(min=1e-6)
    return lost.min().item(), noise


def _kernels(taps: tuple[tuple[int, float], ...]) -> Tensor:
    kernels = torch.zeros(len(_WAYS), 1, 5, 5)
    for kernel, (down, across) in zip(kernels, _WAYS):
        for place, weight in taps:
            kernel[0, 2 + place * down, 2 + place * across] = weight
    return kernels
