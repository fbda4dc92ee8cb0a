"""Measure a restorer, and what else there is, on held-out people.

``python -m training.evaluate --table docs/nano.md --pictures docs/nano --json docs/nano/measured.json [--peers]``

Each clip's face is cropped as the pipeline crops it, at the restorer's native size; that crop is the truth. It is
degraded with the VividFace paper's ranges (fixed seeds), which includes the bicubic return to the input's size, and
restored, in windows of the model's own length as in the pipeline. Figures are means over the clip's middle frames,
rounded to 8 bits:

- PSNR and SSIM (Gaussian window, σ 1.5) by scikit-image on RGB; LPIPS 0.1 with AlexNet;
- temporal: mean absolute difference between the frame differences of output and truth, in 1/255;
- identity: cosine between the face embeddings of output and truth, at the truth's landmarks;
- clean: PSNR between output and input when the truth itself is the input.

``python -m training.evaluate --levels --table docs/nano.md --json docs/nano/levels.json``

The same clips at fixed degradations, from none to strong (:mod:`training.evaluation.levels`): the gain in PSNR on
the mean and on the worst clip, how much less it is in the clip's last quarter than in its first, LPIPS, the flow-warped
error inside the face, the chroma error, and whether grey stays grey (:mod:`training.evaluation.harm`).

``python -m training.evaluate --model bfvr-stc-nano --beside vividface-nano --size 64 --table docs/bfvr_stc.md``

Several restorers in one table, on crops of one size; ``flow`` is the mean length of the optical flow (OpenCV's dense
inverse search) from each frame to the next, which noise and flicker make longer than the truth's own.

Decisions are taken on other people: ``--clips validation --data data/nano`` measures either table on the clips that
the prepared material keeps from training.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from training.assets import perceptual_weights
from training.command import exit_status
from training.evaluation import levels, peers
from training.evaluation.harm import psnr, to_bytes
from training.evaluation.held_out import CLIPS
from training.evaluation.report import check_markers, save_pictures, table, write_between
from training.evaluation.restoring import as_used
from training.evaluation.validation_clips import validation_clips
from vividface_core.degrade import Degradation, DegradationRanges
from vividface_core.errors import InvalidOption
from vividface_core.faces.detect import FaceDetector, load_detector
from vividface_core.faces.embed import load_embedder
from vividface_core.io.output_guard import Source, Target, check_file, check_paths
from vividface_core.metrics.networks.flow import DisFlow
from vividface_core.metrics.temporal import flow_score
from vividface_core.weights import load_restorer

FIRST_SEED = 1000
FIGURES = ("psnr", "ssim", "lpips", "temporal", "identity", "flow")


class Measures:
    """All figures of one clip against its truth."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector, self._embedder = detector, load_embedder()
        self._flow = DisFlow()
        self._lpips = perceptual_weights.load("lpips-alex")

    @torch.inference_mode()
    def __call__(self, clip: Tensor, truth: Tensor) -> dict[str, float]:
        """:data:`FIGURES` by name, of ``[T, 3, H, W]`` clips, 0…1."""
        clip, truth = (x.clamp(0, 1).mul(255).round().div(255) for x in (clip, truth))
        pairs = list(zip(to_bytes(truth), to_bytes(clip)))
        ssim = [
            structural_similarity(
                a, b, data_range=255, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )
            for a, b in pairs
        ]
        return {
            "psnr": float(np.mean([peak_signal_noise_ratio(a, b, data_range=255) for a, b in pairs])),
            "ssim": float(np.mean(ssim)),
            "lpips": float(self._lpips(clip, truth).mean()),
            "temporal": float((clip.diff(dim=0) - truth.diff(dim=0)).abs().mean() * 255),
            "identity": self._identity(clip, truth),
            "flow": float(flow_score(clip, self._flow).mean()),
        }

    def _identity(self, clip: Tensor, truth: Tensor) -> float:
        middle = len(truth) // 2
        found = self._detector.detect(truth[middle][None])[0]
        if not found:
            return float("nan")
        points = max(found, key=lambda face: face.score).landmarks[None]
        one, other = (self._embedder.embed(x[middle], points)[0] for x in (clip, truth))
        return float(one @ other)


