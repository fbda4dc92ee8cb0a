"""Metrics."""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import comfy.model_management as management
from comfy_api.latest import io, ui

from vividface_core.errors import InvalidOption
from vividface_core.metrics.measure import ClipScores, Measurement, measure_clip
from vividface_core.metrics.metric import Metric, MetricContext
from vividface_core.metrics.pairs import Pair
from vividface_core.metrics.registry import METRICS, choose
from vividface_core.metrics.report import as_markdown
from vividface_core.metrics.reports.plot import plot

from .bridge.paths import metric_folders
from .bridge.progress import ShareBar
from .bridge.schema import schema
from .bridge.video import frames_of

EITHER = [io.Video, io.Image]


class Metrics(io.ComfyNode):
    """How good a video is, in figures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="VividFaceMetrics",
            display_name="Metrics",
            description="Measures a video or an image batch, with or without a reference, and shows curves over its "
            "frames. Weights that some metrics need are looked for in models/vividface/metrics; none is downloaded.",
            search_aliases=["psnr", "ssim", "lpips", "quality metrics", "measure", "benchmark", "evaluate"],
            inputs=[
                io.MultiType.Input("output", EITHER, tooltip="What is measured."),
                io.String.Input(
                    "metrics",
                    default="",
                    tooltip="Names with commas, or nothing for the usual ones: those marked * only when "
                    f"named. {', '.join(map(_offered, METRICS.values()))}.",
                ),
                io.MultiType.Input(
                    "reference",
                    EITHER,
                    optional=True,
                    tooltip="The truth, of the same size and length. Without it only some metrics can be measured.",
                ),
                io.MultiType.Input(
                    "source",
                    EITHER,
                    optional=True,
                    tooltip="What the output was restored from, of the same size and length: it is "
                    "measured too, to be compared.",
                ),
            ],
            outputs=[
                io.String.Output(
                    "table", display_name="table", tooltip="All figures with their protocols, as Markdown."
                ),
                io.String.Output(
                    "values",
                    display_name="values",
                    tooltip="All figures as JSON: by output and input, then by metric; null where there is none.",
                ),
                io.Float.Output(
                    "value",
                    display_name="value",
                    tooltip="The output's figure by the metric that is named first, or by the first one "
                    "measured if none is named; NaN where there is none.",
                ),
                io.Image.Output("plot", display_name="plot", tooltip="A curve over the frames for each metric."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, metrics: str) -> bool | str:
        try:
            choose(_names(metrics or ""), has_reference=True)
        except InvalidOption as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, output: Any, metrics: str, reference: Any = None, source: Any = None) -> io.NodeOutput:
        names, bar = _names(metrics), ShareBar(cls.hidden.unique_id)
        chosen = _chosen(names, reference is not None)
        context = MetricContext(management.get_torch_device(), metric_folders())
        given = {"input": source, "output": output}
        given = {name: one for name, one in given.items() if one is not None}
        clips = {}
        for number, (name, one) in enumerate(given.items()):
            progress = partial(_told, bar, number, len(given))
            clips[name] = _measured(name, one, reference, chosen, context, progress)
        scores = {name: clip.scores for name, clip in reversed(clips.items())}
        table = as_markdown(Measurement(chosen, list(clips.values()), scores["output"]), set_row=False)
        values = {name: {key: score.value for key, score in own.items()} for name, own in scores.items()}
        curves = plot(chosen, scores)[None]
        shown = {**ui.PreviewImage(curves, cls=cls).as_dict(), "text": (table,)}
        return io.NodeOutput(table, json.dumps(values), _first(values["output"], names), curves, ui=shown)


def _offered(metric: Metric) -> str:
    return metric.name if metric.default else f"{metric.name}*"


def _names(metrics: str) -> list[str] | None:
    return [name for name in (piece.strip() for piece in metrics.split(",")) if name] or None


def _chosen(names: list[str] | None, has_reference: bool) -> list[Metric]:
    """
    Raises:
        InvalidOption: a metric needs a reference, and none is connected; or there is no such metric.
    """
    chosen = choose(names, True)
    lost = [metric for metric in chosen if metric.reference == "needed" and not has_reference]
    if names is not None and lost:
        raise InvalidOption(
            f"{', '.join(metric.name for metric in lost)} can't be measured without a reference: "
            "connect the true video to 'reference'."
        )
    return [metric for metric in chosen if metric not in lost]


def _measured(
    name: str, given: Any, reference: Any, metrics: list[Metric], context: MetricContext, progress: Any
) -> ClipScores:
    with ExitStack() as stack:
        sources: dict[str, Any] = {"output": stack.enter_context(frames_of(given))}
        if reference is not None:
            sources["reference"] = stack.enter_context(frames_of(reference))
        for side, frames in sources.items():
            frames.name = f"'{name if side == 'output' else side}'"  # as errors call it
        facts, scores, _ = measure_clip(name, sources, metrics, context, progress=progress)
    return ClipScores(facts, Pair(name, Path(name)), scores)


def _told(bar: ShareBar, clip: int, clips: int, _: str, done: int, total: int) -> None:
    bar((clip + done / total) / clips)


def _first(values: dict[str, float | None], names: list[str] | None) -> float:
    value = values[names[0]] if names else next((one for one in values.values() if one is not None), None)
    return float("nan") if value is None else value
