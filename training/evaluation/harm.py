"""Measures that see harm: flicker where a face moves, false colours, colours where there are none.

All take ``[T, 3, H, W]`` clips, RGB, 0…1, which they round to 8 bits.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vividface_core.faces.detect import FaceDetector
from vividface_core.faces.parse import FaceParser
from vividface_core.metrics.networks.flow import DisFlow, inside, visible, warp

CHROMA = ((-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""Cb and Cr of RGB, BT.601 with full range, less 128."""


class FaceMotion:
    """The faces of a clip and how they move, by the truth, for :meth:`error` of whatever is measured against it.

    Flow: OpenCV's dense inverse search (medium preset, 8-bit luma) from each frame of the truth to the one before it.
    What counts is inside the face's mask, is seen in both frames (forward-backward check) and doesn't come from beyond
    the border.

    Args:
        detector, parser: find the face in each frame of the truth; a frame without one has the last one's mask.

    Raises:
        ValueError: no face in any frame.
    """

    def __init__(self, truth: Tensor, detector: FaceDetector, parser: FaceParser) -> None:
        truth = eight_bits(truth)
        estimator = DisFlow()
        now, before = truth[1:], truth[:-1]
        self._flow = estimator(now, before)
        seen = visible(self._flow, estimator(before, now)) & inside(self._flow)
        self.face = face_masks(truth, detector, parser) > 0.5
        self.counted = seen & self.face[1:]

    def error(self, clip: Tensor) -> float:
        """Flow-warped error inside the face: mean |x_t − x_{t−1} warped onto it|, in 1/255. Blur lowers it; of the
        truth itself it is what the flow misses."""
        clip = eight_bits(clip)
        difference = (clip[1:] - warp(clip[:-1], self._flow)).abs().mean(1, keepdim=True)
        return float((difference * self.counted).sum() / self.counted.sum() * 255)


def face_masks(truth: Tensor, detector: FaceDetector, parser: FaceParser) -> Tensor:
    """``[T, 1, H, W]``, 0…1: the most probable face of each frame of square frames."""
    masks: list[Tensor | None] = []
    for frame, found in zip(truth, detector.detect(truth)):
        best = max(found, key=lambda face: face.score, default=None)
        last = masks[-1] if masks else None
        masks.append(last if best is None else parser.parse(frame[None], best.landmarks[None])[0])
    known = next((mask for mask in masks if mask is not None), None)
    if known is None:
        raise ValueError("no face in any frame")
    return torch.stack([known if mask is None else mask for mask in masks])


def chroma(clip: Tensor) -> Tensor:
    """Cb and Cr less 128, ``[T, 2, H, W]``, of 255."""
    return torch.einsum("tchw,kc->tkhw", eight_bits(clip) * 255, torch.tensor(CHROMA))


def chroma_error(clip: Tensor, truth: Tensor) -> float:
    """Mean absolute error of Cb and Cr, of 255."""
    return float((chroma(clip) - chroma(truth)).abs().mean())


def false_colour(clip: Tensor) -> float:
    """Largest distance of Cb or Cr from neutral, of 255, of what should be grey."""
    return float(chroma(clip).abs().max())


def eight_bits(clip: Tensor) -> Tensor:
    """Rounded to what 8 bits hold."""
    return clip.clamp(0, 1).mul(255).round().div(255)


def to_bytes(clip: Tensor) -> np.ndarray:
    """``[T, H, W, 3]`` uint8."""
    return (clip.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def psnr(clip: Tensor, truth: Tensor) -> float:
    """Mean over frames, dB; infinite where they are equal."""
    return float(frame_psnr(clip, truth).mean())


def frame_psnr(clip: Tensor, truth: Tensor, within: Tensor | None = None) -> Tensor:
    """``[T]``: of each frame, dB; of the pixels in ``within`` ``[T, 1, H, W]`` alone, NaN where there are none."""
    error = (eight_bits(clip) - eight_bits(truth)).double().square().mean(1, keepdim=True)
    within = torch.ones_like(error) if within is None else within
    return -10 * ((error * within).sum((1, 2, 3)) / within.sum((1, 2, 3))).log10()


def face_psnr(clip: Tensor, truth: Tensor, face: Tensor) -> float:
    """Of the pixels inside ``face`` ``[T, 1, H, W]``, mean over the frames that show it, dB."""
    return float(frame_psnr(clip, truth, face).nanmean())
