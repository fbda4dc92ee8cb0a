"""An answer in lines: the paper's four steps, in Markdown or without, with the score beside or below a name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from vividface_core.mllm.answers.reading import (
    NUMBER,
    Reading,
    any_of,
    is_none,
    items_of,
    names,
    number,
    plain,
    total_of,
)
from vividface_core.mllm.rubric_schema import TOTAL, Rubric

_LEAD = re.compile(
    r"(?:[^\w+\-(\n]|[-+]\s)*(?:\(?\d{1,2}[.):](?!\d)\s*)?(?:[^\w+\-(\n]|[-+]\s)*(?:step\s*\d+\s*[-:.)]?\s*)?[^\w+\-(\n]*",
    re.I,
)
"""Marks of lists, headings and quotes, numbers of steps, emoji."""
_LABELS = {
    "base": r"base (?:score|total)(?: calculation)?",
    "total": r"(?:total|net) adjustments?|adjustments? total|sum of adjustments",
    "adjustments": r"(?:bonus(?:es)? ?(?:/|and) ?penalt(?:y|ies) )?adjustments?|bonus(?:es)? ?/ ?penalt(?:y|ies)",
    "results": r"final results?",
    "final": r"(?:final|overall|total) (?:score|total)|final",
    "tier": r"(?:quality )?tier",
    "issues": r"critical issues?",
    "blur": r"motion blur check",
    "scores": r"individual scores?",
}
_LABEL = re.compile("|".join(f"(?P<{kind}>{found})" for kind, found in _LABELS.items()), re.I)
_AFTER = re.compile(r"\s*(?:\([^()\n]*\)\s*)?(?:is\s)?(?:[:=|]\s*|-\s+|(?=[-+\d(])|$)")
_INLINE = re.compile(
    r"(?<=[.;,]) (?=(?:base score|total adjustment|final score|quality tier|critical issues)\s*[:=])", re.I
)
"""The end of an answer in one line."""
_SIGN_LINE = re.compile(r"(?:bonus|penalt|deduction)\w*\b(?=.*\d|\W*$)", re.I)
_UNIT = r"(?:points?|pts?)"
_EXPLICIT = re.compile(
    rf"([^\d+]{{0,25}}?)({NUMBER})\s*(?:{_UNIT}\s*)?\)?\s*(?:/|out of|of)\s*(\d+)(?!\d|\.\d|\s*%)", re.I
)
_BARE = re.compile(
    rf"(\s*[:=(-]\s*(?:score\s*[:=]?\s*)?-?)({NUMBER})(?=\s*{_UNIT}?\s*(?:$|[(),;:|]|\.(?!\d)|-(?!\s*\d)))"
    r"(?!\s*-\s*\d)",
    re.I,
)
_MOST = 40
"""Names that are looked at in a line: a model caught in a loop writes thousands."""


@dataclass
class _Set:
    """Scores and the labelled parts that stand with them."""

    start: int
    scores: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    parts: dict[str, list[str]] = field(default_factory=dict)


def read_text(text: str, rubric: Rubric) -> list[Reading]:
    """All sets of scores, complete or not, in their order."""
    reader = _Reader(rubric)
    position = 0
    for line in text.split("\n"):
        for part in _INLINE.split(plain(line)):
            reader.line(part, position)
        position += len(line) + 1
    return [_reading(found, reader.others, rubric) for found in reader.ended(text)]


class _Reader:
    def __init__(self, rubric: Rubric) -> None:
        self.names = names(rubric)
        self.name = re.compile(any_of(self.names), re.I)
        self.points = {dimension.key: dimension.points for dimension in rubric.dimensions}
        self.sets = [_Set(0)]
        self.others: dict[str, str] = {}
        self.section: str | None = None
        self.key: str | None = None  # of a heading without a score, or of the last score
        self.heading = False
        self.bare: list[bool] = []
        self.last = ""

    def line(self, line: str, position: int) -> None:
        """Take the next line."""
        if line.strip():
            self.last = line
        lead = _LEAD.match(line)
        line = line[lead.end() if lead else 0 :].rstrip(" |")
        if not line:
            if self.section not in (None, "adjustments") and self.sets[-1].parts.get(self.section):
                self.section = None
        elif not self._label(line) and not self._scores(line, position):
            if self.section:
                self.sets[-1].parts.setdefault(self.section, []).append(line)
            elif self.key and not self.heading:
                self.sets[-1].reasons[self.key] = f"{self.sets[-1].reasons.get(self.key, '')} {line}".strip()

    def ended(self, text: str) -> list[_Set]:
        """All sets; a repetition of some scores is none."""
        if len(self.bare) > 1 and self.bare[-1] and not all(self.bare) and self.last.rstrip()[-1:].isdigit():
            if (key := self.key) and text.rstrip().endswith(self.last.rstrip()[-1]):
                self.sets[-1].scores.pop(key, None)  # the text may end within "10/10"
        kept: list[_Set] = []
        for found in self.sets:
            repeated = kept and len(found.scores) < len(self.points) and found.scores.items() <= kept[-1].scores.items()
            if not repeated:
                kept.append(found)
        return kept

    def _label(self, line: str) -> bool:
        """Whether the line begins a part of its own."""
        found = _LABEL.match(line)
        after = found and _AFTER.match(line, found.end())
        if found is None or after is None:
            if self.section != "adjustments" and _SIGN_LINE.match(line):
                self.section = "adjustments"
            return False
        self.heading, kind = False, str(found.lastgroup)
        self.section = None if kind == "scores" else kind
        if kind == "scores":
            return not self._scores(line[after.end() :], 0) or True
        # Parts that stand next to the label, such as "(-3 points)", belong to what it says.
        rest = line[found.end() if kind in ("total", "base", "final") else after.end() :]
        if rest.strip(" :=|-"):
            self.sets[-1].parts.setdefault(kind, []).append(rest)
        return True

    def _scores(self, line: str, position: int) -> bool:
        if self.heading and self.key and re.match(r"score\b|\d", line, re.I):
            line = f"{self.key.replace('_', ' ')}: {line}"
        if len(re.findall(r"\d\s*\)?\s*\+", line)) >= 2:
            return False
        found = [match for match, _ in zip(self.name.finditer(line), range(_MOST))]
        ends = [match.start() for match in found[1:]] + [len(line)]
        marks = [self._mark(match, line, end, position) for match, end in zip(found, ends)]
        if not any(marks) and found and not self.section and found[0].start() == 0:
            key = self.names[found[0][0].lower()]
            rest = self._without_maximum(line[found[0].end() :], key)
            if len(rest.strip(" :-|().&")) <= 40 and not re.search(r"\d", rest):
                self.key, self.heading = key, True
                return True
        return any(marks)

    def _mark(self, name: re.Match, line: str, end: int, position: int) -> bool:
        """The score of a dimension named in a line, up to the next name."""
        key, first = self.names[name[0].lower()], name.start() == 0
        if self.section and not first or line.count("(", 0, name.start()) > line.count(")", 0, name.start()):
            return False
        rest = self._without_maximum(line[name.end() : end], key)
        found = _EXPLICIT.match(rest)
        if found and int(found[3]) != self.points[key]:
            self.others.setdefault(key, rest[found.start(2) : found.end()].strip())
            return False
        separate = first or re.search(r"(?:[,;]\s*|\band\s+)$", line[: name.start()])
        bare = not found and not self.section and separate and "|" not in line
        if bare and key not in self.others:
            found = _BARE.match(rest)
        if not found:
            return False
        value = -number(found[2]) if re.search(r"[:=|(]\s*-$", found[1]) else number(found[2])
        self._add(key, value, _reason(rest[found.end() :]), position)
        self.bare.append(bool(bare))
        return True

    def _add(self, key: str, value: float, reason: str, position: int) -> None:
        known = self.sets[-1].scores.get(key)
        if known is not None and (known != value or "final" in self.sets[-1].parts):
            self.sets.append(_Set(position))
        found = self.sets[-1]
        if key not in found.scores or reason:
            found.reasons[key] = reason
        found.scores[key] = value
        self.key, self.heading, self.section = key, False, None

    def _without_maximum(self, text: str, key: str) -> str:
        """Without "(35 points)", "(max 35)", "(0-35)" right after the name."""
        return re.sub(rf"^\s*\([^()\d]*(?:0\s*-\s*)?{self.points[key]}(?!\d)[^()\d/]*\)(?=\s*[:=|-]|\s*$)", "", text)


def _reason(text: str) -> str:
    text = re.sub(rf"^\s*{_UNIT}\b", "", text.strip(' |:;,-"'), flags=re.I).strip(' |:;,-"')
    inner = re.fullmatch(r"\(([^()]*)\)?[.,]?", text)
    return (inner[1] if inner else text).strip()


def _reading(found: _Set, others: dict[str, str], rubric: Rubric) -> Reading:
    parts = found.parts
    items, total = items_of(parts.get("adjustments", []))
    listed = any(map(is_none, parts.get("adjustments", [])))
    for line in parts.get("total", []):
        total = told if (told := total_of(line)) is not None else total
    finals = parts.get("final", []) + parts.get("results", [])
    if total is None and not items and finals:
        total = _addend(finals[0])
    issues = [part for line in parts.get("issues", []) for part in line.split(";")]
    return Reading(
        start=found.start,
        scores=found.scores,
        reasons=found.reasons,
        items=tuple(items) if items or (listed and total is None) else None,
        addends=_addends(parts.get("base", []), rubric),
        base=_stated(parts.get("base", [])),
        total=total,
        final=_stated(finals),
        tier=next(iter(parts.get("tier", [])), None),
        issues=tuple(text for part in issues if (text := part.strip(" |-.()")) and not is_none(text))
        if "issues" in parts
        else None,
        blur=" ".join(parts["blur"]).strip() if "blur" in parts else None,
        others=others,
    )


def _stated(lines: list[str]) -> float | None:
    for line in reversed(lines):
        if found := re.findall(rf"(?<![\d.,-])({NUMBER})\s*(?:/|out of|of)\s*{TOTAL}(?!\d)", line):
            return number(found[-1])
        if found := re.findall(rf"=\s*({NUMBER})(?![\d%])(?!\s*\()", line):
            return number(found[-1])
        if match := re.match(rf"[\s:=|(-]*({NUMBER})(?=\s*(?:{_UNIT}|[(),.;|]|$))", line, re.I):
            return number(match[1])
    return None


def _addends(lines: list[str], rubric: Rubric) -> tuple[float, ...]:
    """Of "33 + 18 + ... = 91", if there are as many as dimensions."""
    for part in "=".join(lines).split("="):
        found = re.findall(rf"(?<![\d./])({NUMBER})(?!\s*[/\d])", part)
        if part.count("+") == len(rubric.dimensions) - 1 == len(found) - 1:
            return tuple(map(number, found))
    return ()


def _addend(line: str) -> float | None:
    """The adjustment in "91 (base) + (-3) (adjustment) = 88"."""
    for part in line.split("=")[:-1]:
        found = re.fullmatch(rf"\D*?({NUMBER})[^\d+\-]*([-+])[^\d+\-]*([-+]?)\s*({NUMBER})\D*", part)
        if found:
            return number(found[4]) * (-1 if (found[2] + found[3]).count("-") == 1 else 1)
    return None
