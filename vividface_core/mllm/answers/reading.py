"""What a reader found in an answer before anything is computed, and how the parts of an answer are recognised."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from vividface_core.mllm.rubric_schema import Rubric

NUMBER = r"\d+(?:[.,]\d{1,2}(?!\d))?"
RULE_WORDS: dict[str, tuple[str, ...]] = {
    "skin_texture": ("skin texture", "skin detail"),
    "color": ("color reproduction", "colour reproduction", "white balance", "perfect colour"),
    "motion_blur": ("motion blur", "motion-blur"),
    "noise": ("noise", "noisy", "grain"),
    "smoothing": ("smoothing", "smoothed", "over-smooth", "beauty filter", "beautification"),
    "sharpness": ("inconsistent sharpness", "sharpness"),
}
"""Names of the paper's rules in answers, besides their titles. A rubric of one's own adds ``words`` to its rules."""

_THOUGHTS = r"(?:think|thinking|thought|reasoning)"
_CLOSED = re.compile(rf"</\s*{_THOUGHTS}\s*>|◁/think▷", re.I)
_OPEN = re.compile(rf"<\s*{_THOUGHTS}\s*>|◁think▷", re.I)
_CHARACTERS = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_CHARACTERS.update(dict.fromkeys(map(ord, "‐‑‒–—―−﹣➖"), "-"))
_CHARACTERS.update(dict.fromkeys([0xA0, *range(0x2000, 0x2010), 0x202F, 0x205F, 0x3000, 0xFEFF], " "))
_NOT_APPLIED = re.compile(
    r"\b(?:not? (?:applied|applicable|awarded|deducted|warranted|detected|present|observed|visible)|n/a|none|absent"
    r"|no (?:bonus(?:es)?|penalt(?:y|ies)|adjustments?|deductions?|issues?)|does(?: not|n't) apply)\b",
    re.I,
)
_SIGNED = re.compile(rf"(?<![\w.%])(?<!\d\s)([-+])\s?({NUMBER})(?!\s*%|\d|\s*-\s*\d)")
_UNSIGNED = re.compile(rf"(?<![\w.,/-])({NUMBER})(?=\s*(?:points?\b|pts?\b|[)|]|$))", re.I)


@dataclass(frozen=True)
class Item:
    """An adjustment that an answer lists.

    Attributes:
        points: signed where the answer shows the sign.
        signed: whether it does.
    """

    text: str
    points: float
    signed: bool


@dataclass(frozen=True)
class Reading:
    """One set of scores with what belongs to it; ``None`` where the answer says nothing.

    Attributes:
        start: where in the answer it begins.
        addends: what the answer adds up to its base score.
        others: scores on another scale, by dimension: what they are out of.
    """

    start: int
    scores: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    items: tuple[Item, ...] | None = None
    addends: tuple[float, ...] = ()
    base: float | None = None
    total: float | None = None
    final: float | None = None
    tier: str | None = None
    issues: tuple[str, ...] | None = None
    blur: str | None = None
    others: dict[str, str] = field(default_factory=dict)

    def complete(self, rubric: Rubric) -> bool:
        return all(dimension.key in self.scores for dimension in rubric.dimensions)

    def filled(self, other: Reading) -> Reading:
        """With what only ``other``, which has the same scores, says."""
        lacking = {
            name: getattr(other, name)
            for name in ("items", "total", "base", "final", "tier", "issues", "blur")
            if getattr(self, name) is None
        }
        if "items" in lacking and self.total is not None:
            lacking["items"] = self.items if other.total not in (None, self.total) else other.items
        reasons = {**other.reasons, **{key: reason for key, reason in self.reasons.items() if reason}}
        return replace(self, **lacking, reasons=reasons, addends=self.addends or other.addends)


def names(rubric: Rubric) -> dict[str, str]:
    """Keys of dimensions by their names in small letters, the longest first."""
    found: dict[str, str] = {}
    for dimension in rubric.dimensions:
        title = dimension.title
        for name in (
            title,
            title.replace("&", "and"),
            title.split(" & ")[0],
            dimension.label,
            dimension.key.replace("_", " "),
            *dimension.words,
        ):
            found.setdefault(name.lower(), dimension.key)
    return dict(sorted(found.items(), key=lambda row: -len(row[0])))


def any_of(choices: Iterable[str]) -> str:
    """A pattern of whole words, the longest first."""
    return "|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in sorted(choices, key=len, reverse=True))


def number(text: str) -> float:
    return float(text.replace(",", "."))


def without_thoughts(text: str) -> str:
    """Composed Unicode, with blanks in place of what a model wrote before its answer; lines stay lines."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    ends = [match.end() for match in _CLOSED.finditer(text)]
    if ends:
        text = blank(text, 0, ends[-1])
    if begun := _OPEN.search(text):
        text = blank(text, begun.start(), len(text))
    return text


