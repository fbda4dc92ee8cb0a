"""Whole frames without their flicker: the source's own detail with the brightness that a de-flickering model tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vividface_core.errors import InvalidOption
from vividface_core.pipeline.flicker import brightness_correction, color_correction
from vividface_core.pipeline.options import FLICKERS, RestoreOptions
from vividface_core.pipeline.regions import WholeFrame
from vividface_core.restorers.base import Restorer
from vividface_core.video.flicker import FlickerMeter, FlickerSums

CUT_OFF = (0.97, 0.995)
"""Values from which a pixel is taken for cut off by a brighter frame a little, and wholly."""


@dataclass(frozen=True)
class Flicker:
    """How much a clip flickers, before and after; see :class:`vividface_core.video.flicker.FlickerSums`.

    Attributes:
        before, after: of the whole frame, in (1/255)².
        blocks_before, blocks_after: of its blocks.
    """

    before: float
    after: float
    blocks_before: float
    blocks_after: float

    @classmethod
    def of(cls, before: FlickerSums, after: FlickerSums) -> Flicker:
        return cls(before.frame, after.frame, before.blocks, after.blocks)

    def __str__(self) -> str:
        return (
            f"flicker {self.before:.2f} → {self.after:.2f}, in blocks {self.blocks_before:.2f} → "
            f"{self.blocks_after:.2f} (variance of the second difference of the mean luma, (1/255)²)"
        )


def deflicker_options(kind: str, keep_detail: bool = True, **options: Any) -> RestoreOptions:
    """Options of a restoration that takes the flicker out of whole frames.

    Args:
        kind: of :data:`~vividface_core.pipeline.options.FLICKERS`.
        keep_detail: see :class:`~vividface_core.pipeline.options.RestoreOptions`, as for all other ``options``.

    Raises:
        InvalidOption: a value that isn't known, or values that don't go together.
    """
    if kind not in FLICKERS:
        raise InvalidOption(f"There is no flicker of kind {kind!r}; choose one of {', '.join(FLICKERS)}.")
    return RestoreOptions(
        whole_frame=True, identity_guard="off", color="none", deflicker=kind, keep_detail=keep_detail, **options
    )


class SteadyFrame(WholeFrame):
    """A whole frame whose flicker is taken away; measures it before and after.

    Args:
        kind: ``brightness`` or ``pixel``.
        keep_detail: the model tells a correction of the source (:mod:`vividface_core.pipeline.flicker`); without it
            its picture is shown.
    """

    def __init__(
        self, start: int, stop: int, shape: tuple[int, int], strength: float, kind: str, keep_detail: bool
    ) -> None:
        super().__init__(start, stop, shape, strength)
        self.kind, self.keep_detail = kind, keep_detail
        self.before, self.after = FlickerMeter(), FlickerMeter()

    def kept(self, clip: Tensor, restored: Tensor) -> Tensor:
        if not self.keep_detail:
            return restored
        correction = brightness_correction if self.kind == "brightness" else color_correction
        return correction(clip, restored.to(clip))

    def put(
        self,
        index: int,
        rgb: Tensor,
        restored: Tensor,
        mask: Tensor | None,
        share: float,
        covered: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        if not self.keep_detail:
            result, changed = super().put(index, rgb, restored, mask, share)
        elif self.kind == "brightness":
            result, changed = brightened(rgb, restored, self.strength * share)
        else:
            result, changed = recolored(rgb, restored, self.strength * share)
        self.before.update(rgb[None])
        self.after.update(result[None])
        return result, changed


def brightened(rgb: Tensor, correction: Tensor, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """A frame with its brightness corrected.

    Args:
        rgb: ``[3, H, W]``, 0…1.
        correction: of this frame, ``[4, h, w]``; see :func:`vividface_core.pipeline.flicker.brightness_correction`.

    Returns:
        The frame, and where it was changed, ``[H, W]``; equal to ``rgb`` where the gain is 0.
    """
    gain, shown = _enlarged(correction, rgb.shape[-2:]).split((1, 3))
    gain = strength * gain
    result = rgb * gain.exp()
    # What was cut off lies somewhere between the darkened white and white: there as the neighbours in time show it.
    cut_off = strength * ((rgb - CUT_OFF[0]) / (CUT_OFF[1] - CUT_OFF[0])).clamp(0, 1) * (gain < 0)
    result = result.lerp(torch.maximum(shown, result), cut_off).clamp(0, 1)
    return torch.where(gain == 0, rgb, result), gain[0] != 0


def recolored(rgb: Tensor, correction: Tensor, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """A frame with what its ``correction`` ``[3, h, w]`` adds; returns as :func:`brightened`."""
    change = strength * _enlarged(correction, rgb.shape[-2:])
    changed = (change != 0).any(0)
    return torch.where(changed, (rgb + change).clamp(0, 1), rgb), changed


def _enlarged(field: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(field[None].float(), size=size, mode="bilinear", align_corners=False)[0]


def task_notice(restorer: Restorer, kind: str) -> str:
    """A sentence for the user where a model wasn't trained for this flicker; else empty."""
    if f"deflicker {kind}" in restorer.tasks:
        return ""
    return (
        f"This model of {restorer.name} was trained to {' and to '.join(restorer.tasks)}, not to deflicker {kind}: it "
        "may leave the flicker or harm the picture. 'vividface models list' shows what each model was trained for."
    )
