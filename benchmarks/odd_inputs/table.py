"""The table of all rows."""

from __future__ import annotations

from itertools import groupby

from benchmarks.odd_inputs import (
    rows_color,
    rows_media,
    rows_names,
    rows_not_media,
    rows_paths,
    rows_pictures,
    rows_streams,
)
from benchmarks.odd_inputs.rows import Row
from benchmarks.odd_inputs.run import Finding

ROWS: list[Row] = [
    row
    for room in (rows_paths, rows_names, rows_not_media, rows_media, rows_pictures, rows_streams, rows_color)
    for row in room.ROWS
]
_LONGEST = 60
"""Signs of a name that are shown whole."""


def table(findings: list[Finding]) -> str:
    """All of it as Markdown, by section, and the sum."""
    parts = []
    for kind, group in groupby(findings, key=lambda finding: finding.row.kind):
        lines = [f"**{kind}**", "", "| input | command | status | told | carried |", "|---|---|---:|---|---|"]
        parts.append("\n".join([*lines, *map(_line, group)]))
    tracebacks = sum("traceback" in finding.wrong for finding in findings)
    lost = sum(len(finding.lost) for finding in findings)
    wrong = [finding for finding in findings if finding.wrong]
    parts.append(
        f"{len(findings)} inputs: {tracebacks} tracebacks, {lost} lost files, {len(wrong)} not as they should be."
    )
    parts += [f"- {finding.row.kind}, {finding.row.what}: {finding.wrong}" for finding in wrong]
    return "\n\n".join(parts)


def _line(finding: Finding) -> str:
    row, outcome = finding.row, finding.outcome
    told = " ".join(outcome.told) or ("" if outcome.status == 0 else outcome.err.strip())
    cells = [row.what, f"`{_short(row.shown())}`", str(outcome.status), _short(told, 400), finding.carried]
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    plain = " ".join(text.split()).replace("|", "\\|")
    return plain.encode("utf-8", "backslashreplace").decode()


def _short(text: str, most: int = 0) -> str:
    if most:
        return text if len(text) <= most else f"{text[:most]} …"
    return " ".join(word if len(word) <= _LONGEST else f"{word[:20]}…{word[-20:]}" for word in text.split(" "))
