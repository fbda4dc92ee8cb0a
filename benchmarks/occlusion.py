"""Do things before a face stay as they are? ``python -m benchmarks.occlusion [--write docs/occlusion.md]``.

Over each held-out clip, sharp as it is, six kinds of things are drawn (:mod:`benchmarks.occluder_drawings`; the network
was trained on others). The clip is then degraded with the ranges of the VividFace paper, and its face restored twice
by the pipeline itself: with ``occluders="restore"``, and with ``"keep"``. Where the thing is (all of it but its edge),
an error is the difference to what went in, as it shall stay as it is; elsewhere in the face (but for a rim of four
pixels around the thing), to the sharp clip. One row has no thing: nothing should be lost there. ``--write PAGE`` puts
the table between the page's ``occlusion`` markers and pictures beside it, into ``occlusion/``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmarks.occluder_drawings import KINDS, draw_over
from training.evaluate import FIRST_SEED
from training.evaluation.held_out import CLIPS, HeldOut
from training.evaluation.report import write_between
from vividface_core.degrade import DegradationRanges
from vividface_core.faces.crop import crop_clip
from vividface_core.faces.detect import FaceDetector, load_detector
from vividface_core.faces.occluders import SIDE, SteadyCover, load_occluder_finder, soft_cover
from vividface_core.faces.parse import LandmarkHull
from vividface_core.faces.track import FaceTrack
from vividface_core.pipeline.analysis import find_faces
from vividface_core.pipeline.options import Given, RestoreOptions
from vividface_core.pipeline.restore import restore_frames
from vividface_core.restorers.base import Restorer
from vividface_core.video.shots import Shot
from vividface_core.video.source import ClipFrames
from vividface_core.weights import load_restorer

NOTHING = "nothing"
RIM = 4
"""Pixels around a thing, of 256, that count as neither it nor the face: the degradation mixes them."""
HAND = "WolfgangLanger_Pexels@220"
"""The clip in which a real hand is before the face already: nothing is drawn over it."""
REAL = (84, 124, 164, 222)
"""Moments of that clip's file that are shown."""
SHOWN = {"hand": 10, "microphone": 3, "hair": 8, "sunglasses": 9, "rims of glasses": 4, "card": 12}
"""Which clip of each kind is in the picture."""


def remembering(restorer: Restorer) -> Restorer:
    """The restorer, which gives its last result again for the same clip: the two runs differ in putting back alone."""
    restore, last = restorer.restore, {}

    def remembered(clip: Tensor, **how: Any) -> Tensor:
        if not last or not torch.equal(last["clip"], clip):
            last.update(clip=clip.clone(), restored=restore(clip, **how))
        return last["restored"].clone()

    restorer.restore = remembered
    return restorer


@dataclass
class Case:
    """Sums over a clip's pixels with one thing.

    Attributes:
        inside, kept_inside: squared differences to the input where the thing is, restored like the face and kept.
        true_inside, kept_true_inside: the same to the sharp clip.
        covered, clear: pixels where it is, and elsewhere in the face.
        face, kept_face: squared differences to the sharp clip elsewhere in the face.
        overlap, union: of what is found and what is there, within the face.
        steps, true_steps, raw_steps: mean change of the cover from a frame to the next: as used, as it is, and of what
            is found in each frame by itself.
    """

    inside: float = 0.0
    kept_inside: float = 0.0
    true_inside: float = 0.0
    kept_true_inside: float = 0.0
    covered: int = 0
    face: float = 0.0
    kept_face: float = 0.0
    clear: int = 0
    overlap: float = 0.0
    union: float = 0.0
    steps: float = 0.0
    true_steps: float = 0.0
    raw_steps: float = 0.0

    def __add__(self, other: Case) -> Case:
        return Case(*(a + b for a, b in zip(vars(self).values(), vars(other).values())))


def track_of(clip: Tensor, detector: FaceDetector) -> FaceTrack | None:
    """The largest face that is found in most of the frames."""
    found = find_faces(ClipFrames(clip), Shot(0, len(clip)), detector, lambda *_: None)
    return max(found, key=lambda track: (track.last - track.first, float(track.sizes.mean())), default=None)


