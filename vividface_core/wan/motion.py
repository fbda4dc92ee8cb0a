"""Where each place of a frame was in the frame before, found without weights.

Blocks that remember the frame before (:mod:`vividface_core.wan.decoder_blocks`) see the same place of it, which on a
moving face is another part of the face. Here the lumas of both are matched as Lucas and Kanade (1981) do, from an
eighth of the side to a quarter: the motion that explains the mean difference around a place by the gradient, smoothed
after each step. On degraded faces that finds as much as OpenCV's dense inverse search does, and it runs where the
frames are.

A motion is ``[B, 2, T, H, W]``, x before y, in pixels: ``now(p) ≈ before(p + motion(p))``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vividface_core.luma import BT601

SCALES, STEPS = (8, 4), 3
"""Pixels a cell's side, coarse to fine; steps on each of them, of at most a cell."""
WINDOW, SMOOTH = 2, 3
"""Cells around one whose differences count for it, and over which its motion is averaged after a step."""
FLAT = 1e-3
"""Mean squared gradient, of values in −1…1, below which steps become small: noise has as much."""
FARTHEST = 16
"""Pixels that a motion is long at most, each way: so far around a tile its blocks have to see."""


class MotionStream:
    """Motions of a clip, piece by piece; the first frame has none."""

    def __init__(self) -> None:
        self._last: Tensor | None = None

    def push(self, frames: Tensor) -> Tensor:
        """The motion of the next frames, ``[B, 3, T, H, W]`` in −1…1, whole: it depends on all of a frame."""
        found, self._last = motion(frames, self._last)
        return found


@torch.no_grad()
def motion(frames: Tensor, last: Tensor | None) -> tuple[Tensor, Tensor]:
    """The motion of frames ``[B, 3, T, H, W]``, and what the next piece of a stream gives as ``last``."""
    batch = frames.shape[0]
    luma = torch.einsum("bcthw,c->bthw", frames.float(), frames.new_tensor(BT601, dtype=torch.float32))
    before = torch.cat([luma[:, :1] if last is None else last, luma[:, :-1]], 1)
    found = _matched(*(x.flatten(0, 1)[:, None] for x in (luma, before)))
    return found.unflatten(0, (batch, -1)).transpose(1, 2), luma[:, -1:].clone()


def moved(before: Tensor, places: Tensor) -> Tensor:
    """``[N, C, H, W]`` sampled at :func:`places`, bilinear; beyond the border the border's value counts."""
    # Places in half precision would be pixels apart.
    sampled = F.grid_sample(
        before.to(places.dtype, memory_format=torch.contiguous_format),
        places,
        padding_mode="border",
        align_corners=False,
    )
    return sampled.to(before.dtype)


def places(found: Tensor) -> Tensor:
    """What :func:`moved` takes, ``[N, H, W, 2]``, of a motion ``[N, 2, H, W]`` in pixels of that map."""
    height, width = found.shape[-2:]
    x = torch.arange(width, device=found.device, dtype=found.dtype) + found[:, 0]
    y = torch.arange(height, device=found.device, dtype=found.dtype)[:, None] + found[:, 1]
    return torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)


def _matched(now: Tensor, before: Tensor) -> Tensor:
    """``[N, 2, H, W]`` of lumas ``[N, 1, H, W]``."""
    height, width = now.shape[-2:]
    padding = (0, -width % SCALES[0], 0, -height % SCALES[0])
    now, before = (F.pad(x, padding, mode="replicate") for x in (now, before))
    rows, columns = (side // SCALES[0] for side in now.shape[-2:])
    found, scale = now.new_zeros(len(now), 2, rows, columns), SCALES[0]
    for cell in SCALES:
        found, scale = _enlarged(found, scale // cell), cell
        pair = F.avg_pool2d(now, cell), F.avg_pool2d(before, cell)
        for _ in range(STEPS):
            found = _mean(found + _step(pair[0], moved(pair[1], places(found))), SMOOTH)
    return _enlarged(found, scale)[..., :height, :width].clamp(-FARTHEST, FARTHEST)


def _enlarged(found: Tensor, scale: int) -> Tensor:
    return found if scale == 1 else F.interpolate(scale * found, scale_factor=scale, mode="bilinear")


def _step(now: Tensor, before: Tensor) -> Tensor:
    """``[N, 2, h, w]``: the motion that explains the difference around each place by the gradient there."""
    around = F.pad(before, (1,) * 4, mode="replicate")
    x = (around[..., 1:-1, 2:] - around[..., 1:-1, :-2]) / 2
    y = (around[..., 2:, 1:-1] - around[..., :-2, 1:-1]) / 2
    error = now - before
    sums = _mean(torch.cat([x * x, y * y, x * y, x * error, y * error], 1), WINDOW)
    xx, yy, xy, xe, ye = sums.split(1, 1)
    xx, yy = xx + FLAT, yy + FLAT
    step = torch.cat([yy * xe - xy * ye, xx * ye - xy * xe], 1) / (xx * yy - xy * xy)
    return step.clamp(-1, 1)


def _mean(x: Tensor, reach: int) -> Tensor:
    """Over a square around each place, first its rows and then its columns."""
    x = F.avg_pool2d(F.pad(x, (reach, reach, 0, 0), mode="replicate"), (1, 2 * reach + 1), 1)
    return F.avg_pool2d(F.pad(x, (0, 0, reach, reach), mode="replicate"), (2 * reach + 1, 1), 1)
