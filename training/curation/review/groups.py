"""Clips by what became of them, for the contact sheet and the review page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

STAGES = {"cut": "Cutting", "technical": "Technical", "duplicate": "Duplicate", "judge": "Judge", "person": "Person"}
"""What a stage is called, in the order of the run."""
FAILED = "Failed"
Row = Mapping[str, Any]
_FIGURE = re.compile(r"[-+−]?\b\d[\d.,:]*(?<![.,:])(\s?%)?")


def cause_kind(cause: str) -> str:
    """A cause without its figures, so that clips with the same fault share it: up to a colon, else numbers left out."""
    head = cause.split(":", 1)[0] if ": " in cause else cause
    kind = _FIGURE.sub("…", head)
    return " ".join(kind.split()) or "no cause"


def group_of(row: Row) -> tuple[str, str]:
    """Of a clip that wasn't kept: stage for people, and kind of its first cause."""
    stage = FAILED if row["state"] == "failed" else str(STAGES.get(row["stage"], row["stage"]))
    if row["stage"] == "duplicate":
        return stage, "of another clip"  # the cause names that clip, which is another one each time
    return stage, cause_kind(row["causes"][0]) if row["causes"] else "no cause"


def dropped_groups(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """Clips that weren't kept, by stage and cause: stages in the order of the run, the commonest cause first."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["state"] != "kept":
            groups.setdefault(group_of(row), []).append(row)
    order = [*STAGES.values(), FAILED]

    def place(group: tuple[str, str]) -> tuple[int, int, str]:
        stage = order.index(group[0]) if group[0] in order else len(order)
        return stage, -len(groups[group]), group[1]

    return {group: groups[group] for group in sorted(groups, key=place)}


def by_score(rows: Sequence[Row]) -> list[Row]:
    """The best first, what has no score last; among equals by key."""
    return sorted(rows, key=lambda row: (row["final"] is None, -(row["final"] or 0), row["key"]))


def score_text(score: float) -> str:
    """As tables show it."""
    return f"{score:.1f}".removesuffix(".0")


def group_value(stage: str, kind: str) -> str:
    """A group of dropped clips as the page's script knows it."""
    return f"{stage}: {kind}"
