"""An answer in lines: headings, lists, tables or one sentence after the other."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from vividface_core.mllm.answers import vocabulary
from vividface_core.mllm.answers.reading import (
    NUMBER,
    Item,
    Reading,
    any_of,
    is_none,
    items_of,
    number,
    plain,
    total_of,
)
from vividface_core.mllm.answers.scores import Mark, Scores
from vividface_core.mllm.rubric_schema import TOTAL, Rubric

_LEAD = re.compile(
    r"[^\w+\-|(\n]*(?:[-+]\s+)?[^\w+\-|(\n]*(?:\(?\d{1,2}[.):](?!\d)\s*|[①-⑩]\s*|[a-h][.)]\s+)?[^\w+\-|(\n]*"
    r"(?:(?:step|步骤|步驟|第|ステップ|手順|étape|schritt|paso)\s*[\d一二三四]+\s*(?:步|歩)?\s*(?:[-:.)]\s*)?)?[^\w+\-|(\n]*"
)
"""Marks of lists and headings, numbers of steps, emoji."""
_ENDING = ("base", "total", "final", "tier", "issues", "blur")
_LABEL = re.compile("|".join(f"(?P<{kind}>{any_of(found)})" for kind, found in vocabulary.LABELS.items()))
_INLINE = re.compile(rf"(?<=[.;,]) (?=(?:{any_of(sum((vocabulary.LABELS[kind] for kind in _ENDING), ()))})\s*[:=])")
"""The end of an answer in one line."""
_AFTER = re.compile(r"\s*(?:\([^()\n]*\)\s*)?(?:(?:is|est|ist|は|为|為|是)(?!\w)\s*)?(?:[:=|]\s*|-\s+|(?=[-+\d(])|$)")
_APPLIED = re.compile(r"(?:\s+\w+){0,2}\s*(?:\([^()\n]*\)\s*)?(?::|$)")
_SIGN_LINE = re.compile(rf"(?:total\s+)?(?:{any_of((*vocabulary.BONUS, *vocabulary.PENALTY))})")
_OUT_OF_ALL = re.compile(rf"(?<![\d.,-])({NUMBER})\s*(?:/|{any_of(vocabulary.OUT_OF)})\s*{TOTAL}(?!\d)")


@dataclass
class _Section:
    """A labelled part. Lines are the answer's own, ``plain`` spelt for comparing."""

    kind: str
    start: int
    lines: list[str] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)
    ended: bool = False

    def add(self, own: str, line: str) -> None:
        self.lines.append(own)
        self.plain.append(line)


def read_text(text: str, rubric: Rubric) -> list[Reading]:
    """All sets of scores, complete or not, in their order."""
    marks, sections, others = _Reader(rubric).read(text)
    groups = _groups(marks)
    readings = []
    for number_, group in enumerate(groups):
        start = group[0].start if number_ else 0
        end = groups[number_ + 1][0].start if number_ + 1 < len(groups) else len(text) + 1
        own = [section for section in sections if start <= section.start < end]
        readings.append(_reading(group, own, others, rubric))
    return readings or [Reading(0, {}, others=others)]


def _groups(marks: list[Mark]) -> list[list[Mark]]:
    """Scores that belong together; a repetition of some of them is no new set."""
    groups: list[dict[str, Mark]] = []
    for mark in marks:
        known = groups[-1].get(mark.key) if groups else None
        if not groups or (known and (known.value != mark.value or mark.whole_before(groups[-1]))):
            groups.append({mark.key: mark})
        elif not known:
            groups[-1][mark.key] = mark
    kept: list[dict[str, Mark]] = []
    for group in groups:
        repeated = kept and len(group) < len(kept[-1]) and all(
            key in kept[-1] and kept[-1][key].value == mark.value for key, mark in group.items())  # fmt: skip
        if not repeated:
            kept.append(group)
    return [list(group.values()) for group in kept]


