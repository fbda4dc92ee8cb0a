"""One line of pixels over time (VividFace's Fig. 7), and how much a clip changes from frame to frame.

In the picture of a line a still edge is a straight vertical stroke, a moving one a smooth curve, and flicker is
frayed: rows that jump.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vividface_core.io.pictures import bytes_of, pillow
from vividface_core.metrics.metric import Chunk, ClipFacts, Metric, Side
from vividface_core.metrics.reports.worst_frames import SIDES, Encoded, encoded, fitted

MOST_ROWS = 480
QUALITY_STEPS = ((512, 0), (512, 90), (512, 78), (384, 76), (256, 72), (128, 68))
"""Width and JPEG quality (0: PNG), taken down until a clip's pictures fit into their room."""
THUMBNAIL = 160


@dataclass(frozen=True)
class Slice:
    """What was kept of a clip.

    Attributes:
        row: number of the line, from the top.
        at_face: whether it runs through the eyes of a face that was found; else it is the middle one.
        every: each so many-th frame has a row in the pictures.
        lines: by side; time runs downwards.
        change: by side, mean absolute difference to the frame before, in 8-bit steps over all values of the whole
            frame; NaN for the first frame.
        place: a frame of the output, small, to show where the line lies.
        share: the line's place in it, 0 = top … 1 = bottom.
    """

    row: int
    at_face: bool
    every: int
    lines: dict[Side, Encoded]
    change: dict[Side, list[float]]
    place: Encoded
    share: float


class Slices:
    """Observer that keeps a :class:`Slice` of each clip.

    Args:
        row: which line; ``None``: through the eyes of the measured face, in the first frame that has one among the
            first chunk; the middle line where there is none.
        room: bytes of a clip's pictures together; they are made smaller to fit (down to a width of 128).

    Attributes:
        clips: in the order of measuring.
    """

    def __init__(self, row: int | None = None, room: int = 1 << 20) -> None:
        self.clips: list[Slice] = []
        self._given, self._room = row, room

    def begin(self, facts: ClipFacts, metrics: Sequence[Metric]) -> None:
        self._facts, self._every = facts, -(-facts.frames // MOST_ROWS)
        self._row, self._at_face = self._given, False
        self._lines: dict[Side, list[np.ndarray]] = {}
        self._change: dict[Side, list[float]] = {}
        self._last: dict[Side, Tensor] = {}
        self._place: np.ndarray | None = None

    @torch.inference_mode()
    def on_frames(self, chunk: Chunk, values: Mapping[str, Sequence[float]]) -> None:
        if self._place is None:
            self._begin_at(chunk)
        for side in SIDES:
            frames = chunk.frames(side)
            if frames is not None:
                self._take(side, frames, chunk.first)

    def finish(self) -> None:
        lines = {side: np.concatenate(rows) for side, rows in self._lines.items()}
        picture = pillow().fromarray(self._place)
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        row = self._row
        assert row is not None  # the first frames decided
        share = (row + 0.5) / self._facts.height
        self.clips.append(
            Slice(
                row,
                self._at_face,
                self._every,
                fitted(lines, self._room, QUALITY_STEPS, _narrow),
                self._change,
                encoded(picture, 78),
                share,
            )
        )
        self._last, self._lines = {}, {}

    def _begin_at(self, chunk: Chunk) -> None:
        shown = 0
        if self._row is None:
            points = chunk.landmarks(chunk.sides[-1])
            found = np.flatnonzero(~np.isnan(points).any((1, 2)))
            self._row, self._at_face = self._facts.height // 2, bool(len(found))
            if len(found):
                shown = int(found[0])
                self._row = int(np.clip(round(points[shown, :2, 1].mean()), 0, self._facts.height - 1))
        self._place = bytes_of(chunk.output[shown])

    def _take(self, side: Side, frames: Tensor, first: int) -> None:
        wanted = frames[-first % self._every :: self._every]
        if len(wanted):
            row = self._row
            assert row is not None  # the first frames decided
            self._lines.setdefault(side, []).append(bytes_of(wanted[:, :, row : row + 1])[:, 0])
        before = torch.cat([self._last.get(side, frames[:1]), frames[:-1]])
        change = (frames - before).abs().mean((1, 2, 3)).mul(255).tolist()
        if side not in self._last:
            change[0] = float("nan")
        self._change.setdefault(side, []).extend(change)
        self._last[side] = frames[-1:].clone()


def _narrow(picture: Any, width: int) -> Any:
    """A row is never mixed with another: they are of different times."""
    if picture.width <= width:
        return picture
    return picture.resize((width, picture.height), pillow().Resampling.BOX)
