"""The base of judges: sample a video, answer by the rubric, and retry when the answer can't be parsed."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from vividface_core.errors import Interrupted, InvalidAnswer, InvalidOption
from vividface_core.mllm.assessment import Assessment
from vividface_core.mllm.judges.sampling import SampledFrames, Sampling, TimedClip, open_source, sample
from vividface_core.mllm.rubric import RUBRIC, Rubric, parse_assessment, rubric_version
from vividface_core.video.source import VideoFrames

MAX_ATTEMPTS = 3
"""Answers that a judge may give to one video before it counts as failed."""


@dataclass(frozen=True)
class RejectedAnswer:
    """An answer that couldn't be parsed, and the reason."""

    answer: str
    reason: str


@dataclass(frozen=True)
class Spread:
    """How far several assessments lie apart: mean, standard deviation (n − 1), least and greatest."""

    mean: float
    std: float
    low: float
    high: float


@dataclass(frozen=True)
class Failure:
    """A pass without an assessment."""

    judge: str
    reason: str


@dataclass(frozen=True)
class Judgement:
    """One video, judged.

    Attributes:
        assessment: the grades; a panel's are averaged.
        judge: its name.
        identity: whatever decides its answers, as JSON values.
        seconds: it took, frames and repeated answers included.
        times: seconds of the frames that were shown.
        refused: answers that couldn't be used, those of a panel's members too.
        spread: of several assessments, by dimension and for ``adjustment``, ``base`` and ``final``; else empty.
        members: a panel's, one for each pass that gave an assessment.
        failures: a panel's passes without one.
        facts: what else a judge tells: a server's count of tokens, a measuring judge's figures.
    """

    assessment: Assessment
    judge: str
    identity: dict[str, Any]
    seconds: float
    times: tuple[float, ...] = ()
    refused: tuple[RejectedAnswer, ...] = ()
    spread: dict[str, Spread] | None = None
    members: tuple[Judgement, ...] = ()
    failures: tuple[Failure, ...] = ()
    facts: dict[str, Any] | None = None

    @property
    def answer(self) -> str:
        """As the judge wrote it."""
        return self.assessment.raw

    def to_json(self) -> dict[str, Any]:
        """Plain values for a record."""
        return {
            "judge": self.judge,
            "identity": self.identity,
            "seconds": round(self.seconds, 3),
            "assessment": self.assessment.to_json(),
            "frame_seconds": [round(t, 3) for t in self.times],
            "refused": [asdict(rejected) for rejected in self.refused],
            "spread": {key: asdict(spread) for key, spread in (self.spread or {}).items()},
            "members": [member.to_json() for member in self.members],
            "failures": [asdict(failure) for failure in self.failures],
            "facts": self.facts or {},
        }


class Judge(Protocol):
    """Grades videos.

    Attributes:
        name: for tables and messages.
        identity: whatever decides its answers, as JSON values: two judges of one identity grade alike.
        rubric: what it goes by.
        concurrency: videos that it can look at in several threads at the same time.
        stopped: set by another thread, it makes the judge give up for good: at the next frame, word or attempt.
    """

    name: str
    identity: dict[str, Any]
    rubric: Rubric
    concurrency: int
    stopped: threading.Event

    def judge(self, video: str | Path | VideoFrames | TimedClip, *, number: int = 0) -> Judgement:
        """Grade one video.

        Args:
            number: of the pass; a judge that answers by chance answers otherwise in each.

        Raises:
            UnreadableVideo: it can't be read.
            InvalidAnswer: no answer could be used; see :class:`NoAssessment`.
            JudgeFailed: there was no answer.
            Interrupted: ``stopped`` was set.
        """


class NoAssessment(InvalidAnswer):
    """Every answer of a judge was rejected.

    Attributes:
        refused: all of them.
    """

    def __init__(self, message: str, refused: tuple[RejectedAnswer, ...]) -> None:
        super().__init__(message, raw=refused[-1].answer if refused else "")
        self.refused = refused


@dataclass(frozen=True)
class Reply:
    """An answer before it is read, and what else came with it."""

    text: str
    facts: dict[str, Any] | None = None


class WritingJudge(ABC):
    """A judge that writes its answer: it is read by the rubric, and asked again if that can't be done.

    Args:
        sampling: which frames it is shown.
        tries: answers that it may give to one video.

    Raises:
        InvalidOption: no answer allowed.
    """

    name = ""
    concurrency = 1

    def __init__(self, sampling: Sampling, rubric: Rubric = RUBRIC, tries: int = MAX_ATTEMPTS) -> None:
        if tries < 1:
            raise InvalidOption(f"A judge must be allowed at least 1 answer, not {tries}.")
        self.sampling, self.rubric, self.tries = sampling, rubric, tries
        self.stopped = threading.Event()
        self.identity: dict[str, Any] = {"rubric": rubric_version(rubric), "frames": asdict(sampling), "tries": tries}

    def look(self, source: VideoFrames) -> SampledFrames:
        """The frames that are shown."""
        return sample(source, self.sampling)

    @abstractmethod
    def ask(self, shown: SampledFrames, complaint: str, number: int) -> Reply:
        """One answer.

        Args:
            complaint: what was wrong with the last one; "" at first.
            number: of the pass.

        Raises:
            InvalidAnswer: it is known to be none without being read.
            JudgeFailed: there is none.
        """

    def judge(self, video: str | Path | VideoFrames | TimedClip, *, number: int = 0) -> Judgement:
        """See :class:`Judge`."""
        began = time.monotonic()
        source: Any = _Stoppable(open_source(video), self.stopped)
        shown = self.look(source)
        refused: list[RejectedAnswer] = []
        while len(refused) < self.tries:
            raise_if_stopped(self.stopped)
            try:
                reply = self.ask(shown, _complaint(refused), number)
                assessment = parse_assessment(reply.text, self.rubric)
            except InvalidAnswer as error:
                refused.append(RejectedAnswer(error.raw, str(error)))
                continue
            return Judgement(
                assessment,
                self.name,
                self.identity,
                time.monotonic() - began,
                shown.times,
                tuple(refused),
                facts=reply.facts,
            )
        times = f"{self.tries} answers" if self.tries > 1 else "its only answer"
        raise NoAssessment(
            f"{self.name} gave no assessment of {shown.name} in {times}. The last: {refused[-1].reason}", tuple(refused)
        )


def raise_if_stopped(stopped: threading.Event) -> None:
    """
    Raises:
        Interrupted: it was set.
    """
    if stopped.is_set():
        raise Interrupted("The judging was stopped.")


class _Stoppable:
    """A source that ends its reading when asked."""

    def __init__(self, source: VideoFrames | TimedClip, stopped: threading.Event) -> None:
        self._source, self._stopped = source, stopped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def read(self, start: int = 0, end: int | None = None) -> Iterator[Any]:
        for frame in self._source.read(start, end):
            raise_if_stopped(self._stopped)
            yield frame


def _complaint(refused: list[RejectedAnswer]) -> str:
    if not refused:
        return ""
    reason = " ".join(refused[-1].reason.split())[:200]
    return f"An earlier answer could not be used: {reason} Answer completely and in exactly the form described above."
