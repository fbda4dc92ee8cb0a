"""The papers' tables, as printed, with rows of one's own put under them.

``papers.json`` holds the figures of VividFace's Tables 1, 2, 3 and 7, of BFVR-STC's table of restorers, and what
DVFace's page tells. Protocols differ in parts that no paper tells, so figures of different papers, and ours, stand
beside one another and not in one ranking.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from vividface_core.metrics.registry import METRICS

Row = Sequence[float | None]
RUN_COLUMNS = {"steps": ("Step", "", 0), "seconds": ("Time (s)", "↓", 2)}
"""What a run tells, not a metric: title, arrow, digits."""


@dataclass(frozen=True)
class PaperTable:
    """One table of a paper. ``rows`` are as printed: multiplied as its heads say; ``None`` where nothing is known."""

    number: str
    title: str
    paper: str
    columns: tuple[str, ...]
    protocol: str
    rows: dict[str, tuple[float | None, ...]]

    def own_row(self, values: Mapping[str, float | None]) -> tuple[float | None, ...]:
        """A row out of figures by metric name, multiplied as the table prints them."""
        return tuple(_printed(name, values.get(name)) for name in self.columns)


def _printed(name: str, value: float | None) -> float | None:
    return value if value is None or name not in METRICS else value * METRICS[name].display_scale


@lru_cache(maxsize=1)
def paper_tables() -> dict[str, PaperTable]:
    """All tables by number."""
    data = json.loads(Path(__file__).with_name("papers.json").read_text(encoding="utf-8"))
    return {
        number: PaperTable(
            number,
            table["title"],
            table["paper"],
            tuple(table["columns"]),
            table["protocol"],
            {name: tuple(row) for name, row in table["rows"].items()},
        )
        for number, table in data.items()
    }


def markdown(table: PaperTable, own: Mapping[str, Row], notes: Sequence[str] = ()) -> str:
    """The paper's rows, a line between, and one's own rows in bold; then protocol and notes."""
    heads = [_head(name) for name in table.columns]
    width = max(map(len, [*table.rows, *own, "measured here"]))
    lines = [
        f"### {table.paper}: {table.title}",
        "",
        f"| {'method':{width}} | " + " | ".join(heads) + " |",
        "|" + "---|" * (len(heads) + 1),
    ]
    lines += [_line(f"{name:{width}}", row, table.columns) for name, row in table.rows.items()]
    lines += ["| *measured here* |" + " |" * len(heads)]
    lines += [_line(f"**{name}**", row, table.columns) for name, row in own.items()]
    lines += ["", f"Protocol: {table.protocol}", *(f"- {note}" for note in notes)]
    return "\n".join(lines)


def _head(name: str) -> str:
    if name in RUN_COLUMNS:
        title, arrow, _ = RUN_COLUMNS[name]
        return title + arrow
    metric = METRICS[name]
    return f"{metric.title}{f' ×{metric.display_scale:g}' if metric.display_scale != 1 else ''}{metric.arrow}"


def _line(name: str, row: Row, columns: Sequence[str]) -> str:
    return f"| {name} | " + " | ".join(_cell(value, column) for value, column in zip(row, columns)) + " |"


def _cell(value: float | None, column: str) -> str:
    if value is None:
        return "–"
    return f"{value:.{RUN_COLUMNS[column][2] if column in RUN_COLUMNS else METRICS[column].digits}f}"
