"""The frames that came out worst, kept as pictures while a clip is measured; and pictures for a report."""

from __future__ import annotations

import io
import math
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vividface_core.io.pictures import bytes_of, pillow
from vividface_core.metrics.metric import Chunk, ClipFacts, Metric, Side

SIDES: tuple[Side, ...] = ("source", "output", "reference")
LABELS = {"source": "input", "output": "output", "reference": "truth"}
"""What a report calls them, in the order in which it shows them."""
JUDGES = ("lpips", "psnr")
"""By whose figures the worst frames are chosen, if they are measured; else by the first metric with figures a frame."""
SIDE = 512
"""Longest side of a frame's picture."""
QUALITY_STEPS = ((512, 88), (512, 78), (384, 78), (256, 76), (192, 72), (128, 68))
"""Longest side and JPEG quality, taken down until a clip's pictures fit into their room."""


@dataclass(frozen=True)
class Encoded:
    """A picture file in memory. ``kind`` is ``jpeg`` or ``png``."""

    data: bytes
    kind: str
    width: int
    height: int

    @property
    def uri(self) -> str:
        """As a ``data:`` address."""
        return f"data:image/{self.kind};base64,{b64encode(self.data).decode('ascii')}"


@dataclass(frozen=True)
class WorstFrame:
    """One frame with its figures, by metric, and its pictures, by side."""

    frame: int
    values: dict[str, float]
    pictures: dict[Side, Encoded]


@dataclass(frozen=True)
class WorstByMetric:
    """The worst frames of a clip, the worst first.

    Attributes:
        judge: the metric that chose them; ``None``: none has figures a frame.
        apart: frames that lie between any two of them at least.
    """

    judge: str | None
    apart: int
    moments: tuple[WorstFrame, ...]


class WorstFrames:
    """Observer that keeps the worst frames of each clip, no two of them from one moment.

    Args:
        count: how many.
        room: bytes of a clip's pictures together; they are made smaller to fit (down to 128 pixels).

    Attributes:
        clips: in the order of measuring.
    """

    def __init__(self, count: int = 3, room: int = 1 << 20) -> None:
        self.clips: list[WorstByMetric] = []
        self._count, self._room = count, room

    def begin(self, facts: ClipFacts, metrics: Sequence[Metric]) -> None:
        self._sign = {metric.name: -1.0 if metric.higher_is_better else 1.0 for metric in metrics}
        self._apart = max(1, round(min(facts.fps / 2, facts.frames / 8)))
        self._judge: str | None = None
        self._held: list[tuple[float, int, dict[str, float], dict[Side, np.ndarray]]] = []

    @torch.inference_mode()
    def on_frames(self, chunk: Chunk, values: Mapping[str, Sequence[float]]) -> None:
        judge = self._judge or next((name for name in (*JUDGES, *values) if name in values), None)
        if judge is None:
            return
        self._judge = judge
        for place, value in enumerate(values.get(judge, ())):
            badness = self._sign[judge] * value
            if not math.isnan(badness):
                self._offer(badness, chunk, place, values)

    def finish(self) -> None:
        pictures = {
            (number, side): picture for number, held in enumerate(self._held) for side, picture in held[3].items()
        }
        made = fitted(pictures, self._room, QUALITY_STEPS, _inside)
        moments = [
            WorstFrame(frame, values, {side: made[number, side] for side in own})
            for number, (_, frame, values, own) in enumerate(self._held)
        ]
        self.clips.append(WorstByMetric(self._judge, self._apart, tuple(moments)))
        self._held = []

    def _offer(self, badness: float, chunk: Chunk, place: int, values: Mapping[str, Sequence[float]]) -> None:
        frame = chunk.first + place
        rivals = [held for held in self._held if abs(held[1] - frame) < self._apart]
        if not rivals and len(self._held) == self._count:
            rivals = self._held[-1:]
        if any(held[0] >= badness for held in rivals):
            return
        pictures = {side: _small(frames[place]) for side in SIDES if (frames := chunk.frames(side)) is not None}
        figures = {name: row[place] for name, row in values.items()}
        kept = [held for held in self._held if not any(held is rival for rival in rivals)]
        self._held = sorted([*kept, (badness, frame, figures, pictures)], key=lambda held: (-held[0], held[1]))


def _small(frame: Tensor) -> np.ndarray:
    height, width = frame.shape[1:]
    if max(height, width) > SIDE:
        share = SIDE / max(height, width)
        size = [max(1, round(height * share)), max(1, round(width * share))]
        frame = F.interpolate(frame[None], size=size, mode="bilinear", antialias=True)[0]
    return bytes_of(frame)


def fitted(
    pictures: Mapping[Any, np.ndarray], room: int, rungs: Sequence[tuple[int, int]], resized: Callable[[Any, int], Any]
) -> dict[Any, Encoded]:
    """The pictures ``[H, W, 3]`` uint8 as files: by the first of ``rungs`` (side, JPEG quality; 0: PNG) by which all
    together take no more than ``room`` bytes, or else by the last.

    Args:
        resized: makes a Pillow picture fit a side.
    """
    image, made = pillow(), {}
    for side, quality in rungs:
        made = {key: encoded(resized(image.fromarray(picture), side), quality) for key, picture in pictures.items()}
        if sum(len(one.data) for one in made.values()) <= room:
            break
    return made


def encoded(picture: Any, quality: int) -> Encoded:
    """A Pillow picture as a JPEG file with full colour, or with ``quality`` 0 as a PNG file."""
    out, kind = io.BytesIO(), "jpeg" if quality else "png"
    # Not "optimize" for JPEG: Pillow then fails where the file is larger than it guessed.
    picture.save(out, kind, **({"quality": quality, "subsampling": 0} if quality else {"optimize": True}))
    return Encoded(out.getvalue(), kind, *picture.size)


def _inside(picture: Any, side: int) -> Any:
    picture.thumbnail((side, side))
    return picture
