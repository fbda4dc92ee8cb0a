"""Judged videos as a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vividface_core.mllm.rubric import Rubric

LONGEST = 60
"""Characters of a video's name that are shown."""


def as_text(rows: Sequence[dict[str, Any]], rubric: Rubric) -> str:
    """A line a video: scores, adjustment, final score, tier, and whether it is kept; the counts below.

    Args:
        rows: records with ``final``, ``tier`` and ``keep``.
    """
    if not rows:
        return "no video was judged"
    heads = ["video", *(dimension.label for dimension in rubric.dimensions), "adj.", "final", "tier", "keep"]
    lines = [_cells(row, rubric) for row in rows]
    widths = [max(len(line[column]) for line in (heads, *lines) if column < len(line) and len(line) == len(heads))
              for column in range(len(heads))]  # fmt: skip
    widths[0] = max(len(line[0]) for line in (heads, *lines))
    said = [_joined(line, widths) for line in (heads, *lines)]
    return "\n".join([*said, counts(rows)])


def _cells(row: dict[str, Any], rubric: Rubric) -> list[str]:
    name = row["name"] if len(row["name"]) <= LONGEST else row["name"][: LONGEST - 1] + "…"
    if row["state"] != "judged":
        return [name, f"failed: {' '.join(row['error'].split())}"]
    found = row["judgement"]["assessment"]
    spread = row["judgement"]["spread"].get("final")
    final = number(row["final"]) + (f" ±{number(spread['std'])}" if spread else "")
    change = sum(adjustment["points"] for adjustment in found["adjustments"])
    scores = [number(found["scores"][dimension.key]) for dimension in rubric.dimensions]
    return [name, *scores, signed(change), final, row["tier"],
            "yes" if row["keep"] else "no"]  # fmt: skip


def _joined(cells: list[str], widths: list[int]) -> str:
    if len(cells) != len(widths):
        return f"{cells[0]:<{widths[0]}}  {cells[1]}"
    words = {0, len(cells) - 1, len(cells) - 2}
    return "  ".join(
        f"{cell:<{width}}" if column in words else f"{cell:>{width}}"
        for column, (cell, width) in enumerate(zip(cells, widths))
    ).rstrip()


def counts(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many were judged, kept, not judged, and judged earlier."""
    judged = [row for row in rows if row["state"] == "judged"]
    kept, failed = sum(row["keep"] for row in judged), len(rows) - len(judged)
    again = sum(bool(row.get("resumed")) for row in rows)
    parts = [f"{len(judged)} judged", f"{kept} kept"]
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{again} from an earlier run"] if again else []
    return ", ".join(parts)


def number(value: float) -> str:
    """With a decimal where there is one."""
    return f"{value:.1f}".removesuffix(".0")


def signed(value: float) -> str:
    """With its sign, 0 without."""
    return ("+" if value > 0 else "") + number(value)
