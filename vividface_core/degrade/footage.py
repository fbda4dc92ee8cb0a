"""Steps that old, broadcast and web footage went through; like those of :mod:`vividface_core.degrade.steps`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vividface_core.degrade.codec import through_codec
from vividface_core.degrade.filters import gaussian_blur, low_pass
from vividface_core.luma import BT601

Flow = Iterator[Tensor]
Drawn = Mapping[str, Any]
DETAIL = 1.0
"""Blur that parts the detail that sharpening adds from the rest, σ in pixels."""


def grey_of(clip: Tensor) -> Tensor:
    """``[T, 3, H, W]`` without its colours."""
    # As the codecs here have it: grey stays at chroma 128.
    weights = torch.tensor(BT601, dtype=clip.dtype, device=clip.device)[:, None, None]
    return (clip * weights).sum(1, keepdim=True).expand(-1, 3, -1, -1).contiguous()


def grey(frames: Flow, *_: object) -> Flow:
    """Black and white."""
    return map(grey_of, frames)


def interlace(frames: Flow, drawn: Drawn, *_: object) -> Flow:
    """What de-interlacing leaves: lines averaged with their neighbours (1 2 1), every other line interpolated between
    its neighbours, or every other line out of the frame before, averaged so that it doesn't comb."""
    before = None
    for frame in frames:
        if drawn["fields"] == "blend":
            yield _vertical(frame)
        elif drawn["fields"] == "drop":
            yield _odd_lines(frame, 2 * _vertical(frame) - frame)
        else:
            yield _vertical(_odd_lines(frame, frame if before is None else before))
        before = frame


def _vertical(frame: Tensor) -> Tensor:
    above = torch.cat([frame[..., :1, :], frame[..., :-1, :]], -2)
    below = torch.cat([frame[..., 1:, :], frame[..., -1:, :]], -2)
    return frame / 2 + (above + below) / 4


def _odd_lines(frame: Tensor, other: Tensor) -> Tensor:
    mixed = frame.clone()
    mixed[..., 1::2, :] = other[..., 1::2, :]
    return mixed


def ringing(frames: Flow, drawn: Drawn, *_: object) -> Flow:
    """Edges that overshoot: cut off by a low-pass without a window, then over-sharpened, x + s (x − x ⊛ k)."""
    for frame in frames:
        if drawn["cutoff"] < 1:
            frame = low_pass(frame, drawn["cutoff"])
        if drawn["sharpening"] > 0:
            frame = frame + drawn["sharpening"] * (frame - gaussian_blur(frame, DETAIL))
        yield frame.clamp(0, 1)


def grain(frames: Flow, drawn: Drawn, source: np.random.Generator, _: object) -> Flow:
    """Grey noise of a grain's size, strongest in mid-grey: n · 2 √(y (1 − y)) of luma y. ``fixed``: the same grain in
    all frames, as of a dirty scanner or sensor."""
    fixed = None
    for frame in frames:
        if drawn["grain"] > 0:
            if fixed is None or drawn["pattern"] == "fresh":
                fixed = source.standard_normal((1, 1, *frame.shape[-2:]), dtype=np.float32)
            noise = _coarse(torch.from_numpy(fixed), drawn["grain_size"]).to(frame)
            luma = grey_of(frame)[:, :1].clamp(0, 1)
            frame = frame + noise * (2 * (luma * (1 - luma)).sqrt()) * (drawn["grain"] / 255)
        yield frame.clamp(0, 1)


def _coarse(noise: Tensor, size: float) -> Tensor:
    """Blurred noise of the deviation it had."""
    reach = int(np.ceil(3 * size))
    if reach < 1:
        return noise
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / size) ** 2)
    kernel /= kernel.sum()
    return gaussian_blur(noise, size) / float((kernel**2).sum())


def compress(frames: Flow, drawn: Drawn, *_: object) -> Flow:
    """Through an encoder at a constant quality."""
    return through_codec(frames, drawn["encoder"], crf=drawn["crf"], quantizer=drawn["quantizer"])


def compress_again(frames: Flow, drawn: Drawn, *_: object) -> Flow:
    """A second time, of its own quality."""
    return through_codec(frames, drawn["encoder_again"], crf=drawn["crf_again"], quantizer=drawn["quantiser_again"])
