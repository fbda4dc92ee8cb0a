"""Curves of a clip's figures as one picture, where there is no page to draw them in.

By Pillow, which the pack needs anyway: a node shows this picture, and must not depend on matplotlib for it.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vividface_core.io.pictures import pillow
from vividface_core.metrics.measure import Score
from vividface_core.metrics.metric import Metric
from vividface_core.metrics.report import figure
from vividface_core.metrics.reports.charts import Curve, bounds, decimals, frame_ticks, ticks

CELL, GAP, MARGIN = (440, 220), 24, 24
"""Pixels of a chart with its title; between charts; around all."""
LEFT, TOP, BOTTOM = 62, 34, 26
"""Pixels of a chart that its axis labels and its title take."""
LINE = 18
"""Pixels from one line of small text to the next."""
PAPER, INK, SOFT, GRID = (253, 253, 251), (31, 36, 44), (98, 106, 118), (224, 225, 220)
COLORS = {"output": (28, 95, 184), "input": (176, 100, 12)}
"""Those of the HTML report."""
FINER = 4
"""Curves are drawn so many times larger, and then smoothed: Pillow draws lines with steps."""


def plot(metrics: Sequence[Metric], scores: dict[str, dict[str, Score]]) -> Tensor:
    """``[H, W, 3]`` float32, 0…1: a chart for each metric that was measured; the names of the others below.

    Args:
        scores: by what they are of, ``output`` and perhaps ``input``, and by metric.

    Raises:
        MissingDependency: Pillow is absent or broken.
    """
    shown = [metric for metric in metrics if scores["output"][metric.name].value is not None]
    columns = max(1, min(3, math.ceil(math.sqrt(len(shown)))))
    rows = max(1, -(-len(shown) // columns))
    width, height = (2 * MARGIN + count * side + (count - 1) * GAP for count, side in zip((columns, rows), CELL))
    lost = [metric.name for metric in metrics if metric not in shown]
    last = textwrap.wrap(f"not measured: {', '.join(lost)}", width // 7) if lost else []
    sheet = pillow().new("RGB", (width, height + LINE * len(last)), PAPER)
    for number, metric in enumerate(shown):
        row, column = divmod(number, columns)
        corner = (MARGIN + column * (CELL[0] + GAP), MARGIN + row * (CELL[1] + GAP))
        sheet.paste(_chart(metric, {kind: own[metric.name] for kind, own in scores.items()}), corner)
    end: float = MARGIN
    for kind in reversed(scores) if len(scores) > 1 else ():
        end = _text(sheet, (end, height - 18), kind, COLORS[kind], 12) + 14
    for number, line in enumerate(last):
        _text(sheet, (MARGIN, height + LINE * number), line, SOFT, 12)
    pixels = torch.frombuffer(bytearray(sheet.tobytes()), dtype=torch.uint8)
    return pixels.view(sheet.height, width, 3).float() / 255


def _chart(metric: Metric, scores: dict[str, Score]) -> Any:
    worst = "min" if metric.higher_is_better else "max"
    curves = [
        Curve(kind, "", [value * metric.display_scale for value in score.frames], worst)
        for kind, score in scores.items()
    ]
    cell, found = pillow().new("RGB", CELL, PAPER), bounds(curves)
    if found is not None:
        _draw(cell, curves, ticks(*found))
    else:
        _text(cell, (0, TOP), "one figure for all frames", SOFT, 12)
    times = f" x{metric.display_scale:g}" if metric.display_scale != 1 else ""
    end = _text(cell, (0, 0), f"{metric.title}{times}", INK, 17)
    _arrow(cell, end + 11, metric.higher_is_better)
    right = CELL[0] - 6
    for kind, score in scores.items():
        text = figure(metric, score.value)
        _text(cell, (right, 0), text, COLORS[kind], 17, "ra")
        right -= round(_length(cell, text, 17)) + 14
    return cell


def _draw(cell: Any, curves: Sequence[Curve], scale: Sequence[float]) -> None:
    """Axis, grid and curves, the first on top."""
    from PIL import ImageDraw

    low, high, frames = scale[0], scale[-1], max(len(curve.values) for curve in curves)
    right, bottom = CELL[0] - 6, CELL[1] - BOTTOM
    draw, places = ImageDraw.Draw(cell), decimals(scale)

    def across(frame: int) -> float:
        return LEFT + (right - LEFT) * frame / max(1, frames - 1)

    def up(value: float) -> float:
        return bottom - (bottom - TOP) * (value - low) / (high - low)

    for value in scale:
        draw.line([(LEFT, up(value)), (right, up(value))], GRID)
        _text(cell, (LEFT - 8, up(value)), f"{value:.{places}f}", SOFT, 12, "rm")
    for frame in frame_ticks(frames):
        _text(cell, (across(frame), bottom + 7), str(frame), SOFT, 12, "ma")
    _text(cell, (LEFT - 8, bottom + 7), "frame", SOFT, 12, "ra")
    for curve in reversed(curves):
        spots = (None if math.isnan(value) else (across(frame), up(value)) for frame, value in curve.points)
        _stroke(cell, list(spots), COLORS[curve.kind])


def _stroke(cell: Any, places: Sequence[tuple[float, float] | None], color: Any) -> None:
    """A line from place to place, with gaps at ``None``; a place between two gaps is a dot."""
    from PIL import ImageDraw

    stencil = pillow().new("L", (CELL[0] * FINER, CELL[1] * FINER))
    pen, last = ImageDraw.Draw(stencil), None
    for place in places:
        here = None if place is None else (place[0] * FINER, place[1] * FINER)
        if here is not None:
            pen.ellipse([(here[0] - 4, here[1] - 4), (here[0] + 4, here[1] + 4)], 255)
            pen.line([last or here, here], 255, 7)
        last = here
    cell.paste(color, (0, 0), stencil.resize(CELL, pillow().Resampling.BOX))


def _arrow(cell: Any, x: float, upwards: bool) -> None:
    """Pillow's own font has none."""
    from PIL import ImageDraw

    tip, tail = (4, 17) if upwards else (17, 4)
    side = 5 if upwards else -5
    ImageDraw.Draw(cell).line([(x, tail), (x, tip)], SOFT, 2)
    ImageDraw.Draw(cell).line([(x - 4, tip + side), (x, tip), (x + 4, tip + side)], SOFT, 2)


def _text(cell: Any, at: tuple[float, float], text: str, color: Any, size: int = 15, anchor: str = "la") -> float:
    """Draws; returns where it ends, if it begins at ``at``."""
    from PIL import ImageDraw, ImageFont

    ImageDraw.Draw(cell).text(at, text, color, ImageFont.load_default(size), anchor)
    return at[0] + _length(cell, text, size)


def _length(cell: Any, text: str, size: int) -> float:
    from PIL import ImageDraw, ImageFont

    return ImageDraw.Draw(cell).textlength(text, ImageFont.load_default(size))
