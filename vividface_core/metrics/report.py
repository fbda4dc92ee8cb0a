"""A measurement as JSON, CSV, Markdown and plain text."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib import metadata
from typing import Any

from vividface_core.metrics.measure import ClipScores, Measurement, Score
from vividface_core.metrics.metric import Metric

FORMAT, VERSION = "vividface-metrics", 1
"""What a JSON report begins with; the version rises when a reader of it would have to change."""
NONE = "–"
CLIP_ROWS = 20
"""Up to so many clips have rows of their own in the plain table."""


def head(metric: Metric) -> str:
    """Of a column: title, what the figures are multiplied by, and which way is up."""
    return f"{metric.title}{f' ×{metric.display_scale:g}' if metric.display_scale != 1 else ''} {metric.arrow}"


def figure(metric: Metric, value: float | None) -> str:
    """As tables show it."""
    return NONE if value is None or math.isnan(value) else f"{value * metric.display_scale:.{metric.digits}f}"


def not_measured(measurement: Measurement) -> dict[str, list[Metric]]:
    """Metrics without a figure of the set, by the reason."""
    reasons: dict[str, list[Metric]] = {}
    for metric in measurement.metrics:
        if (score := measurement.scores[metric.name]).value is None:
            reasons.setdefault(score.reason, []).append(metric)
    return reasons


def columns(measurement: Measurement) -> list[Metric]:
    """Metrics with a figure anywhere; tables leave the others out, which are listed with their reasons."""
    rows = [measurement.scores, *(clip.scores for clip in measurement.clips)]
    return [metric for metric in measurement.metrics if any(row[metric.name].value is not None for row in rows)]


def named(metrics: Sequence[Metric]) -> str:
    """For sentences: titles with the names that ``--only`` takes."""
    return ", ".join(f"{metric.title} ({metric.name})" for metric in metrics)


def notes(measurement: Measurement) -> Iterator[tuple[Metric, str]]:
    """What a reader of the figures should know, of the set and of single clips."""
    for metric in measurement.metrics:
        for note in measurement.scores[metric.name].notes:
            yield metric, note
        for clip in measurement.clips:
            score = clip.scores[metric.name]
            for note in score.notes if score.value is not None else ():
                yield metric, f"{clip.facts.name}: {note}"


def set_name(measurement: Measurement) -> str:
    """What the last row of a table is called."""
    return f"set of {len(measurement.clips)}"


def as_json(measurement: Measurement) -> str:
    """Everything: metrics with their protocols, every clip's figures and those of its frames, the set's figures.

    Figures are as measured, not multiplied by ``display_scale``; ``null`` where there is none.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "tool": f"vividface {tool_version()}",
        "metrics": [_metric(metric) for metric in measurement.metrics],
        "clips": [_clip(clip) for clip in measurement.clips],
        "set": {name: _score(score) for name, score in measurement.scores.items()},
    }
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
    # A list of numbers is one line. A line break stands in no JSON text, so that this touches nothing else.
    return re.sub(r"\[\n([-+\d.eEnul,\s]+)\]", lambda row: f"[{' '.join(row[1].split())}]", text) + "\n"


def _metric(metric: Metric) -> dict[str, Any]:
    return {
        "name": metric.name,
        "title": metric.title,
        "better": "higher" if metric.higher_is_better else "lower",
        "reference": metric.reference,
        "color": metric.color,
        "times": metric.display_scale,
        "protocol": metric.protocol,
        "weights": [asdict(file) for file in metric.weights],
    }


def _clip(clip: ClipScores) -> dict[str, Any]:
    facts, pair = clip.facts, clip.pair
    paths = {
        side: None if (path := getattr(pair, side)) is None else str(path) for side in ("output", "reference", "source")
    }
    scores = {
        name: {**_score(score), "frames": [_number(value) for value in score.frames]}
        for name, score in clip.scores.items()
    }
    return {
        "name": facts.name,
        **paths,
        "frames": facts.frames,
        "width": facts.width,
        "height": facts.height,
        "fps": facts.fps,
        "scores": scores,
    }


