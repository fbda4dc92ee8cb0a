"""Give a restored crop the colours of its source, so that the patch doesn't show in the frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vividface_core.errors import InvalidOption

METHODS = ("wavelet", "lab", "adain", "none")
LEVELS = 5

# IEC 61966-2-1 primaries and the CIE 1931 2° D65 white point.
_RGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_WHITE = (0.95047, 1.0, 1.08883)
_KNEE = 6 / 29


def match(result: Tensor, source: Tensor, mask: Tensor | None, method: str) -> Tensor:
    """Match the colours of ``result`` to ``source``.

    Args:
        result, source: ``[3, H, W]`` in 0…1.
        mask: ``[1, H, W]`` in 0…1, where the statistics of ``adain`` and ``lab`` are taken; ``None``: everywhere.
        method: ``wavelet`` keeps the result's detail and takes the source's low frequencies; ``adain`` matches mean
            and standard deviation of each RGB channel; ``lab`` does so in CIELAB; ``none`` returns the result.

    Returns:
        ``[3, H, W]`` in 0…1.

    Raises:
        InvalidOption: unknown method.
    """
    if method == "none":
        return result
    if method == "wavelet":
        # The blur is linear: of the difference it is the difference of the blurs, in half the time.
        return (result + low_frequencies(source - result)).clamp(0, 1)
    if method == "adain":
        return _match_statistics(result, source, mask).clamp(0, 1)
    if method == "lab":
        return lab_to_rgb(_match_statistics(rgb_to_lab(result), rgb_to_lab(source), mask))
    raise InvalidOption(f"Colour match {method!r} is unknown; choose one of {', '.join(METHODS)}.")


def low_frequencies(picture: Tensor, levels: int = LEVELS) -> Tensor:
    """What is left of ``[3, H, W]`` after ``levels`` à-trous blurs (kernel 1-2-1, holes doubling), mirrored borders."""
    smooth = picture
    for step in (2**level for level in range(levels)):
        if step >= min(picture.shape[-2:]):
            break
        for axis in (-1, -2):
            smooth = _blur(smooth, axis, step)
    return smooth


def _blur(picture: Tensor, axis: int, step: int) -> Tensor:
    length = picture.shape[axis]
    around = (step, step, 0, 0) if axis == -1 else (0, 0, step, step)
    padded = F.pad(picture, around, mode="reflect")
    sides = padded.narrow(axis, 0, length) + padded.narrow(axis, 2 * step, length)
    return sides.mul_(0.25).add_(picture, alpha=0.5)


def _match_statistics(result: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
    weight = torch.ones_like(result[:1]) if mask is None else mask
    if weight.sum() < 1:
        return result
    mean, spread = _statistics(result, weight)
    wanted_mean, wanted_spread = _statistics(source, weight)
    return (result - mean) * (wanted_spread / spread.clamp_min(1e-5)) + wanted_mean


def _statistics(picture: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    total = weight.sum()
    mean = (picture * weight).sum((-2, -1), keepdim=True) / total
    variance = ((picture - mean).square() * weight).sum((-2, -1), keepdim=True) / total
    return mean, variance.sqrt()


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """sRGB ``[3, H, W]`` in 0…1 to CIELAB (D65, 2°): L 0…100, a and b about ±110."""
    linear = torch.where(rgb > 0.04045, ((rgb.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = torch.einsum("dc,chw->dhw", rgb.new_tensor(_RGB_TO_XYZ), linear)
    xyz = xyz / rgb.new_tensor(_WHITE).view(3, 1, 1)
    f = torch.where(xyz > _KNEE**3, xyz.clamp_min(_KNEE**3) ** (1 / 3), xyz / (3 * _KNEE**2) + 4 / 29)
    x, y, z = f
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def lab_to_rgb(lab: Tensor) -> Tensor:
    """CIELAB (D65, 2°) ``[3, H, W]`` to sRGB in 0…1; colours outside sRGB are clipped."""
    lightness, a, b = lab
    y = (lightness + 16) / 116
    f = torch.stack([y + a / 500, y, y - b / 200])
    xyz = torch.where(f > _KNEE, f**3, 3 * _KNEE**2 * (f - 4 / 29)) * lab.new_tensor(_WHITE).view(3, 1, 1)
    inverse = torch.linalg.inv(torch.tensor(_RGB_TO_XYZ, dtype=torch.float64)).to(lab)
    linear = torch.einsum("dc,chw->dhw", inverse, xyz)
    curved = 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, curved, 12.92 * linear).clamp(0, 1)
