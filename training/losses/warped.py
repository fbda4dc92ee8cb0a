"""Flicker as a loss: what of the error changes from frame to frame where the picture itself only moves."""

from __future__ import annotations

import torch
from torch import Tensor

from vividface_core.metrics.networks.flow import DisFlow, inside, visible, warp


def warped_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean |e_t − W(e_{t−1})| of the error e = output − target, fp32; 0 for a single frame.

    W follows the target's own flow (OpenCV's dense inverse search), and what is hidden in either frame or comes from
    beyond the border doesn't count. An error that moves along with the face, as what stays blurred does, costs nothing;
    one that is new in each frame does. (:func:`training.losses.face_focused.motion_error` compares the same places of
    the picture, and so counts both.)

    Args:
        output, target: ``[B, 3, T, H, W]``, −1…1, of at least 16 pixels a side.
    """
    output, target = output.float(), target.float()
    if output.shape[2] < 2:
        return output.new_zeros(())
    now, before = (_frames(target[:, :, place]) for place in (slice(1, None), slice(None, -1)))
    with torch.no_grad():
        estimate = DisFlow()
        pictures = [(x.clamp(-1, 1) + 1) / 2 for x in (now, before)]
        flow = estimate(*pictures)
        counted = (visible(flow, estimate(*reversed(pictures))) & inside(flow)).float()
    error = output - target
    changed = _frames(error[:, :, 1:]) - warp(_frames(error[:, :, :-1]), flow)
    return (changed.abs().mean(1, keepdim=True) * counted).sum() / counted.sum().clamp_min(1)


def _frames(clip: Tensor) -> Tensor:
    """``[B·T, 3, H, W]``."""
    return clip.transpose(1, 2).flatten(0, 1)
