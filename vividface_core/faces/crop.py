"""From a face box to a square crop that moves smoothly, and from the crop back into the frame.

Convention: pixel ``i`` covers ``[i, i + 1)``, its centre is at ``i + 0.5``. A crop ``(cx, cy, side)`` covers
``[cx - side/2, cx + side/2)`` by ``[cy - side/2, cy + side/2)``; it may have any sub-pixel place and may reach outside
the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

SIDE_PER_BOX = 1.75
"""Side of the crop per longer box side: hair, ears and chin are in, as in FFHQ, with room for a turning head."""

LIFT = 0.12
"""How far the centre moves from the box's centre towards the forehead, in box sides: hair stands higher than the box,
the chin ends with it."""

CENTRE_SIGMA = 3.0
SIDE_SIGMA = 12.0
MEDIAN = 5


def square_crop(boxes: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Frame whole heads.

    Args:
        boxes: ``[N, 4]`` x0, y0, x1, y1 in pixels.
        landmarks: ``[N, 5, 2]`` pixels; they tell which way is up in a tilted face.

    Returns:
        ``[N, 3]`` float64 centre x, centre y, side.
    """
    boxes, landmarks = np.asarray(boxes, np.float64), np.asarray(landmarks, np.float64)
    longer = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    up = landmarks[:, :2].mean(1) - landmarks[:, 3:].mean(1)
    length = np.linalg.norm(up, axis=1, keepdims=True)
    up = np.where(length > 1e-6, up / np.maximum(length, 1e-6), [0.0, -1.0])
    return np.concatenate([centre + LIFT * longer[:, None] * up, SIDE_PER_BOX * longer[:, None]], axis=1)


def smooth_crops(raw: np.ndarray) -> np.ndarray:
    """Take the detector's jitter out of a path of crops without making it lag.

    A short median removes outliers. Then every value becomes the Gaussian-weighted least-squares line through its
    neighbours, read at its own frame: inside a track that is plain Gaussian smoothing (zero phase), and at its ends
    a pan is followed instead of being pulled inwards.

    Args:
        raw: ``[N, 3]`` centre x, centre y, side, one row a frame.

    Returns:
        ``[N, 3]`` float64.
    """
    raw = np.asarray(raw, np.float64)
    if len(raw) < 2:
        return raw.copy()
    steady = _median(raw)
    sigmas = (CENTRE_SIGMA, CENTRE_SIGMA, SIDE_SIGMA)
    return np.stack([_local_line(column, sigma) for column, sigma in zip(steady.T, sigmas)], axis=1)


def _median(values: np.ndarray) -> np.ndarray:
    half = MEDIAN // 2
    # Odd reflection continues a straight movement, so that the median doesn't hold back its ends.
    padded = np.pad(values, ((half, half), (0, 0)), mode="reflect", reflect_type="odd")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, MEDIAN, axis=0), axis=-1)


def _local_line(values: np.ndarray, sigma: float) -> np.ndarray:
    radius = math.ceil(3 * sigma)
    offset = np.arange(-radius, radius + 1, dtype=np.float64)
    weight = np.exp(-0.5 * (offset / sigma) ** 2)
    origin = values.mean()

    def moment(series: np.ndarray, power: int) -> np.ndarray:
        # Convolution turns the kernel round; it's turned beforehand so that offsets count forwards in time.
        kernel = (weight * offset**power)[::-1]
        return np.convolve(series, kernel)[radius : radius + len(series)]

    ones = np.ones_like(values)
    w0, w1, w2 = (moment(ones, power) for power in range(3))
    v0, v1 = (moment(values - origin, power) for power in range(2))
    return origin + (w2 * v0 - w1 * v1) / (w0 * w2 - w1**2)


def crop_clip(rgb: Tensor, crop: Sequence[float] | np.ndarray, size: int) -> Tensor:
    """Cut one square out of a frame.

    Bicubic, with the kernel widened by the ratio when the crop shrinks (no aliasing); outside the picture its mirror
    image. A crop on whole pixels with ``side == size`` is copied exactly.

    Args:
        rgb: ``[3, H, W]`` in 0…1.
        crop: centre x, centre y, side in pixels.
        size: side of the result in pixels.

    Returns:
        ``[3, size, size]`` in 0…1.
    """
    cx, cy, side = (float(value) for value in crop)
    steps = (torch.arange(size, dtype=torch.float64) + 0.5) * (side / size)
    rows, columns = cy - side / 2 + steps, cx - side / 2 + steps
    return _resample(rgb, rows, columns, side / size).clamp(0, 1)