def blank(text: str, start: int, end: int) -> str:
    return text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]


def plain(text: str) -> str:
    """One kind of dash, blank, digit and bracket, without marks of Markdown and LaTeX."""
    text = re.sub(r"\\boxed\{([^{}]*)\}", r"\1", text.translate(_CHARACTERS))
    return re.sub(r"[*`$]", "", text).replace("_", " ").replace("[", "(").replace("]", ")").replace("\t", " ")


def is_none(text: str) -> bool:
    """Whether a phrase says that there is nothing."""
    return bool(
        re.fullmatch(
            rf"(?:{_NOT_APPLIED.pattern}|no)(?: (?:critical )?issues?)?(?: found| detected)?",
            text.strip(" :.-|()"),
            re.I,
        )
    )


def items_of(lines: list[str]) -> tuple[list[Item], float | None]:
    """Listed adjustments, and a total among them."""
    items: list[Item] = []
    total, sign = None, 0
    for line in lines:
        side = side_of(line)
        if re.match(r"\W*(?:total|sum|net)\b", line, re.I) or len(_SIGNED.findall(line)) > 1 and "=" in line:
            total = told if (told := total_of(line)) is not None else total
        elif not re.search(r"\d", line):
            sign = side if len(line) < 30 and not _NOT_APPLIED.search(line) else sign
        else:
            items += [item for part in _parts(line) if (item := item_of(part, side or sign))]
    return items, total


def side_of(text: str) -> int:
    """1 where a text speaks of a bonus, -1 of a penalty, 0 of neither or both."""
    minus, plus = re.search(r"penal|deduct|malus", text, re.I), re.search(r"bonus", text, re.I)
    return bool(plus) - bool(minus)


def _parts(line: str) -> list[str]:
    """Of a line with several signed adjustments, one each."""
    parts = re.split(r"[;,]\s+(?![^()]*\))", line)
    return parts if all(map(_SIGNED.search, parts)) else [line]


def item_of(line: str, sign: int) -> Item | None:
    """One adjustment; ``None`` if it is only named. ``sign``: of numbers that show none."""
    if _NOT_APPLIED.search(line):
        return None
    if signed := _SIGNED.search(line):
        value = number(signed[2]) * (-1 if signed[1] == "-" else 1)
    elif unsigned := _UNSIGNED.search(line):
        value = number(unsigned[1]) * (sign or 1)
    else:
        return None
    return Item(line.strip(" |,;.\"'"), value, bool(signed or sign)) if value else None


def total_of(line: str) -> float | None:
    """The sum that a line states: "+2 - 3 = -1 points"."""
    text = line.rsplit("=", 1)[-1]
    found = re.search(rf"(\+\s*/\s*-|±|[-+])?\s*({NUMBER})(?!\d|\s*%)", text)
    if not found:
        return 0.0 if is_none(line.split(":", 1)[-1]) else None
    value = number(found[2])
    if value and found[1] not in (None, "+", "-"):
        return None
    return -value if found[1] == "-" else value * (1 if found[1] else side_of(text) or 1)
