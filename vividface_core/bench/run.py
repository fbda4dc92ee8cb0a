"""Runs a benchmark: each clip is degraded once, restored by each restorer, and measured.

Everything lies in one folder: ``degraded/CLIP.mkv``, ``restored/RESTORER/CLIP.mkv`` (lossless), ``reports/``. A second
run with the same request keeps what is finished; another request in the same folder is refused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

from vividface_core.bench.sets import DataSet
from vividface_core.errors import InvalidOption
from vividface_core.io.atomic import write_json
from vividface_core.io.output_guard import Source, Target, check_paths, unrelated
from vividface_core.metrics.measure import FrameObserver, Measurement, measure
from vividface_core.metrics.metric import Metric, MetricContext
from vividface_core.metrics.pairs import Pair, pair_up
from vividface_core.metrics.registry import choose
from vividface_core.pipeline.restore import RestoreOptions, Resuming, restore_video
from vividface_core.restorers.base import Restorer
from vividface_core.runtime.callbacks import Callbacks
from vividface_core.runtime.cpu_types import emulation_notice
from vividface_core.runtime.devices import pick_device, pick_dtype
from vividface_core.video.clips import clips_in
from vividface_core.video.source import VideoFrames
from vividface_core.weights import load_restorer, where

INPUT = "degraded input"
RECORD = "bench.json"
"""What was asked for; it tells that a folder is a benchmark's."""
TIMED_SIDE = 512
"""Side of the clip that the papers time."""


@dataclass(frozen=True)
class BenchRequest:
    """What is to be run.

    Attributes:
        data: the data set's folder.
        folder: where everything goes.
        models: names or paths of checkpoints.
        others: outputs of other programs for the same degraded clips, by name; they are measured only.
        degraded: ``data`` holds degraded clips without a truth.
        preset, seed: of the degradation; each clip draws by its own name.
        whole_frame: the clips are face crops, the papers' protocol; otherwise faces are looked for.
        metrics: names; ``None``: the usual ones, which all the tables' are.
        limit: only so many clips.
        timed_frames: length of the clip of 512×512 that each model is timed with; 0: not timed.
    """

    set: DataSet
    data: Path
    folder: Path
    models: tuple[str, ...] = ("vividface-nano",)
    others: dict[str, Path] = field(default_factory=dict)
    degraded: bool = False
    preset: str = "vividface"
    seed: int = 0
    whole_frame: bool = True
    metrics: tuple[str, ...] | None = None
    limit: int | None = None
    timed_frames: int = 81
    device: str = "auto"
    dtype: str = "auto"
    models_folders: tuple[Path, ...] = ()
    weight_folders: tuple[Path, ...] = ()

    def recipe(self) -> dict[str, Any]:
        """What decides the degraded and restored clips, apart from the restorer."""
        return {
            "data": str(self.data.resolve()),
            "degraded": self.degraded,
            "preset": self.preset,
            "seed": self.seed,
            "whole_frame": self.whole_frame,
        }


@dataclass
class BenchRow:
    """One restorer's measurement. ``seconds`` for ``timed_frames``; ``None``: not timed."""

    name: str
    measurement: Measurement
    seconds: float | None = None
    steps: int | None = None
    device: str = ""

    def values(self) -> dict[str, float | None]:
        """The set's figures by metric, with what the run tells."""
        scores = {name: score.value for name, score in self.measurement.scores.items()}
        return {**scores, "seconds": self.seconds, "steps": self.steps}


class BenchCallbacks:
    """Receives a benchmark's news; may raise to stop it."""

    def clip(self, work: str, name: str, done: int, total: int) -> None:
        """``work`` (degrading, a restorer's name, measuring) begins clip ``name``."""

    def notice(self, text: str) -> None:
        """Something the user should know."""


Observers = Callable[[str, int], Sequence[FrameObserver]]
"""Who looks on while the outputs of a restorer are measured: by its name and the number of clips."""


