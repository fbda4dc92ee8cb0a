"""A judge's scores brought in line with people's: a monotone correction, fitted to a few clips that people scored.

Isotonic regression: of all corrections that never put a better score below a worse one,
that with the least squared error. It belongs to one judge with one version of the rubric.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vividface_core.errors import InvalidOption, MissingDependency, UnwritableVideo
from vividface_core.io.records import validated
from vividface_core.io.text import read_text
from vividface_core.mllm.rubric_schema import TOTAL

FORMAT, VERSION = "vividface-calibration", 1
LEAST_ROWS = 5
_COLUMNS = {
    "video": ("video", "clip", "file", "path"),
    "human": ("human", "human_score", "human score"),
    "judge": ("judge", "judge_score", "judge score"),
}


@dataclass(frozen=True)
class HumanScore:
    """One clip: what a person gave it and, if known, what the judge did, 0…100."""

    video: str
    human: float
    judge: float | None = None


@dataclass(frozen=True)
class Agreement:
    """How near scores are to people's: rank correlations (``None`` where all scores are alike), mean absolute error."""

    spearman: float | None
    kendall: float | None
    mae: float


@dataclass(frozen=True)
class Calibration:
    """Corrected = a line through ``knots``; beyond the outer ones their shift is kept; 0…100.

    Attributes:
        rubric: version of the rubric that the judge went by.
        judge: its identity.
        knots: judge's score (rising) and corrected score (never falling).
        rows: how many clips it was fitted to.
        before: of the judge's own scores with people's.
        after: of corrected ones, each from a fit to the other clips.
    """

    rubric: str
    judge: str
    knots: tuple[tuple[float, float], ...]
    rows: int
    before: Agreement
    after: Agreement

    def correct(self, score: float, *, rubric: str, judge: str) -> float:
        """The score (0…100) that people would give.

        Raises:
            InvalidOption: the score is another judge's or follows another version of the rubric.
        """
        for what, own, given in (("rubric", self.rubric, rubric), ("judge", self.judge, judge)):
            if own != given:
                raise InvalidOption(
                    f"The calibration was fitted for the {what} {own!r}, the score is of {given!r}. "
                    f"Fit one for this {what}, or score without calibration."
                )
        if not math.isfinite(score):
            raise InvalidOption(f"A score of {score} can't be corrected.")
        return _through(self.knots, score)

    def to_json(self) -> dict[str, Any]:
        """Plain values, which :meth:`from_json` takes back."""
        return {"format": FORMAT, "version": VERSION, **asdict(self), "knots": [list(knot) for knot in self.knots]}

    @classmethod
    def from_json(cls, stored: Any) -> Calibration:
        """Out of a record.

        Raises:
            InvalidOption: it is no calibration, or not a monotone one.
        """
        told = (stored.get("format"), stored.get("version")) if isinstance(stored, Mapping) else ()
        if told != (FORMAT, VERSION):
            raise InvalidOption(f"This is no calibration of version {VERSION} ({told}); fit it again.")
        found = validated(cls, stored, "calibration")
        rising = all(a[0] < b[0] and a[1] <= b[1] for a, b in zip(found.knots, found.knots[1:]))
        if len(found.knots) < 2 or not rising or not np.isfinite(found.knots).all():
            raise InvalidOption("This is no calibration: its knots don't rise; fit it again.")
        return found

    def write(self, path: Path) -> None:
        """As JSON, whole or not at all.

        Raises:
            UnwritableVideo: it can't be written.
        """
        from vividface_core.io.atomic import write_json

        try:
            write_json(Path(path), self.to_json(), indent=1)
        except OSError as error:
            raise UnwritableVideo(f"The calibration can't be written to {path}: {error.strerror}.") from error

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """Out of a file.

        Raises:
            InvalidOption: it can't be read or is no calibration.
        """
        try:
            stored = json.loads(_text(Path(path), "calibration"))
        except ValueError as error:
            raise InvalidOption(f"{path} is no valid JSON ({error}); fit the calibration again.") from error
        try:
            return cls.from_json(stored)
        except InvalidOption as error:
            raise InvalidOption(f"{path}: {error}") from error


