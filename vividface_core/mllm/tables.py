"""Judged videos as tables: one video by its dimensions, many by their scores.

Columns of text are aligned here: failed videos have a sentence in place of cells, which tabulate can't leave out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vividface_core.mllm.rubric import TOTAL, Rubric

LONGEST = 60
"""Characters of a video's name that are shown."""


@dataclass(frozen=True)
class Table:
    """Cells as text.

    Attributes:
        title: what counts most, a line.
        lines: what else is to be said, below.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[str, ...] = ()

    def markdown(self) -> str:
        """With the title in bold."""
        table = [self.head, ("---",) * len(self.head), *self.rows]
        marked = ["| " + " | ".join(map(_cell, row)) + " |" for row in table]
        return "\n".join([f"**{_cell(self.title)}**", "", *marked, *(f"\n{_cell(line)}" for line in self.lines)])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "title": self.title,
            "head": list(self.head),
            "rows": [list(row) for row in self.rows],
            "lines": list(self.lines),
        }


def dimensions(row: Mapping[str, Any], rubric: Rubric) -> Table:
    """One judged video: points of each dimension and why, adjustments, sum.

    Args:
        row: of :func:`vividface_core.mllm.scoring.with_verdict`, judged.
    """
    judgement = row["judgement"]
    found, spread = judgement["assessment"], judgement["spread"]

    def points(key: str, value: float) -> str:
        return number(value) + (f" ±{number(spread[key]['std'])}" if key in spread else "")

    rows = [
        (
            dimension.label,
            f"{points(dimension.key, found['scores'][dimension.key])} / {dimension.points}",
            found["reasons"].get(dimension.key, ""),
        )
        for dimension in rubric.dimensions
    ]
    titles = {rule.key: rule.title for rule in rubric.rules}
    rows += [
        (titles.get(change["rule"], "Adjustment"), signed(change["points"]), change["reason"])
        for change in found["adjustments"]
    ]
    rows.append(("Final", f"{points('final', found['final'])} / {TOTAL}", f"base {number(found['base'])}"))
    if row["final"] != found["final"]:
        rows.append(("Calibrated", f"{number(row['final'])} / {TOTAL}", "towards people's scores"))
    lines = [f"Judge: {judgement['judge']}"]
    lines += [f"Issue: {issue}" for issue in found["critical_issues"]]
    lines += [f"Put right: {fault}" for fault in found["faults"]]
    lines += [f"A pass failed: {failure['reason']}" for failure in judgement["failures"]]
    verdict = "kept" if row["keep"] else "not kept"
    return Table(
        f"{number(row['final'])} · {row['tier']} · {verdict}",
        ("criterion", "points", "reason"),
        tuple(rows),
        tuple(lines),
    )


def videos(rows: Sequence[Mapping[str, Any]], rubric: Rubric, judge: str) -> Table:
    """Many videos, a row each, and how many were judged, kept and failed."""
    labels = tuple(dimension.label for dimension in rubric.dimensions)
    head = ("video", *labels, "adj.", "final", "tier", "keep")
    return Table(
        counts(rows) if rows else "no video was judged",
        head,
        tuple(_video(row, rubric) for row in rows),
        (f"Judge: {judge}", *(f"{row['name']}: {row['error']}" for row in rows if row["state"] != "judged")),
    )


def _video(row: Mapping[str, Any], rubric: Rubric) -> tuple[str, ...]:
    if row["state"] != "judged":
        return (row["name"], *("–" for _ in rubric.dimensions), "–", "–", "failed", "no")
    found = row["judgement"]["assessment"]
    scores = (number(found["scores"][dimension.key]) for dimension in rubric.dimensions)
    change = sum(adjustment["points"] for adjustment in found["adjustments"])
    return (row["name"], *scores, signed(change), number(row["final"]), row["tier"], "yes" if row["keep"] else "no")


def as_csv(rows: Sequence[Mapping[str, Any]], rubric: Rubric) -> str:
    """A row a video, figures as they are."""
    keys = [dimension.key for dimension in rubric.dimensions]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["video", "state", "final", "tier", "keep", *keys, "adjustment", "error", "judge", "content"])
    for row in rows:
        found = row["judgement"]["assessment"] if row["state"] == "judged" else None
        figures = [found["scores"][key] for key in keys] if found else [""] * len(keys)
        change = sum(adjustment["points"] for adjustment in found["adjustments"]) if found else ""
        writer.writerow(
            [
                row["name"],
                row["state"],
                "" if found is None else row["final"],
                row["tier"] or "",
                "yes" if row["keep"] else "no",
                *figures,
                change,
                row.get("error", ""),
                row["judge"],
                row["content"] or "",
            ]
        )
    return out.getvalue()


def _cell(text: str) -> str:
    """In a row of Markdown: no line breaks, no bars, no tags."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def as_text(rows: Sequence[dict[str, Any]], rubric: Rubric) -> str:
    """A line a video: scores, adjustment, final score, tier, and whether it is kept; the counts below.

    Args:
        rows: records with ``final``, ``tier`` and ``keep``.
    """
    if not rows:
        return "no video was judged"
    heads = ["video", *(dimension.label for dimension in rubric.dimensions), "adj.", "final", "tier", "keep"]
    lines = [_cells(row, rubric) for row in rows]
    widths = [
        max(len(line[column]) for line in (heads, *lines) if column < len(line) and len(line) == len(heads))
        for column in range(len(heads))
    ]
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
    return [name, *scores, signed(change), final, row["tier"], "yes" if row["keep"] else "no"]


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