def run_bench(
    request: BenchRequest, callbacks: BenchCallbacks | None = None, observers: Observers = lambda name, clips: ()
) -> list[BenchRow]:
    """Run a benchmark; the first row is the degraded input itself.

    Args:
        observers: see :data:`Observers`.

    Raises:
        InvalidOption: the folder holds another request's results, or a metric is at fault; before any work.
        VividFaceError: as degrading, restoring and measuring.
    """
    callbacks = callbacks or BenchCallbacks()
    metrics = choose(request.metrics, has_reference=not request.degraded)
    clips = _clips(request, callbacks)
    _check_paths(request, clips)
    _check_folder(request)
    inputs = clips if request.degraded else _degrade(request, clips, callbacks)
    truths = None if request.degraded else clips
    others = {name: _all_of(inputs, folder) for name, folder in request.others.items()}
    rows = [_measured(request, metrics, INPUT, inputs, truths, inputs, callbacks, observers)]
    if told := emulation_notice(pick_dtype(request.dtype), pick_device(request.device)):
        callbacks.notice(told)
    for model in request.models:
        restorer = load_restorer(
            model,
            device=pick_device(request.device),
            dtype=pick_dtype(request.dtype),
            folders=request.models_folders or None,
        )
        outputs = _restore(request, restorer, model, inputs, callbacks)
        seconds = _timed(request, restorer, inputs) if request.timed_frames else None
        row = _measured(request, metrics, _short(model), outputs, truths, inputs, callbacks, observers)
        row.seconds, row.steps, row.device = seconds, restorer.steps, _device_name(restorer)
        rows.append(row)
        del restorer
    for name, outputs in others.items():
        rows.append(_measured(request, metrics, name, outputs, truths, inputs, callbacks, observers))
    return rows


def _clips(request: BenchRequest, callbacks: BenchCallbacks) -> dict[str, Path]:
    found = {pair.name: pair.output for pair in pair_up([request.data])}
    if request.set.clips not in (None, len(found)):
        callbacks.notice(
            f"{request.set.name} has {request.set.clips} clips, but {request.data} holds {len(found)}; "
            "its figures are not those of the whole set."
        )
    return dict(islice(found.items(), request.limit))


def _check_paths(request: BenchRequest, clips: dict[str, Path]) -> None:
    """
    Raises:
        InvalidOption: a clip would be written over, or the folder holds what no benchmark has made.
    """
    folder = request.folder
    places = [folder / "degraded"] * (not request.degraded)
    places += [folder / "restored" / _short(model) for model in request.models]
    written = [place / f"{name}.mkv" for place in places for name in clips]
    written += [folder / name for name in (RECORD, "tables.md", "results.json")]
    others = {clip for place in request.others.values() for clip in clips_in(place)}
    check_paths(
        [Target(path, "the benchmark's") for path in written],
        [Source(path, "a clip") for path in {*clips.values(), *others}],
    )
    if not (folder / RECORD).exists() and (foreign := unrelated(written)):
        raise InvalidOption(f"{foreign[0]} exists already and is of no benchmark in {folder}. Choose another folder.")


def _check_folder(request: BenchRequest) -> None:
    record = request.folder / RECORD
    request.folder.mkdir(parents=True, exist_ok=True)
    if record.exists():
        before, now = json.loads(record.read_text(encoding="utf-8")), request.recipe()
        if changed := [key for key in now if before.get(key) != now[key]]:
            told = "; ".join(f"{key}: {before.get(key)!r} then, {now[key]!r} now" for key in changed)
            raise InvalidOption(f"{request.folder} holds results of another request ({told}). Choose another folder.")
    write_json(record, request.recipe())


def _degrade(request: BenchRequest, clips: dict[str, Path], callbacks: BenchCallbacks) -> dict[str, Path]:
    from vividface_core.degrade import degrade_video, seed_for

    outputs = {}
    for done, (name, clip) in enumerate(clips.items()):
        outputs[name] = output = request.folder / "degraded" / f"{name}.mkv"
        callbacks.clip("degrading", name, done, len(clips))
        if not output.exists():
            output.parent.mkdir(parents=True, exist_ok=True)
            degrade_video(clip, output, request.preset, seed=seed_for(request.seed, name), codec_out="ffv1")
    return outputs