def _knots(judge: Sequence[float], human: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Equal scores of the judge are one; within a flat part the ends are enough."""
    scores, place, count = np.unique(np.asarray(judge, float), return_inverse=True, return_counts=True)
    means = np.bincount(place, weights=np.asarray(human, float)) / count
    fitted = _scipy("optimize").isotonic_regression(means, weights=count).x
    rows = list(zip(scores.tolist(), fitted.tolist()))
    inner = [row for before, row, after in zip(rows, rows[1:], rows[2:]) if not before[1] == row[1] == after[1]]
    return tuple([rows[0], *inner, rows[-1]] if len(rows) > 1 else rows)


def _through(knots: Sequence[tuple[float, float]], score: float) -> float:
    xs, ys = zip(*knots)
    inside = min(max(score, xs[0]), xs[-1])
    # Rounded, since interpolation may fall by the last digit of a double.
    corrected = round(float(np.interp(inside, xs, ys)) + score - inside, 6)
    return min(max(corrected, 0.0), float(TOTAL))


def fit_calibration(rows: Sequence[HumanScore], *, rubric: str, judge: str) -> Calibration:
    """The correction for one judge and one version of the rubric.

    The figures after the correction are by leaving one out: each clip is corrected by a fit to the others. Flat parts
    of the correction make ties, so that rank correlations may fall while the error does.

    Raises:
        InvalidOption: fewer than five clips, the same one twice, a score missing or out of range, or all alike.
        MissingDependency: SciPy doesn't import.
    """
    _checked(rows)
    own = [float(row.judge) for row in rows if row.judge is not None]
    people = [float(row.human) for row in rows]
    corrected = [
        _through(_knots(own[:i] + own[i + 1 :], people[:i] + people[i + 1 :]), score) for i, score in enumerate(own)
    ]
    return Calibration(
        rubric, judge, _knots(own, people), len(rows), agreement(own, people), agreement(corrected, people)
    )


def _checked(rows: Sequence[HumanScore]) -> None:
    if len(rows) < LEAST_ROWS:
        raise InvalidOption(f"There are {len(rows)} clips with human scores; a calibration needs {LEAST_ROWS} or more.")
    seen = set()
    for row in rows:
        if row.video in seen:
            raise InvalidOption(f"{row.video} has two human scores; keep one.")
        seen.add(row.video)
        if row.judge is None:
            raise InvalidOption(f"{row.video} has no score of the judge; score it first, or leave it out.")
        for who, score in (("human", row.human), ("judge's", row.judge)):
            if not 0 <= score <= TOTAL:
                raise InvalidOption(f"The {who} score of {row.video} is {score:g}; it must be from 0 to {TOTAL}.")
    if len({row.judge for row in rows}) == 1:
        raise InvalidOption(f"The judge gave all clips {rows[0].judge:g}; nothing can be fitted to that.")


def _scipy(module: str) -> ModuleType:
    try:
        return importlib.import_module(f"scipy.{module}")
    except Exception as error:  # a broken installation raises anything
        raise MissingDependency(
            f"Calibrating needs SciPy, which doesn't import ({error}). Reinstall it: pip install scipy"
        ) from error


def agreement(scores: Sequence[float], human: Sequence[float]) -> Agreement:
    """Of scores with people's.

    Raises:
        MissingDependency: SciPy doesn't import.
    """
    stats = _scipy("stats")
    constant = len(set(scores)) == 1 or len(set(human)) == 1

    def rank(correlation: Callable) -> float | None:
        return None if constant else float(correlation(scores, human).statistic)

    return Agreement(rank(stats.spearmanr), rank(stats.kendalltau), float(np.mean(np.abs(np.subtract(scores, human)))))


def read_human_scores(path: Path) -> list[HumanScore]:
    """A CSV file with the columns ``video``, ``human`` and perhaps ``judge``, in any order; others are left alone.

    Columns are separated by commas, semicolons or tabs; with the latter two, numbers may have a decimal comma.

    Raises:
        InvalidOption: it can't be read, lacks a column, has a cell that is no number from 0 to 100, or a video twice.
    """
    text = _text(Path(path), "table of human scores")
    head = text.lstrip().split("\n", 1)[0]
    separator = max(",;\t", key=head.count)
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    columns = {name.strip().lower(): name for name in table.fieldnames or () if name}
    found = {kind: next((columns[name] for name in names if name in columns), None) for kind, names in _COLUMNS.items()}
    for kind in ("video", "human"):
        if found[kind] is None:
            raise InvalidOption(f"{path} has no column {kind!r}. Its first line must name them: video,human,judge")
    rows: list[HumanScore] = []
    lines: dict[str, int] = {}
    try:
        for cells in table:
            if not any(isinstance(cell, str) and cell.strip() for cell in cells.values()):
                continue
            where = f"{path}, line {table.line_num}"
            told = {kind: (cells.get(name) or "").strip() for kind, name in found.items() if name}
            row = _row(told, where, separator)
            if row.video in lines:
                raise InvalidOption(f"{where}: {row.video} stands in line {lines[row.video]} already; keep one.")
            lines[row.video] = table.line_num
            rows.append(row)
    except csv.Error as error:
        raise InvalidOption(f"{path} is no table ({error}).") from error
    return rows


def _row(cells: Mapping[str, str], where: str, separator: str) -> HumanScore:
    if not cells["video"]:
        raise InvalidOption(f"{where} names no video.")
    judge = cells.get("judge", "")
    return HumanScore(
        cells["video"],
        _score(cells["human"], "human", where, separator),
        _score(judge, "judge", where, separator) if judge else None,
    )


def _score(cell: str, column: str, where: str, separator: str) -> float:
    try:
        score = float(cell.replace(",", ".") if separator != "," else cell)
    except ValueError:
        score = math.nan
    if not 0 <= score <= TOTAL:
        raise InvalidOption(f"{where}: the {column} score {cell!r} is no number from 0 to {TOTAL}.")
    return score


def _text(path: Path, what: str) -> str:
    try:
        return read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOption(f"The {what} {path} can't be read: {getattr(error, 'strerror', None) or error}.") from error
