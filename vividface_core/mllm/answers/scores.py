"""Scores of dimensions in a line: "Clarity: 33/35 (reason)", table rows, headings with the score below."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

from vividface_core.mllm.answers import vocabulary
from vividface_core.mllm.answers.reading import NUMBER, any_of, names, number
from vividface_core.mllm.rubric_schema import Rubric

_UNIT = rf"(?:{any_of(vocabulary.POINTS)})"
_OF = rf"(?:/|{any_of(vocabulary.OUT_OF)})"
_EXPLICIT = re.compile(rf"(?<![\d./])({NUMBER})\s*(?:{_UNIT}\s*)?(?:\)\s*)?{_OF}\s*(\d+)(?!\d|\.\d|\s*%)")
_SCORE = rf"(?:{any_of(vocabulary.SCORE)})"
_END = rf"(?=\s*{_UNIT}?\s*(?:$|[(),;:|.]|-(?!\s*\d)))"
_BARE = re.compile(rf"\s*(?:{_SCORE}\s*)?[:=|(-]*\s*(?:{_SCORE}\s*[:=]?\s*|得\s*)?({NUMBER}){_END}(?!\.\d)")
_NEAR = re.compile(rf"[^\d\n]{{0,25}}?(?=(?<![\d./])({NUMBER})\s*{_OF})")
_BEFORE = re.compile(r"(?:^|[,;:|]\s*|(?<!\w)(?:and|et|und|y)\s+|[和与]|-\s+)$")
_NEXT = r"(?:$|[,;|.)]|(?:and|et|und|y)\s|[和与])"
_MOST = 40
"""Names that are looked at in a line: a model caught in a loop writes thousands."""
_MAXIMUM = rf"(?:{any_of(vocabulary.MAXIMUM)})"


@dataclass
class Mark:
    """A score and where it stands.

    Attributes:
        end: where its number ends.
        dimensions: how many there are.
        bare: it doesn't say what it is out of.
        table: it is a row of a table, which has no text below.
    """

    key: str
    value: float
    start: int
    end: int
    texts: list[str]
    dimensions: int
    bare: bool = False
    table: bool = False

    def explain(self, line: str) -> None:
        """Text of a line below."""
        self.texts.append(line)

    def reason(self) -> str:
        rows = (re.sub(r"^\W*(?:reason|原因|理由|raison|grund|begründung|justification)\s*[:：]", "", row.strip(" *_`"),
                       flags=re.I) for row in self.texts)  # fmt: skip
        text = " ".join(row.strip(" *_`|:;,-–—\"") for row in rows).strip()
        text = re.sub(rf"^{_UNIT}(?:\s+|$|(?=[(（,，;]))[-,，: ]*", "", text)
        inner = re.fullmatch(r"[(（\[]([^()（）\[\]]*)[)）\]]\.?", text)
        return (inner[1] if inner else text).strip()

    def whole_before(self, group: dict[str, Mark]) -> bool:
        """Whether ``group`` has all dimensions, so that this begins another."""
        return len(group) == self.dimensions


class Scores:
    """Finds scores of a rubric's dimensions.

    Attributes:
        others: scores that are out of another number than the rubric's, as found, by dimension.
    """

    def __init__(self, rubric: Rubric) -> None:
        self.names = names(rubric)
        self.points = {dimension.key: dimension.points for dimension in rubric.dimensions}
        self.others: dict[str, str] = {}
        self.name = re.compile(any_of(self.names))
        self.columns: list[str] | None = None
        self.across: list[str] | None = None

    def in_line(self, own: str, line: str, position: int, *, strict: bool) -> list[Mark]:
        """All of a line. ``strict``: only those that say what they are out of."""
        if line.count("|") >= 2 or line.startswith("|"):
            return self._row(own, line, position, strict)
        self.columns = self.across = None
        if len(re.findall(r"\d\s*\)?\s*\+", line)) >= 2:
            return []
        tokens = [match for match in islice(self.name.finditer(line), _MOST) if _free(line, match.start())]
        first = tokens[0] if tokens and tokens[0].start() == 0 else None
        nears = [(match, near) for match in tokens if match is not first
                 and (near := self._near(match, line, strict, alone=first is None))]  # fmt: skip
        found = []
        if first:
            end = nears[0][0].start() if nears else len(line)
            if (score := self._first(first, line[:end], strict)) is not None:
                found.append(self._mark(first, own[:end], position, *score))
        for place, (match, near) in enumerate(nears):
            end = nears[place + 1][0].start() if place + 1 < len(nears) else len(line)
            found.append(self._mark(match, own[:end], position, *near))
        return found or self._score_first(own, line, position)

    def heading(self, line: str) -> str | None:
        """The dimension that a line without a score is about."""
        match = self.name.match(line.lstrip("| "))
        if not match:
            return None
        rest = self._without_maximum(line.lstrip("| ")[match.end() :], self.points[self.names[match[0]]])
        return self.names[match[0]] if len(rest.strip(" :-|().&")) <= 40 and not re.search(r"\d", rest) else None

    def below_heading(self, key: str, own: str, line: str, position: int) -> Mark | None:
        """The score on a line of its own."""
        label = re.match(rf"(?:{_SCORE})?\s*(?:{_SCORE})?\s*[:=|(-]*\s*", line)
        explicit = self._explicit(key, line[label.end() :], at_start=True)
        if explicit is not None:
            value, after, bare = *explicit, None
        elif label[0].strip(" :=|(-") and (bare := re.match(rf"({NUMBER}){_END}", line[label.end() :])):
            value, after = number(bare[1]), bare.end()
        else:
            return None
        end = label.end() + after
        return Mark(key, value, position, position + end, [own[end:]], len(self.points), bare is not None)

    def _mark(self, name: re.Match, own: str, position: int, value: float, end: int, bare: bool) -> Mark:
        """Of a score in a line (``own`` up to where the next one begins) that ends at ``end``."""
        return Mark(self.names[name[0]], value, position + name.start(), position + end, [own[end:].rstrip(" ,;")],
                    len(self.points), bare)  # fmt: skip

    def _explicit(self, key: str, text: str, at_start: bool = False) -> tuple[float, int] | None:
        """The first "33/35", and where it ends."""
        for match in _EXPLICIT.finditer(text):
            if at_start and text[: match.start()].strip(" ("):
                return None
            before = text[: match.start()]
            if re.search(r"\d\s*-\s*$", before):
                continue
            if int(match[2]) != self.points[key]:
                self.others.setdefault(key, match[0])
                continue
            value = -number(match[1]) if re.search(r"(?:^|[:=|(])\s*-$", before) else number(match[1])
            return value, match.end()
        return None

    def _first(self, name: re.Match, line: str, strict: bool) -> tuple[float, int, bool] | None:
        """Of the dimension that a line begins with: the score, where it ends, whether it is bare."""
        key, rest = self.names[name[0]], line[name.end() :]
        if (found := self._explicit(key, rest)) is not None:
            return found[0], name.end() + found[1], False
        if strict or key in self.others:
            return None
        kept = self._without_maximum(rest, self.points[key])
        lone = re.match(r"\s*\(\s*\d+\s*\)\s*$", kept)
        bare = None if lone else _BARE.match(kept)
        if not bare or re.match(r"\s*-\s*\d", kept[bare.end() :]):
            return None
        negative = re.search(r"[:=|(]\s*-$", kept[: bare.start(1)])
        return (-number(bare[1]) if negative else number(bare[1])), name.end() + bare.end(), True

    def _without_maximum(self, text: str, points: int) -> str:
        """Blanks in place of "(35 points)", "max. 35", "35点満点中"; the length unchanged."""
        patterns = (
            rf"\(\s*(?:{_MAXIMUM}\W*)?(?:0\s*-\s*|/\s*)?{points}\s*{_UNIT}?\s*(?:{_MAXIMUM})?\s*\)"
            r"(?=.*\d|\s*[:|-]?\s*$)",
            rf"{_MAXIMUM}\W{{0,2}}{points}(?!\d)\s*{_UNIT}?(?:中)?",
            rf"{points}\s*点満点\s*中?",
            rf"/\s*{points}(?!\d)",
        )  # fmt: skip
        for pattern in patterns:
            text = re.sub(pattern, lambda match: " " * len(match[0]), text)
        return text

    def _near(self, name: re.Match, line: str, strict: bool, alone: bool) -> tuple[float, int, bool] | None:
        """Of a dimension further on in the line, its score next to it. ``alone``: the line begins with none."""
        separate = _BEFORE.search(line[max(name.start() - 8, 0) : name.start()])
        if not separate and not alone:
            return None
        key, rest = self.names[name[0]], line[name.end() :]
        if gap := _NEAR.match(rest):
            found = self._explicit(key, rest[gap.end() :], at_start=True)
            return (found[0], name.end() + gap.end() + found[1], False) if found else None
        bare = None if strict or not separate else re.match(rf"\s*[:=]?\s*({NUMBER})(?=\s*{_NEXT})(?!\.\d)", rest)
        return (number(bare[1]), name.end() + bare.end(), True) if bare else None

    def _score_first(self, own: str, line: str, position: int) -> list[Mark]:
        """ "33/35 for clarity"."""
        score = _EXPLICIT.match(line)
        link = score and re.compile(r"\W*(?:for\s+|in\s+|pour\s+|für\s+)?").match(line, score.end())
        name = link and self.name.match(line, link.end())
        if not name or int(score[2]) != self.points[self.names[name[0]]]:
            return []
        return [self._mark(name, own, position, number(score[1]), name.end(), False)]

    def _row(self, own: str, line: str, position: int, strict: bool) -> list[Mark]:
        cells, texts = ([cell.strip() for cell in side.strip().strip("|").split("|")] for side in (line, own))
        if all(re.fullmatch(r"[:\- ]*", cell) for cell in cells):
            return []
        keys = [self.names[match[0]] if (match := self.name.match(re.sub(r"^\W*(?:\d{1,2}[.)]?\s+)?\W*", "", cell)))
                else None for cell in cells]  # fmt: skip
        if all(key in keys for key in self.points):
            self.across = keys
            return []
        if self.across and not any(keys):
            return self._across(cells, position)
        column = next((place for place, key in enumerate(keys) if key), None)
        if column is None:
            self.columns = cells
            return []
        score = self._cell(str(keys[column]), cells, column, strict)
        if score is None:
            return []
        value, place = score
        reason = " ".join(text for text in texts[max(place, column) + 1 :] if not re.fullmatch(r"[\d\s./%+-]*", text))
        return [Mark(str(keys[column]), value, position, position + len(line), [reason], len(self.points), table=True)]

    def _cell(self, key: str, cells: list[str], column: int, strict: bool) -> tuple[float, int] | None:
        """The score among a row's cells, and its place."""
        places = [*range(column + 1, len(cells)), column]
        for place in places:
            if (found := self._explicit(key, cells[place])) is not None:
                return found[0], place
        if strict or key in self.others:
            return None
        rows = [place for place in places[:-1] if re.fullmatch(rf"-?{NUMBER}\s*{_UNIT}?", cells[place])]
        if self.columns and len(self.columns) == len(cells):
            rows = [place for place in rows if not re.search(rf"(?:^|\W){_MAXIMUM}", self.columns[place])]
        if len(rows) > 1:
            best = [place for place in rows if re.match(rf"{self.points[key]}(?!\d)", cells[place])]
            rows = rows[:1] if len(best) == len(rows) == 2 else [place for place in rows if place not in best]
        if len(rows) != 1:
            return None
        return number(re.match(rf"-?{NUMBER}", cells[rows[0]])[0]), rows[0]

    def _across(self, cells: list[str], position: int) -> list[Mark]:
        """The row below a header of dimensions."""
        found = []
        for key, cell in zip(self.across or (), cells):
            if key and (match := re.fullmatch(rf"({NUMBER})(?:\s*/\s*(\d+))?\s*{_UNIT}?", cell)):
                if not match[2] or int(match[2]) == self.points[key]:
                    found.append(Mark(key, number(match[1]), position, position, [], len(self.points), table=True))
        return found if len(found) == len(self.points) else []


def _free(line: str, position: int) -> bool:
    """Whether it stands outside of brackets."""
    return line.count("(", 0, position) <= line.count(")", 0, position)
