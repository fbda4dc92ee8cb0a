"""A measurement as one HTML file that needs nothing beside it: tables, curves, worst frames, slices over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vividface_core.io.templates import render
from vividface_core.metrics.measure import ClipScores, Measurement
from vividface_core.metrics.metric import Metric
from vividface_core.metrics.report import (
    NONE,
    columns,
    figure,
    head,
    named,
    not_measured,
    notes,
    set_name,
    tool_version,
)
from vividface_core.metrics.reports import charts
from vividface_core.metrics.reports.charts import Curve
from vividface_core.metrics.reports.slices import Slice, Slices
from vividface_core.metrics.reports.worst_frames import LABELS, SIDES, WorstByMetric, WorstFrames
from vividface_core.runtime.wording import counted

ROOM = 6 << 20
"""Bytes of all pictures of a report together, about; each clip has its part, at most a quarter."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""The browser is to refuse whatever isn't in the file."""
SHORTEST = 150
"""Pixels: slices of few frames are stretched to this height, every row alike."""


class ReportCollector:
    """The observers that a report's pictures come from, for so many clips."""

    def __init__(self, clips: int) -> None:
        room = ROOM // max(4, clips)
        self.worst, self.slices = WorstFrames(room=room * 2 // 3), Slices(room=room // 3)

    @property
    def observers(self) -> tuple[WorstFrames, Slices]:
        """For :func:`vividface_core.metrics.measure.measure`."""
        return self.worst, self.slices


def page(measurement: Measurement, collector: ReportCollector) -> str:
    """The file's text."""
    clips, metrics = measurement.clips, measurement.metrics
    style, script = (Path(__file__).with_name(f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return render(
        Path(__file__).with_name("report.html"),
        policy=POLICY,
        style=style,
        script=script,
        title=clips[0].facts.name if len(clips) == 1 else counted(len(clips), "clip"),
        clips=clips,
        metrics=metrics,
        frames=sum(clip.facts.frames for clip in clips),
        scores=measurement.scores,
        set_name=set_name(measurement),
        tiles=[metric for metric in metrics if measurement.scores[metric.name].value is not None],
        columns=columns(measurement),
        missing=not_measured(measurement),
        noted=list(notes(measurement)),
        parts=[_part(metrics, *part) for part in zip(clips, collector.worst.clips, collector.slices.clips)],
        version=tool_version(),
        sides=SIDES,
        labels=LABELS,
        none_sign=NONE,
        figure=figure,
        named=named,
        label=_label,
        counted=counted,
        stride=charts.stride,
        tall=_tall,
    )


def _label(metric: Metric) -> str:
    return head(metric).removesuffix(metric.arrow).strip()


def _part(metrics: Sequence[Metric], clip: ClipScores, worst: WorstByMetric, across: Slice) -> tuple[Any, ...]:
    """What the page shows of a clip: its figures, worst frames, the metric they were chosen by, slices and charts."""
    marks = sorted(moment.frame for moment in worst.moments)
    curves = [(metric, _curve(metric, clip, marks)) for metric in metrics if clip.scores[metric.name].frames]
    judge = next((metric for metric in metrics if metric.name == worst.judge), None)
    changes = [Curve(LABELS[side], LABELS[side], values) for side, values in across.change.items()]
    change = charts.chart(changes, clip.facts.frames, "change from frame to frame")
    return clip, worst, judge, across, curves, change


def _curve(metric: Metric, clip: ClipScores, marks: Sequence[int]) -> dict[str, Any] | None:
    values = [value * metric.display_scale for value in clip.scores[metric.name].frames]
    curve = Curve("output", "", values, "min" if metric.higher_is_better else "max")
    return charts.chart([curve], clip.facts.frames, f"{metric.title} of each frame", marks, metric.digits)


def _tall(across: Slice) -> int:
    rows = next(iter(across.lines.values())).height
    return rows * max(1, -(-SHORTEST // rows))
