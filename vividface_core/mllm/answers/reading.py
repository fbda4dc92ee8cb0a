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


_SIGNED = re.compile(rf"(?<![\w.%])(?<!\d\s)([-+])\s?({NUMBER})(?!\s*%|\d|\s*-\s*\d|\s*[-]?(?:st|nd|rd|th)\b)")
_UNSIGNED = re.compile(rf"(?<![\w.,/-])({NUMBER})(?=\s*(?:{any_of(vocabulary.POINTS)}|[)|]|$))")
_ZERO = re.compile(rf"(?<![\d.])[-+±/ ]*\b0(?:\.0)?(?![\d.]|\s*%)\s*(?:{any_of(vocabulary.POINTS)}|[)|,;:(]|$)")
_TOTAL = re.compile(r"(?:total|sum|net|合计|总计|合計|总调整|summe|gesamt|somme)(?![^\W\d_]*/)")
_NAMED = re.compile(rf"(?:{any_of(vocabulary.NOT_APPLIED)})")
_ABSENT = re.compile(rf"(?:^|[:(,;|.]\s*|-\s+)(?:{any_of(vocabulary.ABSENT)})\s*(?:$|[).,;:|]|\W*applied)")
_MINUS, _PLUS = (re.compile(any_of(side)) for side in (vocabulary.PENALTY, vocabulary.BONUS))


def is_none(text: str) -> bool:
    """Whether a plain phrase says that there is nothing."""
    bare = text.strip(" :.-|()[]")
    found = re.match(rf"(?:{any_of((*vocabulary.ABSENT, *vocabulary.NOT_APPLIED))})", bare)
    return bool(found) and (found.end() == len(bare) or bool(re.match(
        r"\s*(?:critical|significant|major|notable|visible)?\s*(?:issues?|problems?|problèmes?|probleme|found|detected|。|\.)",
        bare[found.end() :])))  # fmt: skip


def items_of(lines: list[str], plain_lines: list[str]) -> tuple[list[Item], float | None]:
    """Listed adjustments, and a total among them."""
    items: list[Item] = []
    total, sign = None, 0
    for own, line in zip(lines, plain_lines):
        own, line = _inner(own, line)
        if _TOTAL.match(line):
            total = total if (told := total_of(line)) is None else told
            continue
        side = _side(line)
        if not re.search(r"\d", line):
            sign = side if len(line) < 30 and not _NAMED.search(line) else sign
            continue
        if line.count("=") and len(_SIGNED.findall(line)) > 1:
            total = total if (told := total_of(line)) is None else told
            continue
        items += [item for part in _parts(own, line) if (item := _item(*part, side or sign))]
    return items, total


def _inner(own: str, line: str) -> tuple[str, str]:
    """Without the edges of a table's row."""
    start = len(line) - len(line.lstrip("| "))
    end = len(line.rstrip("| "))
    return own[start:end], line[start:end]


def _side(line: str) -> int:
    minus, plus = _MINUS.search(line), _PLUS.search(line)
    if minus and plus:
        return 0
    return -1 if minus else 1 if plus else 0


def _parts(own: str, line: str) -> list[tuple[str, str]]:
    """Of a line with several adjustments, one each."""
    cuts = [0]
    for match in re.finditer(r"[;,](?!\d)|(?<!\w)(?:and|et|und)(?!\w)", line):
        free = line.count("(", 0, match.start()) <= line.count(")", 0, match.start())
        if free and _SIGNED.search(line, cuts[-1], match.start()) and _SIGNED.search(line, match.end()):
            cuts.append(match.end())
    ends = [*cuts[1:], len(line)]
    return [(own[start:end], line[start:end]) for start, end in zip(cuts, ends)]


def _item(own: str, line: str, sign: int) -> Item | None:
    line = line.strip()
    if _NAMED.search(line) or _ABSENT.search(line):
        return None
    reason = own.strip(" *_`|,;.-")
    if signed := _SIGNED.search(line):
        value = number(signed[2]) * (-1 if signed[1] == "-" else 1)
        return Item(line, value, True, reason=reason) if value else None
    if _ZERO.search(line):
        return None
    unsigned = _UNSIGNED.search(line) or re.search(rf"[扣减減加]\s*({NUMBER})", line)
    if not unsigned or not number(unsigned[1]):
        return None
    return Item(line, number(unsigned[1]) * (sign or 1), bool(sign), reason=reason)


def total_of(line: str) -> float | None:
    """The sum that a line states: "+2 - 3 = -1 points"."""
    text = line.rsplit("=", 1)[-1] if re.search(r"=\s*[-+±(]*\s*\d", line) else line
    found = re.search(rf"(\+\s*/\s*-|±|[-+])?\s*({NUMBER})(?!\d|\s*%)", text)
    if not found:
        return 0.0 if is_none(line.split(":", 1)[-1]) else None
    value = number(found[2])
    if not value or found[1] in ("+", "-"):
        return -value if found[1] == "-" else value
    if found[1]:
        return None
    return value * (_side(text) or 1)
