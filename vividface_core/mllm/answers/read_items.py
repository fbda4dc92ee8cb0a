"""Bonuses and penalties as an answer lists them, line by line."""

from __future__ import annotations

import re

from vividface_core.mllm.answers import vocabulary
from vividface_core.mllm.answers.reading import NUMBER, Item, any_of, number

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
