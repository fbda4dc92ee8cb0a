"""Measures clips: each frame is decoded once and shown to all metrics, a chunk at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from vividface_core.errors import InvalidOption, UnreadableVideo, VividFaceError
from vividface_core.faces.detect import load_detector
from vividface_core.metrics.faces import MeasuredFace
from vividface_core.metrics.metric import Chunk, ClipFacts, ClipResult, Meter, Metric, MetricContext
from vividface_core.metrics.pairs import Pair
from vividface_core.runtime.allocator import trim_memory
from vividface_core.runtime.wording import counted
from vividface_core.video.frame import Frame
from vividface_core.video.source import FrameSource, VideoFrames

CHUNK_BYTES, CHUNK_FRAMES = 48 << 20, 16
Progress = Callable[[str, int, int], None]
"""``progress(clip, done, total)`` in frames; may raise to stop."""


class FrameObserver(Protocol):
    """Sees the frames with their figures as they pass, to draw pictures of them."""

    def begin(self, facts: ClipFacts, metrics: Sequence[Metric]) -> None:
        """A clip begins."""

    def on_frames(self, chunk: Chunk, values: Mapping[str, Sequence[float]]) -> None:
        """Its next frames; figures a frame by metric, only those that have any."""

    def finish(self) -> None:
        """The clip has ended."""


@dataclass
class Score:
    """One metric's figure of a clip or of the set.

    Attributes:
        value: ``None``: not measured, ``reason`` says why.
        frames: figures a frame; NaN where a frame has none; empty for metrics of whole clips.
    """

    value: float | None
    reason: str = ""
    notes: tuple[str, ...] = ()
    frames: list[float] = field(default_factory=list)


@dataclass
class ClipScores:
    """All figures of a clip."""

    facts: ClipFacts
    pair: Pair
    scores: dict[str, Score]


@dataclass
class Measurement:
    """All figures of a set of clips. ``scores`` are the set's."""

    metrics: list[Metric]
    clips: list[ClipScores]
    scores: dict[str, Score]


def measure(
    pairs: Sequence[Pair],
    metrics: Sequence[Metric],
    context: MetricContext,
    *,
    progress: Progress = lambda *_: None,
    observers: Sequence[FrameObserver] = (),
) -> Measurement:
    """Measure every clip and the whole set.

    A metric that lacks weights or a library, or fails with a plain reason, is marked so; the others go on.

    Raises:
        InvalidOption: an output and its reference differ in size or in their number of frames.
        UnreadableVideo: as the reader.
    """
    clips: list[ClipScores] = []
    by_metric: dict[str, list[ClipResult]] = {metric.name: [] for metric in metrics}
    # All clips are looked at first: a run of hours shouldn't end at a last clip that doesn't fit.
    sources: list[dict[str, FrameSource]] = [{side: VideoFrames(path) for side, path in _sides(pair)} for pair in pairs]
    for taken in sources:
        _check_sizes(taken)
    facts = [_facts(pair.name, taken, progress) for pair, taken in zip(pairs, sources)]
    for pair, taken, fact in zip(pairs, sources, facts):
        scores, results = _measure(fact, taken, metrics, context, progress, observers)
        clips.append(ClipScores(fact, pair, scores))
        for name, result in results.items():
            by_metric[name].append(result)
    return Measurement(list(metrics), clips, _of_the_set(metrics, clips, by_metric))


def measure_clip(
    name: str,
    sources: dict[str, FrameSource],
    metrics: Sequence[Metric],
    context: MetricContext,
    *,
    progress: Progress = lambda *_: None,
    observers: Sequence[FrameObserver] = (),
) -> tuple[ClipFacts, dict[str, Score], dict[str, ClipResult]]:
    """Measure one clip; ``sources`` by side: ``output``, perhaps ``reference`` and ``source`` (the degraded input)."""
    _check_sizes(sources)
    facts = _facts(name, sources, progress)
    return facts, *_measure(facts, sources, metrics, context, progress, observers)


def _measure(
    facts: ClipFacts,
    sources: dict[str, FrameSource],
    metrics: Sequence[Metric],
    context: MetricContext,
    progress: Progress,
    observers: Sequence[FrameObserver],
) -> tuple[dict[str, Score], dict[str, ClipResult]]:
    meters = _MeterSet(metrics, context, facts)
    for observer in observers:
        observer.begin(facts, metrics)
    for chunk in _chunks(facts, sources, context):
        values = meters.update(chunk)
        for observer in observers:
            observer.on_frames(chunk, values)
        progress(facts.name, chunk.first + len(chunk), facts.frames)
        trim_memory()
    for observer in observers:
        observer.finish()
    return meters.compute()


