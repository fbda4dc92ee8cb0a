"""What came out of a judge's answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vividface_core.io.records import validated


@dataclass(frozen=True)
class Adjustment:
    """A bonus or penalty that counts.

    Attributes:
        rule: its key in the rubric; "" for a total that the answer doesn't explain.
    """

    rule: str
    points: float
    reason: str = ""


@dataclass(frozen=True)
class Assessment:
    """One video's grades, computed anew from the scores and adjustments that a judge gave.

    Attributes:
        scores: by the dimension's key, from 0 to its points.
        reasons: by the dimension's key; "" where none was given.
        adjustments: each rule of the rubric at most once.
        base: sum of the scores, 0…100.
        final: base and adjustments, 0…100.
        tier: the name of the rubric's tier that ``final`` falls into.
        critical_issues: what keeps it from the best tier, in the judge's words.
        motion_blur: what the judge says of motion blur in eyes, mouth and teeth.
        faults: where the judge computed wrongly, went out of a range or didn't keep to the rubric; a sentence each.
        rubric: version of the rubric.
        raw: the answer as it came.
    """

    scores: dict[str, float]
    reasons: dict[str, str]
    adjustments: tuple[Adjustment, ...]
    base: float
    final: float
    tier: str
    critical_issues: tuple[str, ...]
    motion_blur: str
    faults: tuple[str, ...]
    rubric: str
    raw: str

    @property
    def adjustment(self) -> float:
        """All bonuses and penalties together."""
        return sum(adjustment.points for adjustment in self.adjustments)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a record, which :meth:`from_json` takes back."""
        return {
            **asdict(self),
            "adjustments": [asdict(adjustment) for adjustment in self.adjustments],
            "critical_issues": list(self.critical_issues),
            "faults": list(self.faults),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Assessment:
        """Out of a record.

        Raises:
            InvalidOption: it is no record of an assessment.
        """
        return validated(cls, stored, "record of an assessment")
