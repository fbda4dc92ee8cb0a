"""An answer as JSON, alone, in a fence or amid text, with the names and nesting that models choose."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from vividface_core.mllm.answers import vocabulary
from vividface_core.mllm.answers.reading import (
    NUMBER,
    Item,
    Reading,
    any_of,
    blank,
    is_none,
    items_of,
    names,
    number,
    plain,
    total_of,
)
from vividface_core.mllm.rubric_schema import Rubric

_TRIES = 50
"""Brackets that are looked at more closely where they begin no valid JSON."""
_DECODER = json.JSONDecoder(strict=False)
_REASON = ("reason", "reasons", "reasoning", "comment", "comments", "justification", "explanation", "rationale", "原因",
           "理由", "raison", "begründung", "note", "notes")  # fmt: skip
_VALUE = ("score", "points", "value", "rating", "得分", "分数", "スコア", "点数", "punkte", "score_value", "given")
_BEST = ("max", "maximum", "maxscore", "maxpoints", "outof", "满分", "満点")
_NAME = ("dimension", "criterion", "criteria", "category", "name", "key", "title", "rule", "type", "adjustment", "item",
         "description", "维度", "項目", "名称")  # fmt: skip
_EXTRA = {
    "total": ("adjustment", "totaladjust"), "final": ("overall", "totalscore", "total"), "tier": ("quality",),
    "blur": ("motionblur",), "issues": ("issues",),
    "adjustments": ("bonuspenalty", "adjustmentlist", "adjustmentdetails"),
}  # fmt: skip


def read_json(text: str, rubric: Rubric) -> tuple[list[Reading], str]:
    """Readings of all JSON values with scores of the rubric's dimensions, and the text with blanks in their place."""
    readings, rest = [], text
    for start, end, value in _values(text):
        if (reading := _Object(rubric, start).read(value)).scores:
            readings.append(reading)
            rest = blank(rest, start, end)
    return readings, rest


def _values(text: str) -> Iterator[tuple[int, int, Any]]:
    """Objects and lists, outermost first."""
    position = 0
    tries = _TRIES
    while match := re.compile(r"[{\[]").search(text, position):
        position = match.start()
        value, end = _decoded(text, position, tries > 0)
        tries -= not end
        if end:
            yield position, end, value
        position = end or position + 1


