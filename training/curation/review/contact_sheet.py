"""One picture of a data set: kept clips above, dropped ones by cause below, three frames of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.curation.review.groups import Row, by_score, dropped_groups, score_text
from training.curation.review.previews import STILLS, find_preview, open_preview, stills_of
from vividface_core.errors import UnreadableVideo
from vividface_core.io.pictures import INK, LINE, PAPER, SOFT, font, pillow, save_sheet

COLUMNS, FRAME, GAP, EDGE = 4, 124, 20, 40
"""Clips side by side, side of a frame, pixels between clips and around all of them."""
CELLS = 120
"""Clips that are shown at most, whatever the size of the data set; of the kept ones up to half."""
GROUPS = 12
"""Causes with a part of their own; the rarest of more share one."""
SLIT = 2
CELL = STILLS * FRAME + (STILLS - 1) * SLIT
WIDTH = 2 * EDGE + COLUMNS * CELL + (COLUMNS - 1) * GAP
CAPTION, HEAD = 56, 66
KEPT, DROPPED = "#23794a", "#a3372b"


@dataclass(frozen=True)
class Part:
    """A heading and the clips under it.

    Attributes:
        count: of all its clips; ``rows`` may be fewer.
    """

    title: str
    cause: str
    color: str
    count: int
    rows: list[Row]

    @property
    def height(self) -> int:
        return HEAD + -(-len(self.rows) // COLUMNS) * (FRAME + CAPTION)

    @property
    def told(self) -> str:
        """How many there are, and whether some are left out."""
        noun = "clip" if self.count == 1 else "clips"
        if len(self.rows) == self.count:
            return f"{self.count:,} {noun}"
        return f"{len(self.rows):,} of {self.count:,} {noun} shown, evenly from the best to the worst"


def save_contact_sheet(rows: Sequence[Row], out_folder: Path, path: Path, source: Path | None = None) -> None:
    """Draw the contact sheet of a manifest's rows; the same rows give the same picture.

    Args:
        out_folder: the data set's, with the previews.
        path: JPEG file to write.
        source: folder of the videos, for previews that are missing.

    Raises:
        UnwritableVideo: it can't be written.
        MissingDependency: Pillow is absent.
    """
    save_sheet(_drawn(rows, parts_of(rows), Path(out_folder), source), Path(path), "The contact sheet")


def parts_of(rows: Sequence[Row]) -> list[Part]:
    """What is shown, at most :data:`CELLS` clips: the kept ones, then each cause in the order of the run."""
    kept = by_score([row for row in rows if row["state"] == "kept"])
    groups = list(dropped_groups(rows).items())
    if len(groups) > GROUPS:
        common = sorted(groups, key=lambda group: -len(group[1]))[: GROUPS - 1]
        rest = [row for group in groups if group not in common for row in group[1]]
        groups = [*(group for group in groups if group in common), (("Other", "rarer causes"), rest)]
    dropped = [(stage, cause, by_score(own)) for (stage, cause), own in groups]
    few = sum(len(own) for *_, own in dropped)
    shown = _shared([len(own) for *_, own in dropped], CELLS - min(len(kept), max(CELLS // 2, CELLS - few)))
    parts = [
        Part(f"Dropped · {stage}", cause, DROPPED, len(own), _evenly(own, most))
        for (stage, cause, own), most in zip(dropped, shown)
    ]
    most = CELLS - sum(len(part.rows) for part in parts)
    return [Part("Kept", "", KEPT, len(kept), _evenly(kept, most)), *parts] if rows else []


def _shared(counts: Sequence[int], room: int) -> list[int]:
    """Cells for each cause: a line of the sheet in turn, until all are seen or the room is out."""
    given, before = [0] * len(counts), -1
    while sum(given) > before:
        before = sum(given)
        for place, count in enumerate(counts):
            given[place] += min(COLUMNS, count - given[place], room - sum(given))
    return given


def _evenly(rows: list[Row], most: int) -> list[Row]:
    if len(rows) <= most:
        return rows
    return [rows[round(step * (len(rows) - 1) / max(1, most - 1))] for step in range(most)]


def _drawn(rows: Sequence[Row], parts: Sequence[Part], out: Path, source: Path | None) -> Any:
    from PIL import ImageDraw

    image = pillow()
    top = EDGE + 84
    picture = image.new("RGB", (WIDTH, top + sum(part.height for part in parts) + EDGE), PAPER)
    draw = ImageDraw.Draw(picture)
    kept = sum(row["state"] == "kept" for row in rows)
    clips = sum(row["first"] is not None for row in rows)  # the others tell of a piece without one
    draw.text((EDGE, EDGE - 6), f"{kept:,} of {clips:,} clips kept", INK, font(40))
    told = "First, middle and last frame of each. The figure is the final score."
    draw.text((EDGE, EDGE + 46), told, SOFT, font(20))
    for part in parts:
        _heading(draw, part, top)
        for number, row in enumerate(part.rows):
            line, column = divmod(number, COLUMNS)
            corner = (EDGE + column * (CELL + GAP), top + HEAD + line * (FRAME + CAPTION))
            _clip(picture, draw, row, corner, part.color, find_preview(row, out, source))
        top += part.height
    return picture


def _heading(draw: Any, part: Part, top: int) -> None:
    draw.line([(EDGE, top + 10), (WIDTH - EDGE, top + 10)], LINE, 1)
    left = EDGE
    for text, color, size in ((part.title, part.color, 25), (part.cause, INK, 21), (part.told, SOFT, 21)):
        if text:
            said = _fitted(text, font(size), WIDTH - EDGE - left)
            draw.text((left, top + 46), said, color, font(size), anchor="ls")
            left += int(font(size).getlength(said)) + 16


def _clip(picture: Any, draw: Any, row: Row, corner: tuple[int, int], color: str, preview: Path | None) -> None:
    left, top = corner
    for number, still in enumerate(_stills(preview)):
        picture.paste(still, (left + number * (FRAME + SLIT), top))
    if preview is None:
        draw.rectangle([left, top, left + CELL - 1, top + FRAME - 1], outline=LINE)
        draw.text((left + CELL / 2, top + FRAME / 2), "no picture", SOFT, font(18), anchor="mm")
    base, begin = top + FRAME + 23, left
    if row["final"] is not None:
        said = score_text(row["final"])
        draw.text((left, base), said, color, font(23), anchor="ls")
        begin += int(font(23).getlength(said)) + 10
    key = _fitted(row["key"], font(16), left + CELL - begin, middle=True)
    draw.text((begin, base), key, INK, font(16), anchor="ls")
    draw.text((left, base + 19), _fitted(_why(row), font(15), CELL), SOFT, font(15), anchor="ls")


def _stills(preview: Path | None) -> Iterator[Any]:
    if preview is None:
        return
    try:
        for still in stills_of(open_preview(preview)):
            yield still.resize((FRAME, FRAME), pillow().Resampling.LANCZOS)
    except UnreadableVideo:
        return


def _why(row: Row) -> str:
    """The line below: a person's word, the causes, or of a kept clip its tier."""
    person = [f"{row['state']} by a person"] if row["stage"] == "person" else []
    return "; ".join([*person, *(row["causes"] or filter(None, [row["tier"]]))])


def _fitted(text: str, font: Any, width: float, middle: bool = False) -> str:
    """Shortened with an ellipsis, at the end or in the ``middle``, where both ends tell clips apart."""
    text = "".join(sign if sign.isprintable() else "\ufffd" for sign in text)
    if font.getlength(text) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        keep = (low + high + 1) // 2
        low, high = (keep, high) if font.getlength(_cut(text, keep, middle)) <= width else (low, keep - 1)
    return _cut(text, low, middle)


def _cut(text: str, keep: int, middle: bool) -> str:
    tail = keep * 2 // 3 if middle else 0
    return f"{text[: keep - tail].rstrip()}…{text[len(text) - tail :]}"