class _MeterSet:
    """The meters of one clip. One that fails leaves with its reason."""

    def __init__(self, metrics: Sequence[Metric], context: MetricContext, facts: ClipFacts) -> None:
        self._meters: dict[str, Meter] = {}
        self._reasons: dict[str, str] = {}
        self._frames: dict[str, list[float]] = {metric.name: [] for metric in metrics}
        for metric in metrics:
            self._try(metric.name, partial(self._make, metric, context, facts))

    @torch.inference_mode()
    def update(self, chunk: Chunk) -> dict[str, list[float]]:
        values: dict[str, list[float]] = {}
        for name, meter in list(self._meters.items()):
            self._try(name, partial(_take, values, name, meter, chunk))
        for name, row in values.items():
            self._frames[name] += row
        return {name: row for name, row in values.items() if row}

    @torch.inference_mode()
    def compute(self) -> tuple[dict[str, Score], dict[str, ClipResult]]:
        results: dict[str, ClipResult] = {}
        for name, meter in list(self._meters.items()):
            self._try(name, partial(_conclude, results, name, meter))
        return {name: self._score(name, results.get(name)) for name in self._frames}, results

    def _score(self, name: str, result: ClipResult | None) -> Score:
        if result is None:
            return Score(None, self._reasons[name])
        if math.isnan(result.value):
            return Score(
                None, "; ".join(result.notes) or "it has no figure for this clip", result.notes, self._frames[name]
            )
        return Score(result.value, "", result.notes, self._frames[name])

    def _make(self, metric: Metric, context: MetricContext, facts: ClipFacts) -> None:
        self._meters[metric.name] = metric.make(context, facts)

    def _try(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except VividFaceError as error:
            self._reasons[name] = str(error)
            self._meters.pop(name, None)


def _take(values: dict[str, list[float]], name: str, meter: Meter, chunk: Chunk) -> None:
    values[name] = [*map(float, meter.update(chunk))]


def _conclude(results: dict[str, ClipResult], name: str, meter: Meter) -> None:
    results[name] = meter.compute()


def _of_the_set(
    metrics: Sequence[Metric], clips: Sequence[ClipScores], results: dict[str, list[ClipResult]]
) -> dict[str, Score]:
    scores = {}
    for metric in metrics:
        value = metric.aggregate(results[metric.name]) if results[metric.name] else math.nan
        lost = [clip for clip in clips if clip.scores[metric.name].value is None]
        reason = lost[0].scores[metric.name].reason if lost else ""
        if math.isnan(value):
            scores[metric.name] = Score(None, reason or "too few clips")
        else:
            notes = (f"without {len(lost)} of {len(clips)} clips: {reason}",) if lost else ()
            scores[metric.name] = Score(value, "", notes)
    return scores


def _sides(pair: Pair) -> Iterator[tuple[str, Path]]:
    for side in ("output", "reference", "source"):
        if (path := getattr(pair, side)) is not None:
            yield side, path


def _check_sizes(sources: dict[str, FrameSource]) -> None:
    output = sources["output"]
    for source in sources.values():
        if source.size != output.size:
            (width, height), (w, h) = output.size, source.size
            raise InvalidOption(
                f"{output.name} is {width}x{height}, but {source.name} is {w}x{h}; only clips of one size can be "
                "compared. Scale one of them first."
            )


def _facts(name: str, sources: dict[str, FrameSource], progress: Progress) -> ClipFacts:
    output = sources["output"]
    counts = {side: _count(name, source, progress) for side, source in sources.items()}
    for side, source in sources.items():
        if counts[side] != counts["output"]:
            raise InvalidOption(
                f"{output.name} has {counted(counts['output'], 'frame')}, but {source.name} has {counts[side]}; only "
                "clips of one length can be compared. Cut one of them first."
            )
    if not counts["output"]:
        raise UnreadableVideo(f"{output.name} holds no frame that can be decoded.")
    fps = float(output.info.fps) if output.info is not None else 24.0
    return ClipFacts(name, counts["output"], *output.size, fps, "reference" in sources)


def _count(name: str, source: FrameSource, progress: Progress) -> int:
    # What a container declares may be wrong, and a metric that samples the clip leans on the number.
    count = 0
    for count, _ in enumerate(source.read(), start=1):
        progress(name, 0, source.count or count)
    return count


def _chunks(facts: ClipFacts, sources: dict[str, FrameSource], context: MetricContext) -> Iterator[Chunk]:
    detector = context.once("face detector", lambda: load_detector("auto", device=context.device))
    faces, sides = MeasuredFace(detector), list(sources)
    size = min(CHUNK_FRAMES, max(1, CHUNK_BYTES // (facts.width * facts.height * 12 * len(sides))))
    waiting: list[tuple[Frame, ...]] = []
    first = 0
    for frames in zip_longest(*(sources[side].read() for side in sides)):
        waiting.append(frames)
        if len(waiting) == size or first + len(waiting) == facts.frames:
            stacks = dict(zip(sides, (_eight_bits(column, context) for column in zip(*waiting))))
            yield Chunk(first, stacks["output"], stacks.get("reference"), faces, stacks.get("source"))
            first, waiting = first + len(waiting), []


def _eight_bits(frames: Sequence[Frame], context: MetricContext) -> Tensor:
    return torch.stack([frame.rgb() for frame in frames]).mul_(255).round_().div_(255).to(context.device)
