"""Plain figures of a video's frames: how sharp, noisy, blocky and well exposed they are. All are ours.

Brightness is Rec. 709 luma, 0…255. Noise is estimated first and discounted, so that it isn't taken for detail.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

_LUMA = (0.2126, 0.7152, 0.0722)
_LAPLACE = ((1.0, -2.0, 1.0), (-2.0, 4.0, -2.0), (1.0, -2.0, 1.0))
"""Difference of two Laplacians: blind to edges and ramps; white noise of deviation σ gives 6σ (Immerkær 1996)."""
FLAT = 0.1
"""Share of the blocks, the smoothest ones, that noise is read from."""


@dataclass(frozen=True)
class Measures:
    """Means over the frames.

    Attributes:
        sharpness: share of the detail that a slight blur takes away, 0…1, noise discounted.
        noise: standard deviation of what is noise, in units of luma.
        blockiness: how much larger steps are on the 8×8 grid than beside it; 0: no larger.
        brightness, contrast: mean and standard deviation of luma, the latter without the noise.
        clipped: share of pixels that are black or white.
        unsteadiness: how unevenly sharp the frames are: standard deviation of sharpness over its mean (0.1 at least).
    """

    sharpness: float
    noise: float
    blockiness: float
    brightness: float
    contrast: float
    clipped: float
    unsteadiness: float

    def to_json(self) -> dict[str, float]:
        """Rounded, for a record."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def measure(pixels: Tensor) -> Measures:
    """Figures of ``[T, 3, H, W]`` uint8, sides of 16 or more."""
    rows = [_frame(sum(share * channel.float() for share, channel in zip(_LUMA, frame))) for frame in pixels]
    sharpness, noise, blockiness, brightness, contrast, clipped = torch.tensor(rows).T
    mean = sharpness.mean().item()
    spread = sharpness.std().item() / max(mean, 0.1) if len(rows) > 1 else 0.0
    return Measures(mean, noise.mean().item(), blockiness.mean().item(), brightness.mean().item(),
                    contrast.mean().item(), clipped.mean().item(), spread)  # fmt: skip


def _frame(luma: Tensor) -> tuple[float, ...]:
    noise = _noise(luma)
    contrast = math.sqrt(max(0.0, luma.var().item() - noise * noise))
    clipped = ((luma < 4) | (luma > 251)).float().mean().item()
    return _sharpness(luma, noise), noise, _blockiness(luma), luma.mean().item(), contrast, clipped


def _noise(luma: Tensor) -> float:
    """σ = √(π/2)/6 · mean |response|, over the smoothest blocks."""
    kernel = torch.tensor(_LAPLACE)[None, None]
    response = torch.nn.functional.conv2d(luma[None, None], kernel).abs()
    blocks = torch.nn.functional.avg_pool2d(response, min(16, *response.shape[2:])).flatten()
    smoothest = blocks.sort().values[: max(1, int(FLAT * len(blocks)))]
    return math.sqrt(math.pi / 2) / 6 * smoothest.mean().item()


def _sharpness(luma: Tensor, noise: float) -> float:
    """(energy of gradients − that after a 3×3 binomial blur − noise) / (energy of gradients).

    Of white noise of variance σ² the difference would be 0.88σ²: σ² before (σ²/2 along each axis) and 0.12σ² after.
    Twice that is taken off, as the noise is read where there is least of it.
    """
    weights = torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel = (weights[:, None] * weights[None])[None, None]
    smooth = torch.nn.functional.conv2d(luma[None, None], kernel)[0, 0]
    fine = _gradient_energy(luma[1:-1, 1:-1])
    coarse = _gradient_energy(smooth)
    return max(0.0, fine - coarse - 1.76 * noise * noise) / max(fine, 1e-6)


def _gradient_energy(luma: Tensor) -> float:
    across = (luma[1:-1, 2:] - luma[1:-1, :-2]) / 2
    down = (luma[2:, 1:-1] - luma[:-2, 1:-1]) / 2
    return (across.square() + down.square()).mean().item()


def _blockiness(luma: Tensor) -> float:
    shares = []
    for picture in (luma, luma.T):
        steps = (picture[:, 1:] - picture[:, :-1]).abs().mean(0)
        on = torch.arange(1, len(steps) + 1) % 8 == 0
        beside = steps[~on].mean().item()
        if on.any():
            shares.append(steps[on].mean().item() / max(beside, 0.1) - 1)
    return max(0.0, sum(shares) / len(shares)) if shares else 0.0
