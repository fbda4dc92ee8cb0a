"""Three-tap convolution over time with half the multiplications, exact up to rounding (Winograd, after Cook and Toom).

m outputs of a filter with three taps need m + 2 products instead of 3m: y = A[(G g) ⊙ (B d)], for m + 2 frames d. Here
each "product" is a 3×3 convolution of a whole frame, so that two thirds (m = 2) or one half (m = 4) of the arithmetic
of a 3×3×3 convolution are left. B and A are small matrices over frames.

Worth it where arithmetic is the limit and 32 bits carry the sums: on a CPU. Half types round B·d too coarsely, and
graphics cards are faster with the plain convolution.

Features are ``[T, H, W, C]`` here, contiguous.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 0.75, -0.75, 1.5, -1.5)}
"""Where the polynomials are evaluated (and at infinity). These five round half as much as the usual 0, ±1, ±2."""
BAND = 8 << 20
"""Bytes of one band's transformed frames: what a core's caches hold."""
TAPS = 3


@cache
def matrices(outputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """A ``[m, m + 2]``, G ``[m + 2, 3]`` and B ``[m + 2, m + 2]`` in fp32, for m of :data:`POINTS`.

    Lagrange's interpolation, transposed: xⁿ = Σ p_kⁿ·L_k(x); the highest n has one more term, ∏(x − p_k). No solver:
    one that rounds otherwise on another day would give other pictures.
    """
    points, count = POINTS[outputs], outputs + TAPS - 1
    others = [[other for other in points if other != point] for point in points]
    a = torch.tensor([[point**i for point in points] + [float(i == outputs - 1)] for i in range(outputs)])
    g = torch.tensor(
        [[point**j / prod(point - other for other in rest) for j in range(TAPS)] for point, rest in zip(points, others)]
        + [[0.0] * (TAPS - 1) + [1.0]],
        dtype=torch.float64,
    )
    b = torch.tensor([(_coefficients(roots) + [0.0])[:count] for roots in [*others, points]], dtype=torch.float64)
    # Powers of two go from one matrix into the other without rounding; balanced ones lose less.
    scale = 2.0 ** b.abs().amax(1, keepdim=True).log2().round()
    return a.float(), (g * scale).float(), (b / scale).float()


def _coefficients(roots: Sequence[float]) -> list[float]:
    """Of ∏(x − root), the lowest power first."""
    found = [1.0]
    for root in roots:
        found = [low - root * high for low, high in zip([0.0, *found], [*found, 0.0])]
    return found


def transform_kernel(weight: Tensor, outputs: int) -> list[Tensor]:
    """The m + 2 kernels ``[O, C, 3, 3]`` of a weight ``[O, C, 3, 3, 3]``."""
    kernels = torch.einsum("kt,octhw->kohwc", matrices(outputs)[1].to(weight), weight)
    return [kernel.permute(0, 3, 1, 2) for kernel in kernels]


def convolve(x: Tensor, kernels: list[Tensor], bias: Tensor | None, out: Tensor, add: bool) -> None:
    """3×3×3 convolution of ``x`` into ``out``.

    Args:
        x: ``[m + 2, H + 2, W, C]``; first and last row are the padding.
        kernels: of :func:`transform_kernel`.
        out: ``[m, H, W, O]``.
        add: add to what is in ``out``.
    """
    outputs, height, width, channels = out.shape
    a, _, b = matrices(outputs)
    rows = max(1, BAND // (x.element_size() * len(x) * width * max(x.shape[-1], channels)) - 2)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        band = x[:, top : bottom + 2]
        mixed = (b @ band.reshape(len(x), -1)).view(band.shape).permute(0, 3, 1, 2)
        parts = [F.conv2d(frame, kernel, padding=(0, 1)) for frame, kernel in zip(mixed.split(1), kernels)]
        products = torch.cat(parts).permute(0, 2, 3, 1).reshape(len(x), -1)
        result = (a @ products).view(outputs, bottom - top, width, channels)
        here = out[:, top:bottom]
        if bias is not None:
            result += bias
        here.add_(result) if add else here.copy_(result)
