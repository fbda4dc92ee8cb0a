"""A run's news in ComfyUI: the node's bar with a picture, the log, and the stop button."""

from __future__ import annotations

import logging
import time

import comfy.model_management as management
import comfy.utils
import numpy as np
from PIL import Image

from vividface_core.pipeline.options import Plan
from vividface_core.runtime.callbacks import Callbacks
from vividface_core.runtime.wording import counted
from vividface_core.video.frame import Frame

SPANS = {"shots": (0, 50), "faces": (50, 240), "timing": (240, 250), "restore": (250, 1000), "degrade": (0, 1000)}
"""Where each stage lies on the bar, in thousandths: about their shares of the time."""
PREVIEW_SIDE = 512
PREVIEW_EVERY = 0.7
"""Seconds between pictures."""


def stop_if_asked() -> None:
    """Raise ComfyUI's own exception if the user pressed stop."""
    management.throw_exception_if_processing_interrupted()


class NodeCallbacks(Callbacks):
    """Tells the node's bar. Every piece of news is also a chance to stop."""

    def __init__(self, node_id: str | None) -> None:
        self._bar = comfy.utils.ProgressBar(1000, node_id=node_id)
        self._at, self._shown = 0, 0.0
        self.notices: list[str] = []
        self.planned: Plan | None = None

    def plan(self, plan: Plan) -> None:
        self.planned = plan
        time_left = "" if plan.seconds is None else f", about {plan.seconds:.0f} s"
        logging.info(
            "VividFace: %s, %s of up to %s at %d×%d, about %.2f GiB%s",
            counted(len(plan.shots), "shot"),
            counted(plan.window_count, "window"),
            counted(plan.window, "frame"),
            *reversed(plan.shape),
            plan.peak_memory / 2**30,
            time_left,
        )

    def progress(self, stage: str, done: float, total: float | None) -> None:
        stop_if_asked()
        if stage in SPANS and total:
            first, last = SPANS[stage]
            self._move(first + round((last - first) * min(1.0, done / total)))

    def frame(self, frame: Frame) -> None:
        now = time.monotonic()
        if now - self._shown > PREVIEW_EVERY:
            self._shown = now
            self._bar.update_absolute(self._at, 1000, ("JPEG", picture_of(frame), PREVIEW_SIDE))

    def notice(self, text: str) -> None:
        self.notices.append(text)
        logging.info("VividFace: %s", text)

    def _move(self, at: int) -> None:
        if at > self._at:
            self._at = at
            self._bar.update_absolute(at, 1000)


class ShareBar:
    """A node's bar for work that tells its share done, 0…1."""

    def __init__(self, node_id: str | None) -> None:
        self._bar = comfy.utils.ProgressBar(1000, node_id=node_id)

    def __call__(self, share: float) -> None:
        stop_if_asked()
        self._bar.update_absolute(round(1000 * share), 1000)


def picture_of(frame: Frame) -> Image.Image:
    """A frame to look at."""
    pixels = (frame.rgb().clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(pixels.numpy()))