def _decoded(text: str, start: int, lenient: bool) -> tuple[Any, int]:
    """The value that begins there and its end; 0 if there is none."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        pass
    if not lenient or text[start] != "{" or not (end := _balanced(text, start)):
        return None, 0
    loose = re.sub(r"([:\[,]\s*)\+(?=\d)", r"\1", re.sub(r",(\s*[}\]])", r"\1", text[start:end]))
    loose = re.sub(r"(?m)(?<=[,{\[\d}\]\"'])\s*//[^\n\"]*$", "", loose)
    for decode in (lambda: json.loads(re.sub(r",(\s*[}\]])", r"\1", loose), strict=False),
                   lambda: ast.literal_eval(loose)):  # fmt: skip
        try:
            return decode(), end
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


_SIDES = {"penalty": -1, "malus": -1, "deduction": -1, "bonus": 1}


def _side(name: str) -> int:
    """What points under a name do, where it tells."""
    minus, plus = "penal" in name, "bonus" in name
    return plus - minus


def _squashed(text: str) -> str:
    """A key in small letters without blanks and punctuation."""
    return re.sub(r"[\W_]+", "", plain(str(text)))


class _Object:
    """Collects one value's content."""

    def __init__(self, rubric: Rubric, start: int) -> None:
        self.points = {dimension.key: dimension.points for dimension in rubric.dimensions}
        self.names = {_squashed(name): key for name, key in names(rubric).items()}
        self.rules = {_squashed(name) for rule in rubric.rules for name in (rule.key, rule.title)}
        self.labels = {_squashed(word): kind for kind, found in vocabulary.LABELS.items() for word in found}
        self.labels.update({word: kind for kind, found in _EXTRA.items() for word in found})
        self.reading = Reading(start, {})
        self.items: list[Item] | None = None

    def read(self, value: Any) -> Reading:
        self._walk(value, 0)
        return replace(self.reading, items=None if self.items is None else tuple(self.items))

    def _walk(self, node: Any, depth: int) -> None:
        if depth > 8:
            return
        if isinstance(node, list):
            for row in node:
                if isinstance(row, dict) and (key := self._named(row)):
                    self._score(key, row)
                else:
                    self._walk(row, depth + 1)
        elif isinstance(node, dict):
            for name, value in node.items():
                self._entry(_squashed(name), value, depth)

    def _named(self, row: dict) -> str | None:
        fields = {_squashed(name): value for name, value in row.items()}
        return next((self.names[_squashed(fields[name])] for name in _NAME
                     if isinstance(fields.get(name), str) and _squashed(fields[name]) in self.names), None)  # fmt: skip

    def _entry(self, name: str, value: Any, depth: int) -> None:
        kind, bare = self.labels.get(name), re.sub(r"^step\d+", "", name)
        if key := self.names.get(name) or self.names.get(re.sub(r"(?:score|points|rating|得分|スコア)$", "", name)):
            self._score(key, value)
        elif (owner := re.fullmatch(rf"(.+?)(?:{'|'.join(_REASON)})", name)) and owner[1] in self.names:
            self.reading.reasons[self.names[owner[1]]] = str(value)
        elif kind == "adjustments" or bare in ("bonuses", "bonus", "penalties", "penalty", "bonuspenaltyadjustments"):
            self._adjustments(value, 0 if kind else _side(bare))
        elif kind in ("base", "final", "total"):
            told = self._number(value) if kind != "total" or not isinstance(value, str) else total_of(plain(value))
            if told is not None:
                self.reading = replace(self.reading, **{kind: told})
            elif isinstance(value, (dict, list)):
                self._walk(value, depth + 1)
        elif kind == "tier" and isinstance(value, str):
            self.reading = replace(self.reading, tier=plain(value))
        elif kind == "issues":
            rows = value if isinstance(value, list) else [value] if value else []
            kept = tuple(str(row) for row in rows if row and not is_none(plain(str(row))))
            self.reading = replace(self.reading, issues=kept)
        elif kind == "blur" and value is not None:
            told = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            self.reading = replace(self.reading, blur=told)
        elif isinstance(value, (dict, list)):
            self._walk(value, depth + 1)

    def _score(self, key: str, value: Any) -> None:
        best = None
        if isinstance(value, dict):
            fields = {_squashed(name): row for name, row in value.items()}
            self.reading.reasons[key] = next((str(fields[name]) for name in _REASON if fields.get(name)), "")
            best = next((fields[name] for name in _BEST if name in fields), None)
            value = next((fields[name] for name in _VALUE if name in fields), None)
        score = self._number(value, self.points[key], key)
        if score is not None and best is not None and self._number(best) != self.points[key]:
            self.reading.others[key] = f"{score:g} of {best}"
        elif score is not None:
            self.reading.scores[key] = score

    def _number(self, value: Any, best: int = 100, key: str = "") -> float | None:
        """A finite number, also in a text as "33" or "33/35"."""
        if isinstance(value, dict):
            fields = {_squashed(name): row for name, row in value.items()}
            return next((self._number(fields[name], best) for name in _VALUE if name in fields), None)
        if isinstance(value, str):
            found = re.fullmatch(
                rf"\s*([-+]?)\s*({NUMBER})\s*(?:(?:/|{any_of(vocabulary.OUT_OF)})\s*(\d+))?"
                rf"\s*(?:{any_of(vocabulary.POINTS)})?\s*(?:\(([^()]*)\))?\s*",
                plain(value),
            )
            if not found:
                return None
            if found[3] and int(found[3]) != best:
                self.reading.others.setdefault(key, value.strip())
                return None
            return number(found[2]) * (-1 if found[1] == "-" else 1)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        return None

    def _adjustments(self, value: Any, sign: int) -> None:
        rows: list[Any] = []
        if isinstance(value, dict) and not self._value(value)[0]:
            for name, row in value.items():
                if _squashed(name) in ("total", "sum") or self.labels.get(_squashed(name)) == "total":
                    self.reading = replace(self.reading, total=self._number(row))
                elif isinstance(row, list):
                    self._adjustments(row, sign or _side(name.lower()))
                elif row is not None and not isinstance(row, bool):
                    rows.append({"rule": name, **(row if isinstance(row, dict) else {"points": row})})
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and not sign:
            self.reading = replace(self.reading, total=self._number(value))
            return
        else:
            rows = value if isinstance(value, list) else [] if value is None else [value]
        self.items = [*(self.items or []), *(item for row in rows for item in self._item(row, sign))]

    def _value(self, row: dict) -> tuple[str, Any]:
        """The name that an entry of the list has, and its points."""
        fields = {_squashed(name): part for name, part in row.items()}
        name = next((str(fields[name]) for name in _NAME if isinstance(fields.get(name), str)), "")
        value = next((fields[key] for key in ("points", "value", "score", "amount", "delta") if key in fields), None)
        return name or ("?" if value is not None else ""), value

    def _item(self, row: Any, sign: int) -> list[Item]:
        if isinstance(row, str):
            if _squashed(row) in self.rules:
                return [Item(plain(row), None, False, listed=True, reason=row)]
            return [item if item.signed or not sign else replace(item, points=abs(item.points or 0) * sign, signed=True)
                    for item in items_of([row], [plain(row)])[0]]  # fmt: skip
        if not isinstance(row, dict) or row.get("applied") is False or row.get("applies") is False:
            return []
        name, given = self._value(row)
        reason = next((str(part) for field, part in row.items() if _squashed(field) in _REASON and part), "")
        points = self._number(given)
        said = ": ".join(part for part in row.values() if isinstance(part, str))
        text = plain(f"{name}: {said}" if said else name)
        sign = sign or next((side for part in row.values() if (side := _SIDES.get(_squashed(part)))), 0)
        if points is None and given is None:
            named = any(_squashed(part) in self.rules for part in row.values())
            return [Item(text, None, False, listed=True, reason=reason)] if named else []
        if not points:
            return []
        points = -abs(points) if sign < 0 else points
        signed = points < 0 or bool(sign) or str(given).strip().startswith("+")
        return [Item(text, points, signed, reason=reason or name)]
