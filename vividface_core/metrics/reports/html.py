"""A measurement as one HTML file that needs nothing beside it: tables, curves, worst frames, slices over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from vividface_core.metrics.measure import ClipScores, Measurement, Score
from vividface_core.metrics.metric import Metric, Side
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
from vividface_core.metrics.reports.worst_frames import LABELS, SIDES, Encoded, WorstByMetric, WorstFrame, WorstFrames
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
    title = _title(measurement)
    style, script = (Path(__file__).with_name(f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    body = "\n".join((
        _header(measurement, title),
        _tiles(measurement),
        _table(measurement),
        _remarks(measurement),
        *_clips(measurement, collector),
        _protocols(measurement.metrics),
        f"<footer>Made with vividface {escape(tool_version())}.</footer>",
    ))  # fmt: skip
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)} – metrics</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _title(measurement: Measurement) -> str:
    clips = measurement.clips
    return clips[0].facts.name if len(clips) == 1 else counted(len(clips), "clip")


def _header(measurement: Measurement, title: str) -> str:
    clips = measurement.clips
    frames = sum(clip.facts.frames for clip in clips)
    truth = "against the truth" if clips[0].facts.has_reference else "without a truth"
    facts = _size(clips[0]) if len(clips) == 1 else counted(frames, "frame")
    return (
        f'<header><p class="kicker">Metrics</p><h1>{escape(title)}</h1><p class="facts">{facts}, measured {truth}</p>'
        f"</header>"
    )


def _size(clip: ClipScores) -> str:
    facts = clip.facts
    return f"{facts.width} × {facts.height}, {counted(facts.frames, 'frame')}, {facts.fps:.4g} frames a second"


def _tiles(measurement: Measurement) -> str:
    """The set's figures."""
    of = "" if len(measurement.clips) == 1 else f"<h2>The {escape(set_name(measurement))}</h2>"
    tiles = "".join(
        f'<div class="tile" title="{escape(metric.name)}"><span>{_head(metric)}</span>'
        f"<b>{figure(metric, measurement.scores[metric.name].value)}</b></div>"
        for metric in measurement.metrics if measurement.scores[metric.name].value is not None
    )  # fmt: skip
    return f'<section>{of}<div class="tiles">{tiles}</div></section>' if tiles else ""


def _head(metric: Metric) -> str:
    title = escape(head(metric).removesuffix(metric.arrow).strip())
    word = "higher is better" if metric.higher_is_better else "lower is better"
    return f'{title}&nbsp;<i class="arrow" title="{word}">{metric.arrow}</i>'


def _table(measurement: Measurement) -> str:
    if len(measurement.clips) == 1:
        return ""
    metrics = columns(measurement)
    heads = "".join(f'<th aria-sort="none"><button type="button">{_head(m)}</button></th>' for m in metrics)
    rows = "".join(
        f'<tr><th data-value="{number}"><a href="#clip-{number}">{escape(clip.facts.name)}</a></th>'
        f"{_cells(metrics, clip.scores)}</tr>"
        for number, clip in enumerate(measurement.clips)
    )
    last = f"<tr><th>{escape(set_name(measurement))}</th>{_cells(metrics, measurement.scores)}</tr>"
    return (
        '<section><h2>Clips</h2><div class="wide"><table class="sortable"><thead><tr><th aria-sort="ascending">'
        f'<button type="button">clip</button></th>{heads}</tr></thead><tbody>{rows}</tbody><tfoot>{last}</tfoot>'
        '</table></div><p class="caption">A click on a column’s head sorts by it.</p></section>'
    )


def _cells(metrics: Sequence[Metric], scores: dict[str, Score]) -> str:
    return "".join(_cell(metric, scores[metric.name]) for metric in metrics)


def _cell(metric: Metric, score: Score) -> str:
    if score.value is None:
        return f'<td class="none" title="{escape(score.reason)}">{NONE}</td>'
    noted = f' title="{escape("; ".join(score.notes))}"' if score.notes else ""
    return f'<td data-value="{score.value!r}"{noted}>{figure(metric, score.value)}</td>'


def _remarks(measurement: Measurement) -> str:
    missing = "".join(f"<li><b>{escape(named(lost))}</b> not measured: {escape(reason)}</li>"
                      for reason, lost in not_measured(measurement).items())  # fmt: skip
    noted = "".join(f"<li><b>{escape(m.title)}</b>: {escape(note)}</li>" for m, note in notes(measurement))
    return f'<section><ul class="remarks">{missing}{noted}</ul></section>' if missing or noted else ""


def _clips(measurement: Measurement, collector: ReportCollector) -> Iterator[str]:
    for number, clip in enumerate(measurement.clips):
        worst, across = collector.worst.clips[number], collector.slices.clips[number]
        titled = f"<h2>{escape(clip.facts.name)}</h2>" if len(measurement.clips) > 1 else ""
        yield (
            f'<section class="clip" id="clip-{number}">{titled}{_origin(clip, len(measurement.clips) > 1)}'
            f"{_curves(measurement.metrics, clip, worst)}{_worst(measurement.metrics, worst)}"
            f"{_slice(clip, across)}</section>"
        )


def _origin(clip: ClipScores, sized: bool) -> str:
    paths = "".join(
        f'<dt class="{LABELS[side]}">{LABELS[side]}</dt><dd>{escape(str(path))}</dd>'
        for side in SIDES if (path := getattr(clip.pair, side)) is not None
    )  # fmt: skip
    size = f'<p class="facts">{_size(clip)}</p>' if sized else ""
    return f'{size}<dl class="origin">{paths}</dl>'


