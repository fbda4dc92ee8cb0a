"""Where one shot ends and the next begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vividface_core.errors import MissingDependency
from vividface_core.video.colorspace import thumbnail
from vividface_core.video.frame import Frame

_LOOK_WIDTH = 256
"""Frames are compared at this width: enough for a cut, and 30 times quicker than 1080p."""

FLASH = 5
"""Frames on each side of a cut that are compared: what lasts shorter and goes back is a flash."""
KEPT = 16
"""Small copies that are kept: more than a detector lags behind, and a flash."""
SAME = 0.2
"""Difference of equally bright pictures up to which they show the same: fast motion reaches 0.2."""
CUT = 0.3
"""Difference of equally bright pictures from which they show two scenes."""
BLACK, WHITE, LEAST = 8, 250, 0.05
"""Values between which pixels are compared, and the share of them that has to be there."""
MOST_GAIN = 4.0
"""Frames aren't made brighter or darker by more: in the dark there would be nothing but noise."""
SHRINK = 5


@dataclass(frozen=True)
class Shot:
    """Frames ``start`` to ``end`` (exclusive) without a cut between them."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


def detect_shots(
    frames: Iterable[Frame], *, threshold: float = 3.0, min_change: float = 15.0, min_length: int = 8
) -> Iterator[Shot]:
    """Cut a stream of frames at hard cuts.

    PySceneDetect's adaptive detector looks at the pictures as they are. Beside it they are compared at equal
    brightness, since flicker hides cuts from it. What either finds is a cut only if no frame of the few behind it is
    like one of the few before it, but for its brightness: a flash, a lamp or flicker cuts nothing.

    Streaming: a shot is handed out as soon as the next one has begun; only the scores and small copies of a few frames
    are kept.

    Args:
        threshold: how many times more than its neighbours (two on each side) a frame must differ from the one before.
        min_change: how much it must differ at least (0…255), so that a still picture's noise is no cut.
        min_length: a shot is at least this many frames long.

    Raises:
        MissingDependency: PySceneDetect or OpenCV is missing or broken.
    """
    detector, time_of = _detector(threshold, min_change)
    start: int | None = None
    first = end = 0
    around = _Around(threshold)
    candidates: set[int] = set()
    for frame in frames:
        if start is None:
            start = first = frame.index
        end = frame.index + 1
        picture = _thumbnail(frame)
        candidates.update(first + _number(cut) for cut in detector.process_frame(time_of(frame.index - first), picture))
        around.add(frame.index, picture)
        for at in _known(candidates, end - FLASH):
            if at - start >= min_length and around.is_cut(at):
                yield Shot(start, at)
                start = at
        if around.differs(end - FLASH) and end - FLASH - start >= min_length:
            yield Shot(start, end - FLASH)
            start = end - FLASH
    if start is None:
        return
    for at in sorted(candidates):
        if at - start >= min_length and around.is_cut(at):
            yield Shot(start, at)
            start = at
    yield Shot(start, end)


def _known(candidates: set[int], last: int) -> list[int]:
    """Takes out, in order, the candidates up to ``last``, after which enough frames are known."""
    known = sorted(at for at in candidates if at <= last)
    candidates.difference_update(known)
    return known


class _Around:
    """Small copies of the last frames, compared at equal brightness.

    Args:
        threshold: how many times more two shots differ than neighbouring frames of either.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._seen: dict[int, np.ndarray] = {}
        self._from_before: dict[int, float] = {}

    def add(self, index: int, picture: np.ndarray) -> None:
        """The next frame's thumbnail."""
        self._seen[index] = _small(picture)
        if index - 1 in self._seen:
            self._from_before[index] = difference(self._seen[index - 1], self._seen[index])
        for known in (self._seen, self._from_before):
            known.pop(index - KEPT, None)

    def is_cut(self, at: int) -> bool:
        """Whether frame ``at`` and those behind it show something else than those before it."""
        return self._nearest(at) > SAME

    def differs(self, at: int) -> bool:
        """Whether that is sure by these comparisons alone: each side is like itself, and far from the other."""
        if self._from_before.get(at, 0.0) <= CUT or at + FLASH - 1 not in self._seen:
            return False
        sides = (range(at - FLASH + 1, at), range(at + 1, at + FLASH))
        changes = [
            [self._from_before[t] for t in side if np.isfinite(self._from_before.get(t, np.inf))] for side in sides
        ]
        if not all(changes):
            return False
        return self._nearest(at) > max(CUT, self._threshold * max(map(np.median, changes)))

    def _nearest(self, at: int) -> float:
        """The least difference between a frame before ``at`` and one from there on."""
        before = [self._seen[t] for t in range(at - FLASH, at) if t in self._seen]
        behind = [self._seen[t] for t in range(at, at + FLASH) if t in self._seen]
        return min((difference(a, b) for a in before for b in behind), default=np.inf)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """Mean difference of two small pictures ``[H, W, 3]``, 0…255, when they are equally bright, over the mean of the
    brighter one: 0 for one picture in two lights, about 0.5 for two scenes. Pixels that are black or cut off don't
    count; infinite if hardly any others are left."""
    usable = np.ones(first.shape[:2], bool)
    for picture in (first, second):
        usable &= (picture.max(2) < WHITE) & (picture.mean(2) > BLACK)
    if usable.mean() < LEAST:
        return float("inf")
    a, b = first[usable], second[usable]
    gain = np.median(b.mean(1) / a.mean(1)).clip(1 / MOST_GAIN, MOST_GAIN)
    return float(np.abs(gain * a - b).mean() / max(gain * a.mean(), b.mean()))


def _small(picture: np.ndarray) -> np.ndarray:
    """A thumbnail at a fifth of its size, as floats: motion of a few pixels is no difference."""
    height, width = (max(1, side // SHRINK) for side in picture.shape[:2])
    step = SHRINK if min(picture.shape[:2]) >= SHRINK else 1
    if step == 1:
        return picture.astype(np.float32)
    cropped = picture[: height * step, : width * step].astype(np.float32)
    return cropped.reshape(height, step, width, step, 3).mean((1, 3))


def _detector(threshold: float, min_change: float) -> tuple[Any, Any]:
    try:
        from scenedetect import AdaptiveDetector, FrameTimecode
        from scenedetect import __version__ as version
    except ImportError as error:
        raise MissingDependency(
            f"Finding shots needs PySceneDetect and OpenCV ({error}): pip install scenedetect opencv-python"
        ) from error
    # Length is checked when a cut is sure: what turns out to be none must not hide a cut shortly after.
    options = {"adaptive_threshold": threshold, "min_content_val": min_change, "min_scene_len": 1, "window_width": 2}
    detector = AdaptiveDetector(**options)
    # Up to release 0.6 the detector counts frames; from 0.7 on it is told times. The rate does not change the cuts.
    counts_frames = tuple(int(part) for part in version.split(".")[:2]) < (0, 7)
    return detector, (lambda number: number) if counts_frames else (lambda number: FrameTimecode(number, 25.0))


def _number(cut: Any) -> int:
    return cut if isinstance(cut, int) else getattr(cut, "frame_num", None) or cut.get_frames()


def _thumbnail(frame: Frame) -> np.ndarray:
    width = min(_LOOK_WIDTH, frame.width)
    height = max(1, round(frame.height * width / frame.width))
    rgb = thumbnail(frame.native, frame.color, width, height)
    return (rgb.flip(0) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
