"""A contact sheet of the pre-filter's clips: one row a fault, the decision and its cause under each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.prefilter_faults import FAULTS, TWINS
from benchmarks.prefilter_material import UNTOUCHED, face_region, read_track
from vividface_core.video.reader import VideoReader

if TYPE_CHECKING:
    pass
from dataclasses import dataclass

from benchmarks.prefilter_material import (
    Sample,
)
from training.curation.clip_stats import ClipStats

TILE, GAP, TEXT, HEAD, COLUMNS = 120, 6, 44, 20, 10
KEPT, DROPPED, WRONG = (46, 125, 50), (198, 40, 40), (230, 140, 0)


def draw_sheet(folder: Path, found: Sequence[Outcome], path: Path) -> None:
    """Draw ``path`` (its suffix tells the format): green is kept, red dropped; orange: not what it should be."""
    from PIL import Image, ImageDraw

    rows = _rows(found)
    width = COLUMNS * (TILE + GAP) + GAP
    height = sum(HEAD + TILE + TEXT for _ in rows) + GAP
    sheet = Image.new("RGB", (width, height), "white")
    draw, top = ImageDraw.Draw(sheet), GAP
    for title, ones in rows:
        draw.text((GAP, top), title, fill="black", font=_font(14))
        for column, one in enumerate(ones):
            left, below = GAP + column * (TILE + GAP), top + HEAD + TILE
            sheet.paste(Image.fromarray(_picture(folder, one)), (left, top + HEAD))
            color = _color(one)
            draw.rectangle((left, top + HEAD, left + TILE - 1, below - 1), outline=color, width=3)
            words = _words(one)
            for line, text in enumerate(words[:3]):
                draw.text((left, below + 1 + 13 * line), text, fill=color, font=_font(12))
        top += HEAD + TILE + TEXT
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=76)


def _rows(found: Sequence[Outcome]) -> list[tuple[str, list[Outcome]]]:
    clean = [one for one in found if one.sample.change == UNTOUCHED and not one.sample.fault]
    own = [one for one in found if one.sample.change == UNTOUCHED and one.sample.fault]
    rows = [("untouched", clean[start : start + COLUMNS]) for start in range(0, len(clean), COLUMNS)]
    rows.append(("as filmed, with a fault of their own", own[:COLUMNS]))
    for name in FAULTS:
        rows.append((name, _spread([one for one in found if one.sample.change == name])))
    rows.append(("copies (duplicates are decided later)", _spread([o for o in found if o.sample.change in TWINS])))
    return rows


def _spread(ones: Sequence[Outcome]) -> list[Outcome]:
    """So many as fit, from all over the list; what is wrong comes in."""
    wrong = [one for one in ones if one.sample.fault and not one.causes][: COLUMNS // 2]
    rest = [one for one in ones if one not in wrong]
    places = np.unique(np.linspace(0, len(rest) - 1, min(COLUMNS - len(wrong), len(rest))).round().astype(int))
    return wrong + [rest[place] for place in places]


def _color(one: Outcome) -> tuple[int, int, int]:
    if bool(one.causes) != bool(one.sample.fault):
        return WRONG
    return DROPPED if one.causes else KEPT


def _words(one: Outcome) -> list[str]:
    """``kept``, or the first two causes, broken to the tile's width."""
    if not one.causes:
        return ["kept"]
    lines = []
    for cause in sorted(one.causes, key=lambda cause: not cause.startswith(one.sample.check or "-"))[:3]:
        fault, _, figure = cause.partition(": ")
        value = figure.rpartition(", ")[0].rpartition(" ")[2]
        lines.append(f"{fault}: {value}" if value else "no whole track")
    return lines


def _picture(folder: Path, one: Outcome) -> np.ndarray:
    """The middle frame's face region; the whole frame where there's none."""
    path, track = folder / f"{one.sample.name}.mkv", read_track(folder, one.sample)
    if track is not None:
        frames = face_region(path, track).frames
    else:
        with VideoReader(path) as reader:
            frames = torch.stack([frame.rgb() for frame in reader])
    return _tile(frames[len(frames) // 2])


def _tile(picture: Tensor) -> np.ndarray:
    side = min(picture.shape[-2:])
    top, left = ((full - side) // 2 for full in picture.shape[-2:])
    square = picture[None, :, top : top + side, left : left + side]
    small = F.interpolate(square, (TILE, TILE), mode="bicubic", antialias=True).clamp(0, 1)[0]
    return (small * 255).round().byte().permute(1, 2, 0).numpy()


def _font(size: int):
    from PIL import ImageFont

    return ImageFont.load_default(size)


@dataclass(frozen=True)
class Outcome:
    """What became of a file. ``causes``: why it is dropped; ``figures`` and ``hash`` only of whole clips."""

    sample: Sample
    causes: tuple[str, ...]
    figures: ClipStats | None = None
    hash: str = ""

    @property
    def named(self) -> set[str]:
        """The faults that are told, without their figures."""
        return {cause.partition(":")[0] for cause in self.causes}