class FaceClip(Protocol):
    """A clip to measure on."""

    @property
    def name(self) -> str: ...

    @property
    def person(self) -> str: ...

    def cut(self, frames: int, size: int, detector: FaceDetector) -> Tensor:
        """The face: ``[frames, 3, size, size]``, RGB, 0…1."""


def material(
    clips: Sequence[FaceClip], frames: int, size: int, detector: FaceDetector
) -> list[tuple[FaceClip, Degradation, Tensor, Tensor]]:
    """Each clip with its degradation, its degraded frames and its truth."""
    rows = []
    for seed, clip in enumerate(clips, start=FIRST_SEED):
        truth = clip.cut(frames, size, detector)
        degradation = DegradationRanges().sample(seed)
        rows.append((clip, degradation, degradation(truth), truth))
    return rows


def evaluate(
    name: str,
    frames: int,
    measured: int,
    with_peers: bool,
    clips: Sequence[FaceClip],
    control: Path | None = None,
    *,
    beside: Sequence[str] = (),
    size: int = 0,
) -> tuple[list[dict], dict]:
    """One entry a clip, and settings of the peers. ``measured`` frames in the middle count; ``control``: see
    :func:`training.evaluation.peers.networks`.

    Args:
        beside: other restorers, which get the same clips.
        size: side of the crops; 0: what the first restorer is made for.
    """
    if len({label(each) for each in (name, *beside)}) <= len(beside):
        raise InvalidOption(f"Two of the models have one name in the table: {', '.join((name, *beside))}.")
    torch.manual_seed(0)
    # First, so that what they lack is told before the work.
    networks = peers.networks(control) if with_peers else {}
    restorer, detector = load_restorer(name), load_detector("mtcnn")
    rows = material(clips, frames, size or restorer.native_size, detector)
    measure, window = Measures(detector), _middle(frames, measured)
    restorers = {label(name): restorer, **{label(other): load_restorer(other) for other in beside}}
    name = label(name)
    methods: dict[str, peers.Method] = {"input": lambda clip: clip}
    methods |= {each: as_used(one) for each, one in restorers.items()}
    settings: dict[str, str] = {}
    if with_peers:
        pairs = [(low[window], truth[window]) for _, _, low, truth in rows]
        for peer, candidates in peers.filter_candidates().items():
            settings[peer], methods[peer] = peers.tuned(candidates, pairs, psnr)
        methods |= networks
    entries = []
    for clip, degradation, low, truth in rows:
        scores, outputs = {}, {}
        for method, run in methods.items():
            given = low if method == "input" or method in restorers else low[window]
            began = time.perf_counter()
            out = run(given)
            seconds = (time.perf_counter() - began) / len(given)
            outputs[method] = out[window] if len(out) == frames else out
            scores[method] = {**measure(outputs[method], truth[window]), "seconds": seconds}
        if beside:
            scores["truth"] = {**measure(truth[window], truth[window]), "seconds": 0.0}
        clean = methods[name](truth)
        entries.append(
            {
                "clip": clip.name,
                "person": clip.person,
                "degradation": degradation.as_dict(),
                "scores": scores,
                "clean": psnr(clean[window], truth[window]),
                "views": (low[window], *(outputs[each] for each in restorers), truth[window]),
            }
        )
        before, after = scores["input"], scores[name]
        print(
            f"{clip.name}: {before['psnr']:.2f} → {after['psnr']:.2f} dB, LPIPS {before['lpips']:.3f} → "
            f"{after['lpips']:.3f}, clean {entries[-1]['clean']:.2f} dB",
            flush=True,
        )
    return entries, settings


def label(model: str) -> str:
    """How a table calls a model: its name, without the folders of a path; a run's own name for its ``model``."""
    path = Path(model)
    return path.parent.name if path.name == "model" and path.parent.name else path.name


