"""A judge at work beside ComfyUI's own thread, which listens for the stop button."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vividface_core.errors import JudgeFailed, VividFaceError
from vividface_core.mllm.judges.base import Judge, Judgement
from vividface_core.mllm.judges.sampling import TimedClip
from vividface_core.mllm.scoring import abort_judge
from vividface_core.runtime.threads import POLL_SECONDS
from vividface_core.video.source import VideoFrames

from .images import to_frames
from .progress import ShareBar
from .video import in_memory, source_of
from .wording import in_words

LOOKING = 0.5
"""The bar's share for reading frames: twice a pass; the rest is the answer's."""


@contextmanager
def shown(given: Any, image_fps: float) -> Iterator[VideoFrames | TimedClip]:
    """The frames of a VIDEO or an IMAGE batch, called as the user knows them."""
    if isinstance(given, torch.Tensor):
        yield TimedClip(to_frames(given), image_fps, "The image batch")
    elif in_memory(given):
        parts = given.get_components()
        yield TimedClip(to_frames(parts.images), parts.frame_rate, "The video in memory")
    else:
        with source_of(given) as source:
            source.name = _name(given, source.path)
            yield source


def _name(given: Any, path: Path) -> str:
    told = getattr(given, "path", None)
    if told is None and not isinstance(told := given.get_stream_source(), str):
        return "The video in memory"
    return Path(told).name or path.name


def ask(judge: Judge, source: VideoFrames | TimedClip, passes: int, bar: ShareBar) -> Judgement:
    """A judgement, while the bar moves and the stop button works.

    Raises:
        JudgeFailed: there is none; names the video.
    """
    counted: Any = _Counted(source, passes)
    result: list[Judgement | BaseException] = []

    def work() -> None:
        try:
            result.append(judge.judge(counted))
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            bar(counted.share)
            thread.join(POLL_SECONDS)
        bar(1.0)
    except BaseException:
        abort_judge(judge, [thread])
        raise
    if isinstance(result[0], VividFaceError):
        raise JudgeFailed(f"{source.name} could not be judged: {in_words(str(result[0]))}") from result[0]
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


class _Counted:
    """A source that knows how much of it was read; judges read it twice a pass."""

    def __init__(self, source: VideoFrames | TimedClip, passes: int) -> None:
        self._source, self._passes, self._done, self._whole = source, passes, 0, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    @property
    def share(self) -> float:
        """0…1, without the last answer."""
        passes, begun = divmod(self._done, 2)
        if passes and not begun and not self._whole:  # read whole, and not answered yet
            return (passes - 1 + LOOKING) / self._passes
        return min(1.0, (passes + LOOKING * (begun + self._whole) / 2) / self._passes)

    def read(self, start: int = 0, end: int | None = None) -> Iterator[Any]:
        total = end or self._source.count
        for number, frame in enumerate(self._source.read(start, end), 1):
            self._whole = min(1.0, number / total) if total else 0.0
            yield frame
        self._done, self._whole = self._done + 1, 0.0
