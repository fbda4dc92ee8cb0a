"""What a whole run takes, by the stages of a short one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vividface_core.pipeline.options import Plan
from vividface_core.pipeline.progress import FRAME
from vividface_core.runtime.callbacks import Callbacks
from vividface_core.runtime.memory import peak_memory
from vividface_core.runtime.wording import counted, duration


@dataclass(frozen=True)
class Estimate:
    """What the run over the whole video takes, and what it will find.

    Attributes:
        frames: of the video; ``None``: the file doesn't tell, so neither is its time known.
        cuts, faces, restore: seconds of looking for cuts, of following faces, and of restoring and writing; ``None``:
            the passage showed no face to restore.
        model_memory: bytes on the model's device, estimated for one window.
        process_memory: bytes that this process took at most so far; a run doesn't take more with its length.
        sizes: shorter side in pixels of every face that was seen, by look; those that would be restored.
    """

    frames: int | None
    cuts: float
    faces: float
    restore: float | None
    model_memory: int
    process_memory: int
    sizes: tuple[tuple[float, ...], ...]

    @property
    def seconds(self) -> float | None:
        """Of the whole run; ``None``: not known."""
        if self.frames is None or (self.restore is None and any(self.sizes)):
            return None
        return self.cuts + self.faces + (self.restore or 0.0)

    @property
    def faces_per_frame(self) -> float:
        """Faces to restore in a frame, mean of the looks."""
        return float(np.mean([len(look) for look in self.sizes])) if self.sizes else 0.0

    def lines(self) -> list[str]:
        """In plain words."""
        if self.frames is None:
            took = "The file doesn't tell its length, so neither time nor frames of the run are known."
        elif self.seconds is None:
            took = f"{counted(self.frames, 'frame')}; the passage shows no face, so the time of the run isn't known."
        else:
            took = (
                f"{counted(self.frames, 'frame')}: about {duration(self.seconds)} (cuts {duration(self.cuts)}, faces "
                f"{duration(self.faces)}, restoring and writing {duration(self.restore or 0.0)})"
            )
        memory = (
            f"memory: the model about {self.model_memory / 2**30:.2f} GiB, this process "
            f"{self.process_memory / 2**30:.2f} GiB at most so far"
        )
        return [took, memory, self._faces_told()]

    def _faces_told(self) -> str:
        every = sorted(size for look in self.sizes for size in look)
        if not every:
            return f"faces: none in {counted(len(self.sizes), 'look')}"
        share = np.mean([bool(look) for look in self.sizes])
        middle = every[len(every) // 2]
        return (
            f"faces: in {share:.0%} of {counted(len(self.sizes), 'look')}, {self.faces_per_frame:.1f} a frame, at most "
            f"{max(len(look) for look in self.sizes)}; {every[0]:.0f} to {every[-1]:.0f} pixels, half of them below "
            f"{middle:.0f}"
        )


class StageClock(Callbacks):
    """Times the stages of a run and passes its events on, but for its plan.

    Attributes:
        made: the run's plan; ``None`` before it is made.
    """

    def __init__(self, inner: Callbacks) -> None:
        self._inner = inner
        self._marks: dict[str, list[tuple[float, float]]] = {}
        self.made: Plan | None = None

    def plan(self, plan: Plan) -> None:
        self.made = plan

    def progress(self, stage: str, done: float, total: float | None) -> None:
        self._marks.setdefault(stage, []).append((done, time.monotonic()))
        self._inner.progress(stage, done, total)

    def frame(self, frame: object) -> None:
        self._inner.frame(frame)

    def notice(self, text: str) -> None:
        self._inner.notice(text)

    def estimate(self, frames: int | None, sizes: Sequence[Sequence[float]]) -> Estimate:
        """The whole run's, once the short one is done.

        Args:
            frames: of the whole video, if known.
            sizes: of the faces to restore in each of some frames spread over it.
        """
        plan = self.made
        assert plan is not None  # the short run is done
        known = tuple(tuple(look) for look in sizes)
        faces = float(np.mean([len(look) for look in known])) if known else 0.0
        regions = 1.0 if plan.whole_frame else faces
        restore = None
        if plan.window_count or not regions:
            restore = (frames or 0) * self._each("restore") * _work(plan, regions)
        looked = 0.0 if plan.whole_frame else self._each("faces")
        return Estimate(
            frames,
            (frames or 0) * self._each("shots"),
            (frames or 0) * looked,
            restore,
            plan.peak_memory,
            peak_memory(),
            known,
        )

    def _each(self, stage: str) -> float:
        """Seconds of one step of a stage, from its first report on: what is done once isn't in it."""
        marks = self._marks.get(stage, [])
        if len(marks) < 2 or marks[-1][0] <= marks[0][0]:
            return 0.0
        return (marks[-1][1] - marks[0][1]) / (marks[-1][0] - marks[0][0])


def _work(plan: Plan, regions: float) -> float:
    """Work of one frame with so many regions, in the unit of :class:`~vividface_core.pipeline.progress.WorkMeter`."""
    crops = plan.window / (plan.window - plan.overlap)
    return regions * (crops + plan.beside) + FRAME