def _restore(
    request: BenchRequest, restorer: Restorer, model: str, inputs: dict[str, Path], callbacks: BenchCallbacks
) -> dict[str, Path]:
    folder, outputs = request.folder / "restored" / _short(model), {}
    _check_model(folder, f"{where(model, request.models_folders or None)} {restorer.dtype}", inputs)
    options = RestoreOptions(preset="ffv1", whole_frame=request.whole_frame)
    for done, (name, clip) in enumerate(inputs.items()):
        outputs[name] = output = folder / f"{name}.mkv"
        callbacks.clip(_short(model), name, done, len(inputs))
        if not output.exists():
            restore_video(
                clip,
                output,
                restorer,
                options,
                callbacks=_Notices(callbacks, name),
                resuming=Resuming(keep_unfinished=False),
            )
    return outputs


class _Notices(Callbacks):
    def __init__(self, callbacks: BenchCallbacks, clip: str) -> None:
        self._callbacks, self._clip = callbacks, clip

    def notice(self, text: str) -> None:
        self._callbacks.notice(f"{self._clip}: {text}")


def _check_model(folder: Path, identity: str, clips: Iterable[str]) -> None:
    """Outputs of another checkpoint under the same name are of no use; they are made anew. No other file is touched."""
    record, known = folder / "model.json", set(clips)
    if record.exists():
        before = json.loads(record.read_text(encoding="utf-8"))
        before = before if isinstance(before, dict) else {"model": before, "clips": []}
        known |= set(before["clips"])
        if before["model"] != identity:
            for name in known:
                (folder / f"{name}.mkv").unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(record, {"model": identity, "clips": sorted(known)})


def _timed(request: BenchRequest, restorer: Restorer, inputs: dict[str, Path]) -> float:
    """Seconds for one clip of the papers' size, after a short one to warm up; loading and files don't count."""
    frames = list(islice((frame.rgb() for frame in _endless(next(iter(inputs.values())))), request.timed_frames))
    clip = torch.stack([_squared(frame) for frame in frames]).to(restorer.device)
    restorer.restore(clip[: restorer.valid_lengths.at_least(5)])
    began = time.perf_counter()
    restorer.restore(clip)
    if restorer.device.type == "cuda":
        torch.cuda.synchronize(restorer.device)
    return time.perf_counter() - began


def _endless(path: Path) -> Iterator[Any]:
    return cycle(list(VideoFrames(path, end=32).read()))


def _squared(frame: torch.Tensor) -> torch.Tensor:
    side = (TIMED_SIDE, TIMED_SIDE)
    return torch.nn.functional.interpolate(frame[None], side, mode="bicubic", align_corners=False)[0].clamp(0, 1)


def _measured(
    request: BenchRequest,
    metrics: Sequence[Metric],
    name: str,
    outputs: dict[str, Path],
    truths: dict[str, Path] | None,
    inputs: dict[str, Path],
    callbacks: BenchCallbacks,
    observers: Observers,
) -> BenchRow:
    pairs = [Pair(clip, path, truths[clip] if truths else None, inputs[clip]) for clip, path in outputs.items()]
    order = {clip: place for place, clip in enumerate(outputs)}
    context = MetricContext(pick_device(request.device), request.weight_folders)

    def progress(clip: str, done: int, total: int) -> None:
        if done:
            callbacks.clip(f"measuring {name}", clip, order[clip], len(order))

    return BenchRow(name, measure(pairs, metrics, context, progress=progress, observers=observers(name, len(pairs))))


def _all_of(inputs: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Another program's output of each clip."""
    found = {pair.name: pair.output for pair in pair_up([folder])}
    if lost := [name for name in inputs if name not in found]:
        raise InvalidOption(
            f"{folder} lacks {len(lost)} of {len(inputs)} clips: {', '.join(lost[:5])}. Outputs of "
            "other programs have the names of the degraded clips."
        )
    return {name: found[name] for name in inputs}


def _short(model: str) -> str:
    return Path(model).stem if Path(model).exists() else model


def _device_name(restorer: Restorer) -> str:
    device = restorer.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
