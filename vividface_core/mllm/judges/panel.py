"""Several judges, or several passes of one: their mean, and how far they lie apart."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vividface_core.errors import InvalidAnswer, InvalidOption, JudgeFailed
from vividface_core.mllm.assessment import Adjustment, Assessment
from vividface_core.mllm.judges.base import Failure, Judge, Judgement, RejectedAnswer, Spread
from vividface_core.mllm.judges.sampling import TimedClip
from vividface_core.mllm.rubric import TOTAL, Rubric, rubric_version
from vividface_core.video.source import VideoFrames


class Panel:
    """Asks each judge ``passes`` times and averages.

    Scores are averaged dimension by dimension, adjustments rule by rule (one that was not applied counts as 0), and
    base and final score are computed from these means.

    Args:
        judges: of one rubric.
        passes: of each.

    Raises:
        InvalidOption: no judge, or judges that go by different rubrics.
    """

    def __init__(self, judges: Sequence[Judge], passes: int = 1) -> None:
        if not judges or passes < 1:
            raise InvalidOption("A panel needs at least one judge and one pass.")
        if len({rubric_version(judge.rubric) for judge in judges}) > 1:
            raise InvalidOption("The judges of a panel must go by the same rubric.")
        self._judges, self._passes = list(judges), passes
        self.rubric = judges[0].rubric
        self.name = " + ".join(judge.name for judge in judges) + (f" × {passes}" if passes > 1 else "")
        self.identity: dict[str, Any] = {
            "kind": "panel",
            "passes": passes,
            "judges": [judge.identity for judge in judges],
        }
        self.concurrency = min(judge.concurrency for judge in judges)
        self.stopped = threading.Event()
        for judge in judges:
            judge.stopped = self.stopped

    def judge(self, video: str | Path | VideoFrames | TimedClip, *, number: int = 0) -> Judgement:
        """See :class:`~vividface_core.mllm.judges.base.Judge`.

        Raises:
            JudgeFailed: no pass gave an assessment.
            Interrupted: ``stopped`` was set.
        """
        began = time.monotonic()
        members: list[Judgement] = []
        failures: list[Failure] = []
        refused: list[RejectedAnswer] = []
        for member in self._judges:
            for turn in range(self._passes):
                try:
                    judgement = member.judge(video, number=number * self._passes + turn)
                    members.append(judgement)
                    refused += judgement.refused
                except (InvalidAnswer, JudgeFailed) as error:  # an unreadable video is so for all of them
                    failures.append(Failure(member.name, str(error)))
                    refused += getattr(error, "refused", ())
        if not members:
            reasons = "; ".join(dict.fromkeys(failure.reason for failure in failures))
            raise JudgeFailed(f"None of {len(failures)} passes gave an assessment: {reasons}")
        assessments = [member.assessment for member in members]
        return Judgement(
            averaged(assessments, self.rubric),
            self.name,
            self.identity,
            time.monotonic() - began,
            members[0].times,
            tuple(refused),
            spread_of(assessments),
            tuple(members),
            tuple(failures),
        )


def averaged(assessments: Sequence[Assessment], rubric: Rubric) -> Assessment:
    """The mean of at least one assessment; words are taken from the one whose final score is nearest to the mean's."""
    keys = [dimension.key for dimension in rubric.dimensions]
    scores = {key: _mean([assessment.scores[key] for assessment in assessments]) for key in keys}
    adjustments = tuple(_adjustments(assessments))
    base = round(sum(scores.values()), 6)
    final = round(min(max(base + sum(adjustment.points for adjustment in adjustments), 0), TOTAL), 6)
    spokesman = min(assessments, key=lambda assessment: abs(assessment.final - final))
    many = len(assessments) > 1
    return Assessment(
        scores=scores,
        reasons=spokesman.reasons,
        adjustments=adjustments,
        base=base,
        final=final,
        tier=rubric.tier(final),
        critical_issues=tuple(dict.fromkeys(issue for a in assessments for issue in a.critical_issues)),
        motion_blur=spokesman.motion_blur,
        faults=tuple(
            f"answer {number}: {fault}" if many else fault
            for number, assessment in enumerate(assessments, 1)
            for fault in assessment.faults
        ),
        rubric=rubric_version(rubric),
        raw="\n\n".join(assessment.raw for assessment in assessments),
    )


def spread_of(assessments: Sequence[Assessment]) -> dict[str, Spread]:
    """By dimension, and for ``adjustment``, ``base`` and ``final``."""
    rows = [{**a.scores, "adjustment": a.adjustment, "base": a.base, "final": a.final} for a in assessments]
    return {key: _spread([row[key] for row in rows]) for key in rows[0]}


def _adjustments(assessments: Sequence[Assessment]) -> list[Adjustment]:
    given: dict[str, list[Adjustment]] = {}
    for assessment in assessments:
        for adjustment in assessment.adjustments:
            given.setdefault(adjustment.rule, []).append(adjustment)
    count = len(assessments)
    if count == 1:
        return list(assessments[0].adjustments)
    return [
        Adjustment(
            rule,
            round(sum(row.points for row in rows) / count, 6),
            f"in {len(rows)} of {count} answers: {rows[0].reason}"
            if rows[0].reason
            else f"in {len(rows)} of {count} answers",
        )
        for rule, rows in given.items()
    ]


def _mean(values: Sequence[float]) -> float:
    return round(statistics.fmean(values), 6)


def _spread(values: Sequence[float]) -> Spread:
    std = statistics.stdev(values) if len(values) > 1 else 0.0
    return Spread(_mean(values), round(std, 6), min(values), max(values))
