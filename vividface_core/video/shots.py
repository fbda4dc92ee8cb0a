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
    """Cut a stream of frames at hard cuts, with PySceneDetect's adaptive detector.

    Streaming: a shot is handed out as soon as the next one has begun; only the scores of five frames are kept.

    Args:
        threshold: how many times more than its neighbours (two on each side) a frame must differ from the one before.
        min_change: how much it must differ at least (0…255), so that a still picture's noise is no cut.
        min_length: a shot is at least this many frames long.

    Raises:
        MissingDependency: PySceneDetect or OpenCV is missing or broken.
    """
    detector, time_of = _detector(threshold, min_change, min_length)
    start: int | None = None
    first = end = 0
    for frame in frames:
        if start is None:
            start = first = frame.index
        end = frame.index + 1
        for cut in detector.process_frame(time_of(frame.index - first), _thumbnail(frame)):
            at = first + _number(cut)
            if at > start:
                yield Shot(start, at)
                start = at
    if start is not None:
        yield Shot(start, end)


def _detector(threshold: float, min_change: float, min_length: int) -> tuple[Any, Any]:
    try:
        from scenedetect import AdaptiveDetector, FrameTimecode
        from scenedetect import __version__ as version
    except ImportError as error:
        raise MissingDependency(
            f"Finding shots needs PySceneDetect and OpenCV ({error}): pip install scenedetect opencv-python"
        ) from error
    detector = AdaptiveDetector(
        adaptive_threshold=threshold, min_content_val=min_change, min_scene_len=min_length, window_width=2
    )
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
