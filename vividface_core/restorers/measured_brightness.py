"""A de-flickerer without a network: each frame's mean luma is brought to what stays around it.

As a picture it is what normalising the gain of each frame gives. With ``keep_detail`` it only tells which frames
flicker and in which direction (:mod:`vividface_core.pipeline.flicker`), and a running median tells that better than a
small network (docs/bfvr_stc.md). Its checkpoint folder has a card and no weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vividface_core.io.atomic import write_json
from vividface_core.restorers.base import DEFLICKER_BRIGHTNESS, Progress, Restorer, check_request
from vividface_core.restorers.execution import ExecutionConfig
from vividface_core.restorers.registry import CARD, MEASURED_BRIGHTNESS, CheckpointFiles, Contents, Found
from vividface_core.video.colorspace import luma
from vividface_core.video.flicker import running_median

BYTES = 64
"""For each pixel of a clip: the clip, its luma, the result, and what lies between."""


class MeasuredBrightness(Restorer):
    """Brings each frame's mean luma to the median over the frames around it. Takes clips of any length and size."""

    name = MEASURED_BRIGHTNESS.id
    valid_lengths, size_multiple = MEASURED_BRIGHTNESS.valid_lengths, MEASURED_BRIGHTNESS.size_multiple
    native_size, native_frames = MEASURED_BRIGHTNESS.native_size, MEASURED_BRIGHTNESS.native_frames
    color_default = MEASURED_BRIGHTNESS.color_default
    tasks = (DEFLICKER_BRIGHTNESS,)
    steps = None

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)

    def restore(
        self,
        clip: Tensor,
        *,
        mask: Tensor | None = None,
        strength: float = 1.0,
        progress: Progress | None = None,
    ) -> Tensor:
        check_request(clip, mask, strength)
        if strength == 0:
            return clip.clone()
        level = luma(clip).mean((1, 2, 3))
        gain = running_median(level) / level.clamp_min(1e-6)
        steady = (clip * gain.view(-1, 1, 1, 1)).clamp(0, 1)
        share = strength if mask is None else strength * mask
        if progress is not None:
            progress(1.0)
        return clip + share * (steady - clip)

    def memory_for(self, frames: int, height: int, width: int) -> int:
        return BYTES * frames * height * width

    @property
    def modules(self) -> dict[str, nn.Module]:
        return {}

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> MeasuredBrightness:
        """Move to a device. The type of numbers stays fp32: there are no weights to be narrower."""
        if device is not None:
            self._device = torch.device(device)
        return self

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32


def detect(contents: Contents) -> Found | None:
    """A folder whose card names this system."""
    card = contents.card if contents.path.is_dir() else None
    if card is None or card.get("system") != MEASURED_BRIGHTNESS.id:
        return None
    return Found("rule without a network", True, card, "no weights", (DEFLICKER_BRIGHTNESS,))


def load(files: CheckpointFiles, execution: ExecutionConfig) -> MeasuredBrightness:
    """There is nothing to read."""
    return MeasuredBrightness(execution.device)


def save(path: Path, restorer: MeasuredBrightness, meta: Mapping[str, Any], dtype: torch.dtype | None = None) -> Path:
    """Write the folder's card."""
    path.mkdir(parents=True, exist_ok=True)
    write_json(path / CARD, {**meta, "format": 1, "system": MEASURED_BRIGHTNESS.id}, indent=2)
    return path