class _Reader:
    def __init__(self, rubric: Rubric) -> None:
        self.scores = Scores(rubric)
        self.marks: list[Mark] = []
        self.sections: list[_Section] = []
        self.section: _Section | None = None
        self.heading: str | None = None

    def read(self, text: str) -> tuple[list[Mark], list[_Section], dict[str, str]]:
        position, same = 0, plain(text)
        for match in list(_INLINE.finditer(same)):
            text, same = (side[: match.start()] + "\n" + side[match.start() + 1 :] for side in (text, same))
        for own, line in zip(text.split("\n"), same.split("\n")):
            self._line(own, line, position)
            position += len(own) + 1
        others = [mark for mark in self.marks[:-1] if not mark.bare]
        if self.marks and self.marks[-1].bare and self.marks[-1].end >= len(same.rstrip()) and (others or "{" in text):
            # The text ends within "10/10" or an object: what is there may be half of a number.
            self.marks.pop()
        return self.marks, self.sections, self.scores.others

    def _line(self, own: str, line: str, position: int) -> None:
        lead = _LEAD.match(line).end()
        own, line, position = own[lead:].rstrip(), line[lead:].rstrip(), position + lead
        if not line:
            if self.section and self.section.plain:
                self.section.ended = True
            return
        inside = line.lstrip("| ")
        skipped = len(line) - len(inside)
        if self._label(own[skipped:], inside, position):
            return
        strict = self.section is not None and self.section.kind in ("adjustments", "total", "issues", "blur", "tier")
        if found := self.scores.in_line(own, line, position, strict=strict):
            self.marks += found
            self.heading = None
        elif not strict and (key := self.scores.heading(line)):
            self.heading, self.section = key, None
        elif self.heading and (mark := self.scores.below_heading(self.heading, own, line, position)):
            self.marks.append(mark)
            self.heading = None
        elif self.section:
            self.section.add(own, line)
        elif self.marks and not self.marks[-1].table:
            self.marks[-1].explain(own)

    def _label(self, own: str, line: str, position: int) -> bool:
        """Whether the line begins a part of its own; its scores, if any, are taken."""
        found = _LABEL.match(line)
        after = _AFTER.match(line, found.end()) if found else None
        if found and not after and found.lastgroup == "adjustments" and _APPLIED.match(line, found.end()):
            after = re.compile(r"[^:]*:?\s*").match(line, found.end())
        if not after:
            listing = self.section is not None and self.section.kind == "adjustments"
            if not listing and _SIGN_LINE.match(line) and re.search(r"[-+:(]\s*\d|:\s*$|\d\s*(?:分|点)", line):
                self._begin("adjustments", position).add(own, line)
                return True
            return False
        kind, rest = str(found.lastgroup), after.end()
        if kind in ("scores", "results"):
            self.section = None if kind == "scores" else self._begin(kind, position)
            self.marks += self.scores.in_line(own[rest:], line[rest:], position + rest, strict=True)
            return True
        # Parts that stand next to the label, such as "(-3 points)", belong to what it says.
        rest = found.end() if kind in ("total", "base", "final") else rest
        section = self._begin(kind, position)
        if line[rest:].strip(" :=|-"):
            section.add(own[rest:], line[rest:])
        return True

    def _begin(self, kind: str, position: int) -> _Section:
        self.section, self.heading = _Section(kind, position), None
        self.sections.append(self.section)
        return self.section


def _reading(marks: list[Mark], sections: list[_Section], others: dict[str, str], rubric: Rubric) -> Reading:
    def last(kind: str) -> list[_Section]:
        return [section for section in sections if section.kind == kind and section.plain]

    items: list[Item] = []
    listed, total = False, None
    for section in sections:
        if section.kind == "adjustments":
            found, told = items_of(section.lines, section.plain)
            items, total = [*items, *found], (total if told is None else told)
            listed = listed or any(map(is_none, section.plain))
    totals = [told for section in last("total") if (told := total_of(" ".join(section.plain[:2]))) is not None]
    total = totals[-1] if totals else total
    finals = [" ".join(section.plain[:2]) for section in last("final")]
    if total is None and not items and finals:
        total = _addend(finals[-1])
    bases = [" ".join(section.plain[:2]) for section in last("base")]
    issues = last("issues")
    blur = last("blur")
    return Reading(
        start=marks[0].start, scores={mark.key: mark.value for mark in marks},
        reasons={mark.key: mark.reason() for mark in marks},
        items=tuple(items) if items or (listed and total is None) else None, addends=_addends(bases, rubric),
        base=_stated(bases), total=total, final=_stated(finals),
        tier=next((section.plain[0] for section in reversed(last("tier"))), None),
        issues=_issues(issues[-1]) if issues else None, blur=_prose(blur[-1].lines) if blur else None, others=others,
    )  # fmt: skip


def _stated(texts: list[str]) -> float | None:
    for text in reversed(texts):
        if found := _OUT_OF_ALL.findall(text):
            return number(found[-1])
        cells = [cell for cell in text.split("|") if re.fullmatch(rf"\s*{NUMBER}\s*", cell)]
        if len(cells) == 2 and (lone := [cell for cell in cells if number(cell) != TOTAL]):
            return number(lone[0]) if len(lone) == 1 else None
        if found := re.findall(rf"=\s*({NUMBER})(?![\d%])(?!\s*\()", text):
            return number(found[-1])
        if found := re.match(rf"[\s:=|(-]*({NUMBER})(?=\s*(?:{any_of(vocabulary.POINTS)}|[(),.;|]|$))", text):
            return number(found[1])
    return None


def _addends(texts: list[str], rubric: Rubric) -> tuple[float, ...]:
    """Of "33 + 18 + ... = 91", if there are as many as dimensions."""
    for text in reversed(texts):
        for part in text.split("="):
            found = re.findall(rf"(?<![\d./])({NUMBER})(?!\s*[/\d])", part)
            if part.count("+") == len(rubric.dimensions) - 1 == len(found) - 1:
                return tuple(map(number, found))
    return ()


def _addend(text: str) -> float | None:
    """The adjustment in "91 (base) + (-3) (adjustment) = 88"."""
    for part in text.split("=")[:-1]:
        found = re.fullmatch(rf"\D*?({NUMBER})[^\d+\-]*([-+])[^\d+\-]*([-+]?)\s*({NUMBER})\D*", part)
        if found:
            return number(found[4]) * (-1 if (found[2] + found[3]).count("-") == 1 else 1)
    return None


def _issues(section: _Section) -> tuple[str, ...]:
    rows = [part.strip(" *_`|-.[]") for line in section.lines for part in line.split(";")]
    kept = [row for row in rows if row and not is_none(plain(row))]
    return tuple(kept)


def _prose(lines: list[str]) -> str:
    return " ".join(part for line in lines if (part := line.strip(" *_`|")))