def _middle(frames: int, measured: int) -> slice:
    first = (frames - measured) // 2
    return slice(first, first + measured)


def evaluate_levels(name: str, frames: int, clips: Sequence[FaceClip]) -> list[dict]:
    """See :func:`training.evaluation.levels.measure`."""
    torch.manual_seed(0)
    restorer, detector = load_restorer(name), load_detector("mtcnn")
    faces = [
        (clip.name, seed, clip.cut(frames, restorer.native_size, detector))
        for seed, clip in enumerate(clips, start=FIRST_SEED)
    ]
    return levels.measure(as_used(restorer), faces, detector)


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, or 1 after an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vividface-nano")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--measured", type=int, default=0, help="frames in the middle that count; 0: all")
    parser.add_argument("--peers", action="store_true", help="also ffmpeg, OpenCV and Real-ESRGAN")
    parser.add_argument("--control", type=Path, help="with --peers: also the image restorer of a run of stage control")
    parser.add_argument("--beside", nargs="+", default=[], metavar="MODEL", help="other restorers, on the same clips")
    parser.add_argument("--size", type=int, default=0, help="side of the crops; 0: what the model is made for")
    parser.add_argument("--levels", action="store_true", help="at fixed degradations instead of drawn ones")
    parser.add_argument("--measured-before", type=Path, help="with --levels: the --json of an earlier run, drawn anew")
    parser.add_argument("--clips", choices=("held-out", "validation"), default="held-out")
    parser.add_argument("--data", type=Path, default=Path("data/nano"), help="material for --clips validation")
    parser.add_argument("--table", type=Path, help="replace what stands between the markers of this Markdown file")
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    return exit_status(lambda: _run(args))


def _check(args: argparse.Namespace) -> None:
    """Before the work: what is written goes over nothing that is read.

    Raises:
        InvalidOption, UnwritableVideo: says what can't be.
    """
    targets = [Target(path, f"--{name}") for name in ("table", "json") if (path := getattr(args, name))]
    targets += [Target(args.pictures / "strip.jpg", "--pictures")] if args.pictures else []
    read = {"--model": Path(args.model), "--control": args.control, "--data": args.data}
    check_paths(targets, [Source(path, name) for name, path in read.items() if path and path.exists()])
    if args.json:
        check_file(args.json, "--json")
    if args.table:
        check_markers(args.table, _markers(args))


def _markers(args: argparse.Namespace) -> str:
    return "levels" if args.levels else "peers" if args.peers else "beside" if args.beside else "table"


def _run(args: argparse.Namespace) -> None:
    _check(args)
    clips: Sequence[FaceClip] = CLIPS if args.clips == "held-out" else validation_clips(args.data)
    if args.levels:
        before = args.measured_before and json.loads(args.measured_before.read_text())["entries"]
        _report_levels(args, before or evaluate_levels(args.model, args.frames, clips))
        return
    entries, settings = evaluate(
        args.model,
        args.frames,
        args.measured or args.frames,
        args.peers,
        clips,
        args.control,
        beside=args.beside,
        size=args.size,
    )
    if args.pictures:
        save_pictures(entries, args.pictures)
    text = table(entries, label(args.model), settings)
    print(text)
    if args.table:
        write_between(args.table, _markers(args), text)
    if args.json:
        plain = [{key: value for key, value in entry.items() if key != "views"} for entry in entries]
        args.json.write_text(json.dumps({"model": args.model, "settings": settings, "clips": plain}, indent=1) + "\n")


def _report_levels(args: argparse.Namespace, entries: list[dict]) -> None:
    text = levels.table(entries)
    print(text)
    if args.table:
        write_between(args.table, "levels", text)
    if args.json:
        record = {
            "model": args.model,
            "clips": args.clips,
            "frames": args.frames,
            "levels": levels.LEVELS,
            "summary": levels.summary(entries),
            "entries": entries,
        }
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
