"""Curves of figures over a clip's frames: their axes, and what of them is drawn as SVG.

A curve stands in the SVG as it was measured: ``x`` is the frame's number and ``y`` the figure, so that the page's
script, and anyone else, can read the figures back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MOST_POINTS = 2000
"""Of a longer curve the worst of every so many frames are drawn."""
Points = list[tuple[int, float]]


@dataclass(frozen=True)
class Curve:
    """Figures a frame, NaN where there is none.

    Attributes:
        kind: what it is of; the class of its colour: ``output``, ``input`` or ``truth``.
        label: for the readout.
        worst: ``max`` or ``min``: what is kept where there are too many.
    """

    kind: str
    label: str
    values: Sequence[float]
    worst: str = "max"

    @property
    def points(self) -> Points:
        """Frame and figure, NaN included, at most :data:`MOST_POINTS`."""
        step = stride(len(self.values))
        bins = (range(first, min(first + step, len(self.values))) for first in range(0, len(self.values), step))
        return [(place, self.values[place]) for place in map(self._worst, bins)]

    def _worst(self, places: range) -> int:
        known = [place for place in places if not math.isnan(self.values[place])]
        pick = max if self.worst == "max" else min
        return pick(known, key=lambda place: self.values[place], default=places[0])


def stride(frames: int) -> int:
    """How many frames a point of a curve stands for."""
    return -(-frames // MOST_POINTS)


def ticks(low: float, high: float, about: int = 3) -> list[float]:
    """Round numbers, evenly apart; the first is not above ``low`` and the last not below ``high``."""
    span = high - low or max(abs(high) * 0.02, 1e-9)
    rough = span / about
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(size * unit for size in (1, 2, 2.5, 5, 10) if size * unit >= rough * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [number * step for number in range(first, last + 1)]


def decimals(marks: Sequence[float]) -> int:
    """Digits behind the point that tell ``marks`` apart."""
    step = marks[1] - marks[0]
    return next((n for n in range(9) if abs(round(step, n) - step) < step * 1e-6), 9)


def frame_ticks(frames: int, about: int = 7) -> list[int]:
    """Numbers of frames for the axis."""
    last = frames - 1
    if last < 1:
        return [0]
    step = max(1, round(ticks(0, last, about)[1]))
    return [*range(0, last + 1, step)]


def bounds(curves: Sequence[Curve]) -> tuple[float, float] | None:
    """Lowest and highest figure; ``None``: there is none."""
    known = [value for curve in curves for value in curve.values if not math.isnan(value)]
    return (min(known), max(known)) if known else None


def chart(
    curves: Sequence[Curve], frames: int, title: str, marks: Sequence[int] = (), digits: int = 2
) -> dict[str, Any] | None:
    """What the report's template draws: axis labels in HTML around an SVG that stretches to any size. ``None``: there
    is no figure.

    Args:
        frames: of the clip; the horizontal axis.
        title: what it shows, for those who can't see it.
        marks: frames to be pointed out below the curve.
        digits: behind the point in the readout.
    """
    found = bounds(curves)
    if found is None:
        return None
    scale, width = ticks(*found), max(1, frames - 1)
    low, high, places = scale[0], scale[-1], decimals(scale)
    across = {frame: f"{100 * frame / width:.4g}" for frame in (*marks, *frame_ticks(frames))}
    return {
        "frames": frames,
        "digits": digits,
        "title": title,
        "width": width,
        "height": _short(high - low),
        "high": _short(high),
        "marks": [across[frame] for frame in marks],
        "scale": [(f"{100 * (high - value) / (high - low):.4g}", f"{value:.{places}f}") for value in scale],
        "ticks": [(across[frame], frame) for frame in frame_ticks(frames)],
        "paths": [(curve.kind, curve.label, _path(curve.points)) for curve in curves],
    }


def _path(points: Points) -> str:
    """A stroke to every figure; a gap where there is none. A figure between two gaps is a dot."""
    parts, gap = [], True
    for number, (frame, value) in enumerate(points):
        if math.isnan(value):
            gap = True
            continue
        alone = gap and (number + 1 == len(points) or math.isnan(points[number + 1][1]))
        parts.append(f"{'M' if gap else 'L'}{frame} {_short(value)}{'Z' if alone else ''}")
        gap = False
    return "".join(parts)


def _short(value: float) -> str:
    return f"{value:.7g}"
