"""From which likeness on are tracks one person's? ``python -m benchmarks.people [--table docs/people.md]``.

Tracks of a few frames of each held-out clip, as they are and made worse, are compared with each other: those of one
person at other moments, and those of two people. ``--table FILE`` puts the tables between the ``people`` markers.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.evaluation.held_out import CLIPS
from training.evaluation.report import write_between
from vividface_core.faces.detect import FaceDetector, load_detector
from vividface_core.faces.people import SAME_OVER_CUTS, find_people
from vividface_core.faces.track import FaceTrack, Tracker
from vividface_core.video.source import VideoFrames

FRAMES, STEP = 9, 4
"""Frames of a clip, and from one that is looked at to the next."""
WORSE = 3.0
"""By how much the bad twins are made smaller and large again."""
SAME_AS = {"F": "D"}
"""Portrait F and clip D may show one person; they are no pair of two."""


@dataclass(frozen=True)
class Seen:
    """A track, and who it is."""

    person: str
    track: FaceTrack
    worse: bool


def seen(detector: FaceDetector) -> list[Seen]:
    """The largest face of each clip, as it is and made worse, where it is found."""
    found = []
    for clip in CLIPS:
        source = VideoFrames(clip.path())
        begin = Fraction(0) if clip.still else Fraction(clip.start) / source.file.fps
        frames = [frame.rgb() for frame in source.passage(begin, 1 if clip.still else FRAMES).read()][::STEP]
        for worse in (False, True):
            track = _largest([_worse(rgb) if worse else rgb for rgb in frames], detector)
            if track is not None:
                found.append(Seen(SAME_AS.get(clip.person, clip.person), track, worse))
    return found


def _worse(rgb: Tensor) -> Tensor:
    height, width = rgb.shape[1:]
    size = [round(height / WORSE), round(width / WORSE)]
    small = functional.interpolate(rgb[None], size, mode="bilinear", antialias=True)
    return functional.interpolate(small, (height, width), mode="bicubic")[0].clamp(0, 1)


def _largest(frames: list[Tensor], detector: FaceDetector) -> FaceTrack | None:
    tracker = Tracker()
    for index, rgb in enumerate(frames):
        tracker.update(index, detector.detect(rgb[None])[0], rgb)
    return max(tracker.finish(), key=lambda track: float(track.sizes.mean()), default=None)


def tables(found: list[Seen]) -> str:
    """Likeness of pairs, and what each threshold makes of them."""
    pairs = [(one, other) for at, one in enumerate(found) for other in found[:at]]
    alike = np.array([float(one.track.embedding @ other.track.embedding) for one, other in pairs])
    same = np.array([one.person == other.person for one, other in pairs])
    worse = np.array([one.worse + other.worse for one, other in pairs])
    lines = ["| pairs | number | lowest | 5 % | half | 95 % | highest |", "|" + "---|" * 7]
    kinds = ("both as they are", "one made worse", "both made worse")
    for who, which in (("one person", same), ("two people", ~same)):
        for number, kind in enumerate(kinds):
            values = alike[which & (worse == number)]
            shown = " | ".join(f"{value:.2f}" for value in np.quantile(values, (0, 0.05, 0.5, 0.95, 1)))
            lines.append(f"| {who}, {kind} | {len(values)} | {shown} |")
    people = len({one.person for one in found})
    lines += ["", f"| threshold | pairs of two people above it | found of {people} people |", "|---|---|---|"]
    for threshold in (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5):
        mark = "**" if threshold == SAME_OVER_CUTS else ""
        above = (alike[~same] >= threshold).mean()
        lines.append(f"| {mark}{threshold:.2f}{mark} | {above:.1%} | {_gathered(found, threshold)} |")
    return "\n".join(lines)


def _gathered(found: list[Seen], threshold: float) -> str:
    """How many people all tracks, one after another, make; and how many of those hold two."""
    shots, first = [], 0
    for one in found:
        track = one.track
        shots.append([FaceTrack(0, 0, first, track.boxes, track.landmarks, track.scores, track.crops, track.embedding)])
        first += len(track.boxes)
    numbered, people = find_people(shots, threshold)
    names: dict[int, set[str]] = {}
    for one, (track,) in zip(found, numbered):
        names.setdefault(track.person, set()).add(one.person)
    mixed = sum(len(who) > 1 for who in names.values())
    return f"{len(people)}" + (f", {mixed} of them mixed" if mixed else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="replace what stands between the markers of this Markdown file")
    args = parser.parse_args()
    with torch.inference_mode():
        text = tables(seen(load_detector("mtcnn")))
    print(text)
    if args.table:
        write_between(args.table, "people", text)


if __name__ == "__main__":
    main()