def _score(score: Score) -> dict[str, Any]:
    return {"value": score.value, "reason": score.reason or None, "notes": list(score.notes)}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def as_csv(measurement: Measurement) -> str:
    """A row a clip, a column a metric, figures as measured; the last row is the set."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["clip", "frames", "width", "height", "fps", *(metric.name for metric in measurement.metrics)])
    for clip in measurement.clips:
        facts = clip.facts
        writer.writerow(
            [
                facts.name,
                facts.frames,
                facts.width,
                facts.height,
                f"{facts.fps:g}",
                *_cells(measurement.metrics, clip.scores),
            ]
        )
    frames = sum(clip.facts.frames for clip in measurement.clips)
    writer.writerow(["set", frames, "", "", "", *_cells(measurement.metrics, measurement.scores)])
    return out.getvalue()


def _cells(metrics: Sequence[Metric], scores: dict[str, Score]) -> list[str]:
    row = (scores[metric.name] for metric in metrics)
    return [f"not measured: {score.reason}" if score.value is None else repr(score.value) for score in row]


def as_markdown(measurement: Measurement, set_row: bool = True) -> str:
    """The table, what is missing and why, and by which protocols it was measured.

    Args:
        set_row: whether several clips are a set, whose figures stand below theirs.
    """
    metrics = columns(measurement)
    lines = _markdown_row("clip", map(head, metrics))
    lines += "|---|" + "---:|" * len(metrics) + "\n"
    for clip in measurement.clips:
        lines += _markdown_row(clip.facts.name, _figures(metrics, clip.scores))
    if set_row and len(measurement.clips) > 1:
        bold = (f"**{cell}**" for cell in _figures(metrics, measurement.scores))
        lines += _markdown_row(f"**{set_name(measurement)}**", bold, plain=True)
    remarks = [f"{named(lost)} not measured: {reason}" for reason, lost in not_measured(measurement).items()]
    remarks += [f"{metric.title}: {note}" for metric, note in notes(measurement)]
    lines += _markdown_list("", remarks)
    return lines + _markdown_list("Protocols:\n\n", [f"**{m.title}** (`{m.name}`): {m.protocol}" for m in metrics])


def _figures(metrics: Sequence[Metric], scores: dict[str, Score]) -> list[str]:
    return [figure(metric, scores[metric.name].value) for metric in metrics]


def _markdown_row(name: str, cells: Any, plain: bool = False) -> str:
    return "| " + " | ".join([name if plain else _markdown_name(name), *cells]) + " |\n"


def _markdown_name(name: str) -> str:
    """A file's name may hold what Markdown or HTML would take for its own."""
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", " ".join(name.split())).replace("&", "&amp;")


def _markdown_list(title: str, rows: Sequence[str]) -> str:
    if not rows:
        return ""
    safe = (" ".join(row.split()).replace("&", "&amp;").replace("<", "&lt;") for row in rows)
    return f"\n{title}" + "".join(f"- {row}\n" for row in safe)


def as_text(measurement: Measurement, width: int | None = None) -> str:
    """For a terminal: the clips, if they aren't many, the set, and what is missing and why.

    Args:
        width: columns of the terminal; a wider table is cut into several below each other.
    """
    metrics = columns(measurement)
    rows = [["", *map(head, metrics)]]
    if len(measurement.clips) <= CLIP_ROWS:
        rows += [[clip.facts.name, *_figures(metrics, clip.scores)] for clip in measurement.clips]
    if len(measurement.clips) != 1:
        rows.append([set_name(measurement), *_figures(metrics, measurement.scores)])
    blocks = ["\n\n".join(_text_table(part) for part in _parts(rows, width))] if metrics else []
    blocks += [f"{named(lost)} not measured: {reason}" for reason, lost in not_measured(measurement).items()]
    blocks += [f"{metric.title}: {note}" for metric, note in notes(measurement)]
    return "\n".join(blocks)


def _parts(rows: list[list[str]], width: int | None) -> Iterator[list[list[str]]]:
    """The table's columns in as many parts as ``width`` asks for, each with the clips' names."""
    wide = [max(map(len, column)) for column in zip(*rows)]
    first = 1
    while first < len(wide):
        last, room = first + 1, (width or 1 << 30) - wide[0] - 2 - wide[first]
        while last < len(wide) and room >= wide[last] + 2:
            room, last = room - wide[last] - 2, last + 1
        yield [[row[0], *row[first:last]] for row in rows]
        first = last


def _text_table(rows: list[list[str]]) -> str:
    wide = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(
        f"{row[0]:<{wide[0]}}" + "".join(f"  {cell:>{space}}" for cell, space in zip(row[1:], wide[1:])) for row in rows
    )


def tool_version() -> str:
    """Of this package."""
    try:
        return metadata.version("vividface")
    except metadata.PackageNotFoundError:
        return "(not installed)"
