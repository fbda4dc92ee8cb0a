"""An answer as JSON, as the schema asks or nearly so: in a fence, amid text, flat, with points as text."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from vividface_core.mllm.answers.reading import (
    NUMBER,
    Item,
    Reading,
    blank,
    is_none,
    item_of,
    names,
    number,
    plain,
    side_of,
    total_of,
)
from vividface_core.mllm.rubric_schema import Rubric

_TRIES = 50
"""Brackets that are looked at more closely where they begin no valid JSON."""
_DECODER = json.JSONDecoder(strict=False)
_LABELS = {
    "base": "base",
    "basescore": "base",
    "total": "total",
    "totaladjustment": "total",
    "final": "final",
    "finalscore": "final",
    "tier": "tier",
    "qualitytier": "tier",
    "issues": "issues",
    "criticalissues": "issues",
    "motionblur": "blur",
    "motionblurcheck": "blur",
    "adjustments": "items",
    "bonuspenaltyadjustments": "items",
    "bonuses": "items",
    "penalties": "items",
}


def read_json(text: str, rubric: Rubric) -> tuple[list[Reading], str]:
    """Readings of all JSON objects with scores of the rubric's dimensions, and the text with blanks in their place."""
    readings, rest = [], text
    for start, end, value in _objects(text):
        if (reading := _Object(rubric, start).read(value)).scores:
            readings.append(reading)
            rest = blank(rest, start, end)
    return readings, rest


def _objects(text: str) -> Iterator[tuple[int, int, Any]]:
    """The outermost ones."""
    position, tries = 0, _TRIES
    while (position := text.find("{", position)) >= 0:
        value, end = _decoded(text, position, tries > 0)
        tries -= not end
        if end:
            yield position, end, value
        position = end or position + 1


def _decoded(text: str, start: int, lenient: bool) -> tuple[Any, int]:
    """The value that begins there and its end; 0 if there is none. ``lenient``: also with commas at the end of lists,
    comments and numbers such as +2, and as a dictionary of Python. Nothing that is cut off is completed."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        pass
    if not lenient or not (end := _balanced(text, start)):
        return None, 0
    loose = re.sub(r"(?m)(?<=[,{\[\d}\]\"'])\s*//[^\n\"]*$", "", text[start:end])
    loose = re.sub(r",(\s*[}\]])", r"\1", re.sub(r"([:\[,]\s*)\+(?=\d)", r"\1", loose))
    for decode in (json.loads, ast.literal_eval):
        try:
            return decode(loose), end
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    return None, 0


def _balanced(text: str, start: int) -> int:
    """Where the bracket that opens there is closed; 0 if nowhere."""
    depth, quoted = 0, False
    for match in re.compile(r'\\.|["{}]').finditer(text, start):
        if match[0] == '"':
            quoted = not quoted
        elif not quoted and match[0] in "{}":
            depth += 1 if match[0] == "{" else -1
            if not depth:
                return match.end()
    return 0


def _squashed(text: object) -> str:
    """A key in small letters without blanks and punctuation."""
    return re.sub(r"[\W_]+", "", str(text).lower())


class _Object:
    """Collects one object's content, at any depth."""

    def __init__(self, rubric: Rubric, start: int) -> None:
        self.points = {dimension.key: dimension.points for dimension in rubric.dimensions}
        self.names = {_squashed(name): key for name, key in names(rubric).items()}
        self.reading = Reading(start)
        self.items: list[Item] | None = None

    def read(self, value: Any) -> Reading:
        self._walk(value, 0)
        return replace(self.reading, items=None if self.items is None else tuple(self.items))

    def _walk(self, node: Any, depth: int) -> None:
        if isinstance(node, list):  # of objects that name their dimension
            named = [(self.names.get(_squashed(row.get("name"))), row) for row in node if isinstance(row, dict)]
            for key, row in named:
                self._score(key, row) if key else self._walk(row, depth + 1)
        for name, value in node.items() if isinstance(node, dict) and depth < 8 else ():
            squashed = _squashed(name)
            match = re.fullmatch(r"(.+?)(score|points|reason)?", squashed)
            bare, suffix = match.groups() if match else ("", None)
            key, kind = self.names.get(squashed) or self.names.get(bare), _LABELS.get(squashed)
            if key and suffix == "reason":
                self.reading.reasons[key] = str(value)
            elif key:
                self._score(key, value)
            elif kind:
                self._part(kind, squashed, value)
            else:
                self._walk(value, depth + 1)

    def _part(self, kind: str, name: str, value: Any) -> None:
        found: Any = None
        if kind == "items":
            rows, total = _adjustments(value, side_of(name))
            self.items = [*(self.items or []), *rows]
            kind, found = "total", total
        elif kind == "issues":
            rows = value if isinstance(value, list) else [value] if value else []
            found = tuple(str(row) for row in rows if row and not is_none(str(row)))
        elif kind in ("tier", "blur"):
            found = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) if value else None
        elif isinstance(value, str):
            text = value.removesuffix("/100")
            found = total_of(plain(text)) if kind == "total" else _number(text)[0]
        else:
            found = _number(value)[0]
        if found is not None:
            self.reading = replace(self.reading, **{kind: found})

    def _score(self, key: str, value: Any) -> None:
        """A number, "33", "33/35", or an object with ``score``, ``reason`` and perhaps ``max``."""
        limit = None
        if isinstance(value, dict):
            self.reading.reasons[key] = str(value.get("reason") or "")
            limit = next((value[name] for name in ("max", "max_score", "max_points") if name in value), None)
            value = next((value[name] for name in ("score", "points", "value") if name in value), None)
        score, told = _number(value)
        limit = told or limit
        if score is not None and limit is not None and _number(limit)[0] != self.points[key]:
            self.reading.others[key] = f"{score:g} of {limit}" if told is None else str(value).strip()
        elif score is not None:
            self.reading.scores[key] = score


def _number(value: Any) -> tuple[float | None, str | None]:
    """A finite number, and what it is out of where a text such as "33/35" says so."""
    if isinstance(value, str):
        found = re.fullmatch(rf"\s*([-+]?)\s*({NUMBER})\s*(?:/\s*(\d+))?\s*(?:points)?\s*", plain(value))
        return (number(found[2]) * (-1 if found[1] == "-" else 1), found[3]) if found else (None, None)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value), None
    return None, None


def _adjustments(value: Any, sign: int) -> tuple[list[Item], float | None]:
    """Out of a list of objects or lines, or an object of points by name; a number alone is a total."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return [], float(value)
    if isinstance(value, dict) and "points" not in value:
        value = [{"rule": name, **(row if isinstance(row, dict) else {"points": row})} for name, row in value.items()]
    rows = value if isinstance(value, list) else [value] if isinstance(value, (dict, str)) else []
    return [item for row in rows if (item := _item(row, sign))], None


def _item(row: Any, sign: int) -> Item | None:
    if isinstance(row, str):
        return item_of(plain(row), sign)
    points = _number(row.get("points"))[0] if isinstance(row, dict) else None
    if not points or row.get("applied") is False:
        return None
    sign = sign or side_of(str(row.get("type", "")))
    signed = points < 0 or bool(sign) or str(row["points"]).strip().startswith("+")
    text = ": ".join(str(part) for name, part in row.items() if name != "points" and isinstance(part, str))
    return Item(plain(text), -abs(points) if sign < 0 else points, signed)