class Bench:
    """What all cases share."""

    def __init__(self, model: str, frames: int) -> None:
        self.restorer = remembering(load_restorer(model))
        self.detector, self.finder = load_detector("mtcnn"), load_occluder_finder()
        self.frames, self.size = frames, self.restorer.native_size

    def case(self, truth: Tensor, alpha: Tensor, seed: int) -> tuple[Case, list[Tensor]] | None:
        """Figures of a clip with a thing, and its input, output without and with the mask; ``None``: no face is found
        in the degraded clip."""
        given = DegradationRanges().sample(seed)(truth)
        track = track_of(given, self.detector)
        if track is None:
            return None
        without, kept = self.restored(given, track)
        inside, clear = self._areas(track, alpha)
        sums = Case(covered=int(inside.sum()), clear=int(clear.sum()))
        part = slice(track.first, track.last)
        for name, output in (("", without), ("kept_", kept)):
            changed, wrong = ((output[part] - other[part]).square().mean(1, keepdim=True) for other in (given, truth))
            setattr(sums, f"{name}inside", float(changed[inside].sum()))
            setattr(sums, f"{name}true_inside", float(wrong[inside].sum()))
            setattr(sums, f"{name}face", float(wrong[clear].sum()))
        self._cover(sums, track, given, alpha)
        return sums, [given, without, kept]

    def restored(self, given: Tensor, track: FaceTrack) -> tuple[Tensor, Tensor]:
        """What is before the face restored like the face, and kept."""
        told = Given([track])
        options = [RestoreOptions(occluders=mode, identity_guard="off") for mode in ("restore", "keep")]
        without, kept = (restore_frames(given, self.restorer, one, given=told)[0] for one in options)
        return without, kept

    def covers(self, given: Tensor, track: FaceTrack) -> tuple[Tensor, Tensor]:
        """``[T, 1, 176, 176]`` twice: what counts as covered, and what would if each frame were taken by itself."""
        cover = SteadyCover(self.finder, len(track.boxes), track.turn)
        cuts = [crop_clip(given[track.first + at], crop, self.size) for at, crop in enumerate(track.crops)]
        for cut in cuts:
            cover.look(cut)
        used = torch.stack([cover.take(at) for at in range(len(cuts))])
        return used, torch.stack([soft_cover(found) for found in self.finder.find(torch.stack(cuts))])

    def _areas(self, track: FaceTrack, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """Of each of the track's frames ``[T, 1, H, W]`` bool: where in the face the thing is, and where it isn't."""
        canvas = torch.zeros(len(track.boxes), 3, *alpha.shape[-2:])
        face = LandmarkHull().parse(canvas, track.landmarks) > 0.5
        there = alpha[track.first : track.last]
        around = F.max_pool2d(there, 2 * RIM + 1, 1, RIM)
        return face & (there > 0.95), face & (around < 0.02)

    def _cover(self, sums: Case, track: FaceTrack, given: Tensor, alpha: Tensor) -> None:
        """What is found beside what is there, in the crops that the network sees."""
        used, raw = self.covers(given, track)
        true = torch.stack([crop_clip(alpha[track.first + at], crop, SIDE) for at, crop in enumerate(track.crops)])
        points = (track.landmarks - track.crops[:, None, :2]) / track.crops[:, None, 2:] * SIDE + SIDE / 2
        face = LandmarkHull().parse(torch.zeros(len(used), 3, SIDE, SIDE), points) > 0.5
        found, there = (used > 0.5) & face, (true > 0.5) & face
        sums.overlap, sums.union = float((found & there).sum()), float((found | there).sum())
        for name, shown in (("steps", used), ("true_steps", true), ("raw_steps", raw)):
            setattr(sums, name, float(((shown[1:] - shown[:-1]).abs() * face[1:]).sum() / face[1:].sum()))


def clips(bench: Bench) -> Iterator[tuple[int, HeldOut, Tensor, np.ndarray]]:
    """Held-out face crops with the landmarks of each frame."""
    for number, clip in enumerate(CLIPS):
        if clip.name == HAND:
            continue
        truth = clip.cut(bench.frames, bench.size, bench.detector)
        track = track_of(truth, bench.detector)
        assert track is not None  # they are faces
        at = np.clip(np.arange(bench.frames) - track.first, 0, track.last - track.first - 1)
        yield number, clip, truth, track.landmarks[at]


def measure(bench: Bench) -> tuple[dict[str, list[Case]], dict[str, list[Tensor]], list[str]]:
    """Cases by kind, the picture's rows, and what has no face."""
    cases: dict[str, list[Case]] = {kind: [] for kind in (*KINDS, NOTHING)}
    rows: dict[str, list[Tensor]] = {}
    lost = []
    known = list(clips(bench))
    for number, clip, truth, landmarks in known:
        other = known[(number + 5) % len(known)][2][0]
        for kind in cases:
            drawn, alpha = truth, torch.zeros_like(truth[:, :1])
            if kind != NOTHING:
                drawn, alpha = draw_over(truth, landmarks, kind, other)
            result = bench.case(drawn, alpha, FIRST_SEED + number)
            if result is None:
                lost.append(f"{clip.name} with {kind}")
                continue
            cases[kind].append(result[0])
            if SHOWN.get(kind) == number:
                middle = bench.frames // 2
                rows[kind] = [view[middle] for view in (*result[1], drawn)]
        print(f"{clip.name} done", flush=True)
    return cases, {kind: rows[kind] for kind in KINDS if kind in rows}, lost


def table(cases: dict[str, list[Case]], lost: list[str]) -> str:
    """One row a kind: over all pixels of its clips."""
    heads = ("before the face", "clips", "change of it", "ratio", "elsewhere", "loss", "to the sharp original", "found")
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    things = [case for kind in KINDS for case in cases[kind]]
    for kind, part in (*cases.items(), ("**all things**", things)):
        lines.append(f"| {kind} | {len(part)} | {' | '.join(_cells(sum(part, Case())))} |")
    lines.append(
        "\nEach pair: restored like the face → kept. The change is a root mean square in levels of 255, the rest "
        "PSNR in dB; found: overlap of what is found with what is there, over their union."
    )
    for name, part in (("Things", things), ("With nothing there", cases[NOTHING])):
        steps, true, raw = (
            sum(getattr(case, key) for case in part) / max(1, len(part)) for key in ("steps", "true_steps", "raw_steps")
        )
        lines.append(
            f"\n{name}: from a frame to the next the cover of a pixel of the face changes by {steps:.4f} on average; "
            f"by {raw:.4f} if each frame were taken by itself; what is there by {true:.4f}."
        )
    if lost:
        lines.append(f"\nNo face is found in the degraded clip, so nothing is restored: {', '.join(lost)}.")
    return "\n".join(lines)


def _cells(total: Case) -> list[str]:
    face, kept_face = (_psnr(value, total.clear) for value in (total.face, total.kept_face))
    elsewhere = [f"{face:.2f} → {kept_face:.2f}", f"{face - kept_face:.3f} dB"]
    if not total.covered:
        return ["–", "–", *elsewhere, "–", "–"]
    changes = [255 * float(np.sqrt(value / total.covered)) for value in (total.inside, total.kept_inside)]
    true = [_psnr(value, total.covered) for value in (total.true_inside, total.kept_true_inside)]
    return [
        f"{changes[0]:.2f} → {changes[1]:.2f}",
        f"{changes[1] / changes[0]:.2f}",
        *elsewhere,
        f"{true[0]:.2f} → {true[1]:.2f}",
        f"{total.overlap / total.union:.2f}",
    ]


def _psnr(total: float, count: int) -> float:
    return float(-10 * np.log10(total / count)) if count else float("nan")


def picture(rows: dict[str, list[Tensor]], path: Path) -> None:
    """A row a kind: input, without the mask, with it, truth."""
    strips = [torch.cat(views, 2) for views in rows.values()]
    _save(torch.cat(strips, 1), path)


def _save(picture: Tensor, path: Path) -> None:
    pixels = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=90)