def _curves(metrics: Sequence[Metric], clip: ClipScores, worst: WorstByMetric) -> str:
    shown = [metric for metric in metrics if clip.scores[metric.name].frames]
    if not shown:
        return ""
    marks = sorted(moment.frame for moment in worst.moments)
    step = charts.stride(clip.facts.frames)
    thinned = f" Of every {step} frames the worst is drawn." if step > 1 else ""
    marked = " The triangles mark the worst frames, shown below." if marks else ""
    figures = "".join(_curve(metric, clip, marks) for metric in shown)
    return (
        f'<h3>Frame by frame</h3><div class="curves">{figures}</div><p class="caption">Figures of the output over '
        f"the frame’s number; point at a curve to read them.{marked}{thinned}</p>"
    )


def _curve(metric: Metric, clip: ClipScores, marks: Sequence[int]) -> str:
    score = clip.scores[metric.name]
    values = [value * metric.display_scale for value in score.frames]
    curve = Curve("output", "", values, "min" if metric.higher_is_better else "max")
    chart = charts.svg([curve], clip.facts.frames, f"{metric.title} of each frame", marks, metric.digits)
    return (
        f'<figure class="curve" data-metric="{escape(metric.name)}"><figcaption><b>{_head(metric)}</b>'
        f'<output data-rest="clip {figure(metric, score.value)}">clip {figure(metric, score.value)}</output>'
        f"</figcaption>{chart}</figure>"
    )


def _worst(metrics: Sequence[Metric], worst: WorstByMetric) -> str:
    if not worst.moments:
        return ""
    judge = next(metric for metric in metrics if metric.name == worst.judge)
    rows = "".join(_moment(metrics, moment, number == 0) for number, moment in enumerate(worst.moments))
    return (
        f'<h3>Worst frames</h3>{rows}<p class="caption">The frames with the worst {escape(judge.title)}, at least '
        f"{worst.apart} frames apart, the worst first.</p>"
    )


def _moment(metrics: Sequence[Metric], moment: WorstFrame, named: bool) -> str:
    figures = " ".join(
        f"<span>{escape(head(metric).removesuffix(metric.arrow).strip())} <b>{text}</b></span>"
        for metric in metrics if (text := figure(metric, moment.values.get(metric.name))) != NONE
    )  # fmt: skip
    return (
        f'<figure class="moment"><div class="row">{_labelled(moment.pictures, f"frame {moment.frame}", named)}</div>'
        f"<figcaption><b>Frame {moment.frame}</b> {figures}</figcaption></figure>"
    )


def _labelled(pictures: dict[Side, Encoded], what: str, named: bool = True, style: str = "") -> str:
    """Pictures side by side, under their names if ``named``."""
    return "".join(
        f'<div class="side">{f"""<span class="{LABELS[side]}">{LABELS[side]}</span>""" if named else ""}'
        f"{_picture(pictures[side], f'{LABELS[side]}, {what}', style)}</div>"
        for side in SIDES if side in pictures
    )  # fmt: skip


def _picture(picture: Encoded, alt: str, style: str = "") -> str:
    styled = f' style="{style}"' if style else ""
    return f'<img src="{picture.uri}" width="{picture.width}" height="{picture.height}" alt="{escape(alt)}"{styled}>'


def _slice(clip: ClipScores, across: Slice) -> str:
    rows = next(iter(across.lines.values())).height
    tall = rows * max(1, -(-SHORTEST // rows))
    where = "through the eyes" if across.at_face else "in the middle: no face was found in the first frames"
    every = f"one frame in {across.every}, " if across.every > 1 else ""
    lines = _labelled(across.lines, f"row {across.row} over time", style=f"height:{tall}px")
    place = (
        f'<div class="side place"><span>row {across.row}</span><div>{_picture(across.place, "where the line lies")}'
        f'<i style="top:{100 * across.share:.4g}%"></i></div></div>'
    )
    return (
        f'<h3>One line over time</h3><figure class="slice"><div class="row">{place}{lines}</div>'
        f'<p class="caption">The line of pixels {where}, {every}time running down: frame 0 on top, frame '
        f"{clip.facts.frames - 1} at the bottom. What stands still is a straight stroke, what moves a smooth curve; "
        f"frayed edges and stripes are flicker.</p></figure>{_change(clip, across)}"
    )


def _change(clip: ClipScores, across: Slice) -> str:
    if clip.facts.frames < 2:
        return ""
    curves = [Curve(LABELS[side], LABELS[side], values) for side, values in across.change.items()]
    chart = charts.svg(curves, clip.facts.frames, "change from frame to frame")
    legend = " ".join(f'<span class="{curve.kind}">{curve.label}</span>' for curve in curves)
    truth = (
        "Where the output lies above the truth it flickers; where it lies below, it smooths over what really moved."
        if "reference" in across.change else "Without a truth, motion and flicker can’t be told apart here."
    )  # fmt: skip
    return (
        f'<figure class="curve change"><figcaption><b>Change from frame to frame</b> <span class="legend">{legend}'
        f'</span><output data-rest=""></output></figcaption>{chart}</figure><p class="caption">Mean absolute '
        f"difference to the frame before, in steps of 8 bits, over the whole frame. {truth}</p>"
    )


def _protocols(metrics: Sequence[Metric]) -> str:
    rows = "".join(
        f"<dt>{escape(m.title)} <code>{escape(m.name)}</code></dt><dd>{escape(m.protocol)}{_weights(m)}</dd>"
        for m in metrics
    )
    return f'<section><h2>Protocols</h2><dl class="protocols">{rows}</dl></section>'


def _weights(metric: Metric) -> str:
    files = "; ".join(f"{file.name} ({file.licence})" for file in metric.weights)
    return f' <span class="weights">Weights: {escape(files)}.</span>' if files else ""
