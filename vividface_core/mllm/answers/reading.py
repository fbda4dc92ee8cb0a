"""What a reader found in an answer before anything is computed, and the plain spelling of answers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from vividface_core.mllm.answers import vocabulary
from vividface_core.mllm.rubric_schema import Rubric

NUMBER = r"\d+(?:[.,]\d{1,2}(?!\d))?"


@dataclass(frozen=True)
class Item:
    """An adjustment that an answer lists.

    Attributes:
        points: signed where the answer shows the sign, ``None`` where there is no number.
        signed: whether it does.
        listed: the rule is named and nothing else, so that it applies without a number, too.
    """

    text: str
    points: float | None
    signed: bool
    listed: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Reading:
    """One set of scores with what belongs to it; ``None`` where the answer says nothing.

    Attributes:
        start: where in the answer it begins.
        addends: what the answer adds up to its base score.
        others: scores on another scale, by dimension: what they are out of.
    """

    start: int
    scores: dict[str, float]
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
        lacking = {name: getattr(other, name) for name in ("items", "total", "base", "final", "tier", "issues", "blur")
                   if getattr(self, name) is None}  # fmt: skip
        if "items" in lacking and self.total is not None:
            lacking["items"] = self.items if other.total not in (None, self.total) else other.items
        reasons = {**other.reasons, **{key: reason for key, reason in self.reasons.items() if reason}}
        return replace(self, **lacking, reasons=reasons, addends=self.addends or other.addends)


def names(rubric: Rubric) -> dict[str, str]:
    """Keys of dimensions by all names in small letters, the longest first."""
    found = {}
    for dimension in rubric.dimensions:
        own = (dimension.title, dimension.label, dimension.key.replace("_", " "), *dimension.words)
        for word in (*own, *vocabulary.DIMENSIONS.get(dimension.key, ())):
            found.setdefault(small(word), dimension.key)
    return dict(sorted(found.items(), key=lambda row: -len(row[0])))


def any_of(choices: Iterable[str]) -> str:
    """A pattern of words, the longest first; words of letters with spaces between don't end within a longer word."""
    rows = sorted({small(word) for word in choices}, key=len, reverse=True)
    return "|".join(re.escape(word) + (r"(?![^\W\d_])" if word[-1].isascii() else "") for word in rows)


def number(text: str) -> float:
    return float(text.replace(",", "."))


def small(text: str) -> str:
    """In small letters, the length unchanged."""
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)


_CHARACTERS = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_CHARACTERS.update(dict.fromkeys(map(ord, "‐‑‒–—―−﹣➖"), "-"))
_CHARACTERS.update(dict.fromkeys([0xA0, *range(0x2000, 0x2010), 0x202F, 0x205F, 0x3000, 0xFEFF], " "))
_CHARACTERS.update(dict.fromkeys(map(ord, '*_`\\"$“”„«»「」『』【】{}〖〗'), " "))
_CHARACTERS.update({ord("⁄"): "/", ord("∕"): "/", ord("’"): "'", ord("‘"): "'", ord("["): "(", ord("]"): ")",
                    ord("、"): ",", ord("。"): ".", ord("〜"): "~", ord("│"): "|", ord("➕"): "+"})  # fmt: skip
_HTML = re.compile(
    r"</[^<>\n]{1,80}>|"
    r"<(?:b|i|u|p|br|hr|em|strong|span|div|li|ul|ol|td|th|tr|table|code|pre|h[1-6])\b[^<>\n]{0,80}>", re.I,
)  # fmt: skip
_CLOSED = re.compile(r"</\s*(?:think|thinking|thought|reasoning)\s*>|◁/think▷", re.I)
_OPEN = re.compile(r"<\s*(?:think|thinking|thought|reasoning)\s*>|◁think▷", re.I)


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
    """Character for character: one kind of dash, blank, digit and bracket, no marks of Markdown, small letters."""
    text = re.sub(r"\\(?:boxed|mathbf|textbf|text)(?=\{)", lambda name: " " * len(name[0]), text)
    text = text.translate(_CHARACTERS).replace("\t", " ")
    text = _HTML.sub(lambda tag: " " * len(tag[0]), text)
    # Of a tag of the model's own, as in "<clarity>33/35</clarity>", the name is left.
    text = re.sub(r"<([a-zA-Z][\w ]{0,40})>", r" \1 ", text)
    text = re.sub(r"(?<=\d)(\s*)~(?=\s*\d)", r"\1-", text).replace("~", " ").replace("≈", " ")
    return small(text)