def real_hand(bench: Bench, path: Path) -> None:
    """A hand as it was filmed, the clip degraded: input, restored like the face, kept, and what was found in red."""
    clip = next(clip for clip in CLIPS if clip.name == HAND)
    rows = []
    for number, start in enumerate(REAL):
        truth = replace(clip, start=start).cut(bench.frames, bench.size, bench.detector)
        given = DegradationRanges(sigma=(1.5, 1.5), scale=(2.0, 2.0), noise=(3.0, 3.0)).sample(number)(truth)
        track = track_of(given, bench.detector)
        if track is None:
            continue
        at = min(bench.frames // 2, track.last - track.first - 1)
        outputs = bench.restored(given, track)
        cover, _ = bench.covers(given, track)
        crop = track.crops[at]
        views = [crop_clip(view[track.first + at], crop, bench.size) for view in (given, *outputs)]
        red = F.interpolate(cover[at][None], (bench.size, bench.size), mode="bilinear")[0] * 0.6
        views.append(views[0] * (1 - red) + red * torch.tensor([1.0, 0.1, 0.1])[:, None, None])
        rows.append(torch.cat(views, 2))
    _save(torch.cat(rows, 1), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vividface-nano")
    parser.add_argument("--frames", type=int, default=5, help="of each clip")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the table into this page, and the picture")
    args = parser.parse_args()
    bench = Bench(args.model, args.frames)
    cases, rows, lost = measure(bench)
    text = table(cases, lost)
    print(text)
    if args.write:
        write_between(args.write, "occlusion", text)
        picture(rows, args.write.parent / "occlusion" / "strip.jpg")
        real_hand(bench, args.write.parent / "occlusion" / "real_hand.jpg")


if __name__ == "__main__":
    main()