def paste(
    restored: Tensor, crop: Sequence[float] | np.ndarray, height: int, width: int
) -> tuple[Tensor, tuple[int, int]]:
    """Map a crop back onto the frame's pixels: the inverse of :func:`crop_clip`.

    Args:
        restored: ``[C, S, S]``.
        crop: where it came from: centre x, centre y, side in pixels of the frame.
        height, width: of the frame.

    Returns:
        The patch ``[C, h, w]`` of all frame pixels whose centres lie in the crop, and its top left pixel
        ``(top, left)``. Not clamped. ``h`` or ``w`` is 0 if the crop lies outside the frame.
    """
    cx, cy, side = (float(value) for value in crop)
    top, bottom = _covered(cy - side / 2, side, height)
    left, right = _covered(cx - side / 2, side, width)
    scale = restored.shape[-1] / side
    rows = (torch.arange(top, bottom, dtype=torch.float64) + 0.5 - (cy - side / 2)) * scale
    columns = (torch.arange(left, right, dtype=torch.float64) + 0.5 - (cx - side / 2)) * scale
    if not len(rows) or not len(columns):
        return restored.new_zeros((restored.shape[0], len(rows), len(columns))), (top, left)
    return _resample(restored, rows, columns, scale), (top, left)


def _covered(start: float, side: float, length: int) -> tuple[int, int]:
    """The pixels ``[first, stop)`` of ``length`` whose centres lie in ``[start, start + side)``."""
    first = min(max(0, math.ceil(start - 0.5)), length)
    return first, max(first, min(length, math.ceil(start + side - 0.5)))


def crop_points(points: np.ndarray, crops: np.ndarray, size: int) -> np.ndarray:
    """Frame coordinates ``[N, 5, 2]`` into those of crops ``[N, 3]`` that were cut at ``size``."""
    points, crops = np.asarray(points), np.asarray(crops)
    origin = crops[:, None, :2] - crops[:, None, 2:] / 2
    return (points - origin) * (size / crops[:, None, 2:])


def _resample(picture: Tensor, rows: Tensor, columns: Tensor, ratio: float) -> Tensor:
    """Read ``picture [C, H, W]`` at the grid ``rows × columns`` (input coordinates) that steps by ``ratio`` pixels."""
    (down, top), (across, left) = (
        _weights(positions, length, ratio, picture) for positions, length in zip((rows, columns), picture.shape[-2:])
    )
    part = picture[:, top : top + down.shape[1], left : left + across.shape[1]]
    return down @ (part @ across.T)


def _weights(positions: Tensor, length: int, ratio: float, like: Tensor) -> tuple[Tensor, int]:
    """Weights ``[M, span]`` of the input pixels ``first … first + span`` for each of ``M`` positions, and ``first``."""
    stretch = max(1.0, ratio)
    reach = math.ceil(2 * stretch)
    nearest = torch.floor(positions).long()
    taps = nearest[:, None] + torch.arange(-reach, reach + 1)
    weight = _cubic((taps + 0.5 - positions[:, None]) / stretch)
    weight = weight / weight.sum(1, keepdim=True)
    # Mirror at the picture's border, edge pixel included, as often as needed.
    folded = torch.remainder(taps, 2 * length)
    folded = torch.where(folded < length, folded, 2 * length - 1 - folded)
    first, last = int(folded.min()), int(folded.max())
    matrix = torch.zeros(len(positions), last - first + 1, dtype=torch.float64)
    matrix.scatter_add_(1, folded - first, weight)
    return matrix.to(like), first


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution kernel, a = -1/2: exact for quadratic signals."""
    x = x.abs()
    inner = (1.5 * x - 2.5) * x * x + 1
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x <= 1, inner, torch.where(x < 2, outer, torch.zeros_like(x)))


def turn_points(points: np.ndarray, turn: int, side: int) -> np.ndarray:
    """Points ``[…, 2]`` of a square picture, where they are when it is turned by quarters counter-clockwise."""
    x, y = np.moveaxis(np.asarray(points), -1, 0)
    return np.stack({0: (x, y), 1: (y, side - x), 2: (side - x, side - y), 3: (side - y, x)}[turn % 4], -1)
