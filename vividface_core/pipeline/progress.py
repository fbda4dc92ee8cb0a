"""How far a restoration is, and how long it will take: in work, not in frames.

Windows come in bursts: nothing comes out until a window is full, then all its frames at once. So what is counted is
crops that pass the model, a window's share while it is at work, and beside it what cutting out and putting back cost.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vividface_core.pipeline.options import Plan

FRAME = 0.1
"""Work of reading and writing a frame, in crops through the model."""


class WorkMeter:
    """Counts the work of a plan.

    Args:
        report: ``report(done, total)`` of work; what it raises stops the run.
    """

    def __init__(self, plan: Plan, report: Callable[[float, float], None]) -> None:
        self._report, self._beside = report, plan.beside
        self._work = [_shot_work(plan, number) for number in range(len(plan.shots))]
        self.total = sum(self._work)
        self._base, self._done = 0.0, 0.0
        self._windows: list[float] = []

    def begin(self, number: int) -> None:
        """Shot ``number`` begins; all before it are done, now or in an earlier run."""
        self._base, self._done, self._windows = sum(self._work[:number]), 0.0, []
        self._tell()

    def window(self, frames: int) -> Callable[[float], None]:
        """A window of so many frames begins. Returns what is told its share done, 0…1."""
        place = len(self._windows)
        self._windows.append(0.0)
        windows = self._windows

        def share(done: float) -> None:
            windows[place] = max(windows[place], frames * min(1.0, done))  # a window that is tried again starts anew
            self._tell()

        return share

    def frame(self, crops: int) -> None:
        """A frame with so many crops in it is put together."""
        self._done += FRAME + self._beside * crops
        self._tell()

    def _tell(self) -> None:
        self._report(min(self.total, self._base + self._done + sum(self._windows)), self.total)


def _shot_work(plan: Plan, number: int) -> float:
    lengths = [track.last - track.first for track in plan.tracks[number]]
    crops = sum(len(window) for length in lengths for window in plan.windows(length))
    return crops + plan.beside * sum(lengths) + FRAME * (plan.shots[number].end - plan.shots[number].start)


class Unchanged:
    """Stands for a restorer where all but the restorer is timed: clips come back as they are."""

    parallel = 0

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def submit(self, clip: Tensor, progress: object = None) -> Callable[[], Tensor]:
        """As :meth:`vividface_core.restorers.base.Restorer.submit`."""
        moved = clip.to(self.device)
        return lambda: moved


def sample_length(plan: Plan, share: float = 0.05, least: int = 5, step: int = 4) -> int:
    """Frames of the clip that tells the model's speed: a whole window where that is little of the work."""
    room = max(least, int(share * plan.crop_frames))
    return min(plan.window, 1 + (room - 1) // step * step)


def window_seconds(frames: int, sample: int, seconds: float, single: float) -> float:
    """Time of a window, by that of a shorter one and of a single frame: what each frame more costs is constant.

    Args:
        sample, seconds: length of the shorter one, and its time.
        single: time of one frame alone.
    """
    if sample <= 1:
        return seconds * frames
    return single + (frames - 1) * max(0.0, seconds - single) / (sample - 1)
