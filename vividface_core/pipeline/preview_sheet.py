"""A preview as one picture: faces before and after, and what the whole run takes."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vividface_core.io.pictures import INK, LINE, PAPER, SOFT, bytes_of, font, pillow
from vividface_core.pipeline.preview import Preview, Sample

SIDE, SLIT, EDGE, CAPTION, HEAD, LINE_HEIGHT = 360, 4, 36, 44, 92, 30
"""Longest side of a picture, and pixels between, around, below and above pictures, and from line to line."""
WIDTH = 2 * EDGE + 2 * SIDE + SLIT
NOTE = 17
"""Size of small letters."""


def draw_preview(preview: Preview, name: str) -> Any:
    """A Pillow picture of a preview.

    Args:
        name: of the video.

    Raises:
        MissingDependency: Pillow is absent.
    """
    from PIL import ImageDraw

    image = pillow()
    pairs = [(sample, _fitted(sample.before), _fitted(sample.after)) for sample in preview.samples]
    told = [part for line in preview.estimate.lines() for part in _wrapped(line)]
    bottom = HEAD + sum(before.height + CAPTION for _, before, _ in pairs)
    picture = image.new("RGB", (WIDTH, bottom + 34 + LINE_HEIGHT * len(told)), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((EDGE, 44), _shortened(name, 30), INK, font(30), anchor="ls")
    draw.text((EDGE, 74), "left the source, right restored", SOFT, font(NOTE), anchor="ls")
    top = HEAD
    for sample, before, after in pairs:
        picture.paste(before, (EDGE, top))
        picture.paste(after, (EDGE + SIDE + SLIT, top))
        draw.text((EDGE, top + before.height + 25), _caption(sample), INK, font(NOTE), anchor="ls")
        top += before.height + CAPTION
    draw.line([(EDGE, top), (WIDTH - EDGE, top)], LINE, 1)
    for place, line in enumerate(told):
        draw.text((EDGE, top + 32 + LINE_HEIGHT * place), line, INK, font(NOTE), anchor="ls")
    return picture


def _fitted(rgb: Tensor) -> Any:
    image = pillow()
    picture = image.fromarray(bytes_of(rgb))
    share = SIDE / max(picture.size)
    size = [max(1, round(side * share)) for side in picture.size]
    return picture.resize(size, image.Resampling.LANCZOS)


def _caption(sample: Sample) -> str:
    size = "" if sample.size is None else f", {sample.size:.0f} pixels"
    return f"{sample.title}, at {sample.second:.1f} s{size}"


def _wrapped(line: str) -> list[str]:
    """Parts of a line that are no wider than the pictures."""
    parts: list[str] = []
    for word in line.split():
        if parts and font(NOTE).getlength(f"{parts[-1]} {word}") <= WIDTH - 2 * EDGE:
            parts[-1] += f" {word}"
        else:
            parts.append(word)
    return parts


def _shortened(text: str, size: int) -> str:
    while font(size).getlength(text) > WIDTH - 2 * EDGE:
        text = f"{text[: len(text) // 2 - 2]}…{text[len(text) // 2 + 2 :]}"
    return text
