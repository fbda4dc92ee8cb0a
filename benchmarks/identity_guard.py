"""What the identity guard measures of right and of wrong faces: ``python -m benchmarks.identity_guard``.

Each held-out clip is degraded with the VividFace paper's ranges (``--draws`` seeds a clip, the first as in
``training.evaluate``) and restored. The guard compares the degraded face with

- the restored one, which is the right person, and
- the sharp face of every other held-out person, put in its place by its landmarks: a swap.

``--table FILE`` puts the tables between the ``identity`` markers of a Markdown file. ``--cost`` measures the guard's
share of a run's processor time instead, between the ``identity-cost`` markers.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vividface_core.faces.detect import load_detector
from vividface_core.faces.embed import load_embedder, similarity
from vividface_core.faces.identity_guard import MODES, THRESHOLD, IdentityGuard, TrackIdentity
from vividface_core.faces.track import FaceTrack, Tracker

ALIKE = 0.3
"""Two people whose sharp faces are more alike than this aren't counted as a swap: they may be one person."""


def put_face(picture: Tensor, points: np.ndarray, other: Tensor, other_points: np.ndarray) -> Tensor:
    """``other`` turned, scaled and shifted so that its landmarks fit those of ``picture`` best.

    Args:
        picture, other: ``[3, S, S]`` in 0…1.
        points, other_points: ``[5, 2]`` pixels.

    Returns:
        ``[3, S, S]``: nothing of ``picture`` is left but its landmarks.
    """
    (a, b), (c, d) = similarity(np.asarray(other_points, float)), similarity(np.asarray(points, float))
    height, width = picture.shape[-2:]
    at = (np.arange(width) + 0.5)[None, :] + 1j * (np.arange(height) + 0.5)[:, None]
    from_other = a * (at - d) / c + b
    grid = torch.from_numpy(np.stack([from_other.real, from_other.imag], -1)).to(other.dtype)
    grid = grid * torch.tensor([2 / other.shape[-1], 2 / other.shape[-2]], dtype=other.dtype) - 1
    return functional.grid_sample(other[None], grid[None], padding_mode="reflection", align_corners=False)[0]


def follow(clip: Tensor, detector) -> FaceTrack | None:
    """The longest, largest face of a clip that is a face crop, as a track whose crops are whole frames."""
    tracker = Tracker()
    for number, frame in enumerate(clip):
        tracker.update(number, detector.detect(frame[None])[0], frame)
    tracks = tracker.finish()
    if not tracks:
        return None
    track = max(tracks, key=lambda t: (t.last - t.first, float(t.crops[:, 2].mean())))
    size = clip.shape[-1]
    crops = np.tile(np.array([size / 2, size / 2, size], np.float32), (track.last - track.first, 1))
    return replace(track, crops=crops)


def judge(track: FaceTrack, given: Tensor, restored: Tensor, embedder) -> TrackIdentity:
    """What the guard says of a clip ``[T, 3, S, S]``."""
    guard = IdentityGuard(embedder, track, given.shape[-1])
    for at in range(track.first, track.last):
        guard.look(given[at], restored[at])
    return guard.figures(0)


class HeldOutPeople:
    """The sharp clips, and one of each person to swap in."""

    def __init__(self, size: int, frames: int, detector, embedder) -> None:
        from training.evaluation.held_out import CLIPS, face_clip

        self.clips = [(clip, face_clip(clip, frames, size, detector)) for clip in CLIPS]
        self._faces, self._looks = {}, {}
        for clip, truth in self.clips:
            if clip.person in self._faces:
                continue
            track = follow(truth, detector)
            self._faces[clip.person] = (truth, track)
            middle = len(track.landmarks) // 2
            self._looks[clip.person] = embedder.embed(truth[track.first + middle], track.landmarks[middle][None])[0]

    def others(self, person: str) -> list[str]:
        """Everybody who is surely another person."""
        mine = self._looks[person]
        return [name for name, look in self._looks.items() if name != person and float(mine @ look) < ALIKE]

    def swapped(self, clip: Tensor, track: FaceTrack, person: str) -> Tensor:
        """The clip with that person's face in every frame of the track."""
        truth, other = self._faces[person]
        out = clip.clone()
        for at, points in enumerate(track.landmarks, track.first):
            there = min(at, other.last - 1 - other.first)
            out[at] = put_face(clip[at], points, truth[other.first + there], other.landmarks[there])
        return out


def measure(model: str, frames: int, draws: int) -> list[dict]:
    """One entry a clip and draw: degradation, the restoration's figures and those of every swap."""
    from training.evaluate import FIRST_SEED
    from training.evaluation.restoring import as_used
    from vividface_core.degrade import DegradationRanges
    from vividface_core.weights import load_restorer

    restorer, detector, embedder = load_restorer(model), load_detector("mtcnn"), load_embedder()
    people = HeldOutPeople(restorer.native_size, frames, detector, embedder)
    entries = []
    for draw in range(draws):
        for number, (clip, truth) in enumerate(people.clips):
            degradation = DegradationRanges().sample((draw + 1) * FIRST_SEED + number)
            given = degradation(truth)
            track = follow(given, detector)
            if track is None:
                print(f"{clip.name}, draw {draw}: no face is found in the degraded clip", flush=True)
                continue
            right = judge(track, given, as_used(restorer)(given), embedder)
            swaps = [
                judge(track, given, people.swapped(given, track, name), embedder).mean
                for name in people.others(clip.person)
            ]
            entries.append(
                {"clip": clip, "draw": draw, "degradation": degradation.as_dict(), "right": right.mean, "swaps": swaps}
            )
            print(f"{clip.name}, draw {draw}: {right.mean:.2f}, swaps {max(swaps):.2f} and less", flush=True)
    return entries


def tables(entries: list[dict], model: str) -> str:
    """The first draw clip by clip, and quantiles of all."""
    lines = [f"| clip | σ | r | δ | crf | {model} | swaps, mean | swaps, highest | swaps found |", "|" + "---|" * 9]
    for entry in (entry for entry in entries if entry["draw"] == 0):
        d, swaps = entry["degradation"], np.array(entry["swaps"])
        lines.append(
            f"| {entry['clip'].name} | {d['sigma']:.1f} | {d['scale']:.1f} | {d['noise']:.1f} | {d['crf']} | "
            f"{entry['right']:.2f} | {swaps.mean():.2f} | {swaps.max():.2f} | {(swaps < THRESHOLD).sum()} of "
            f"{len(swaps)} |"
        )
    right = np.array([entry["right"] for entry in entries])
    swaps = np.concatenate([entry["swaps"] for entry in entries])
    lines += [
        "",
        f"All {len(right)} restorations and {len(swaps)} swaps of {len(entries)} degraded clips:",
        "",
        "| | lowest | 5 % | half | 95 % | highest |",
        "|" + "---|" * 6,
    ]
    for name, values in ((model, right), ("swaps", swaps)):
        shown = " | ".join(f"{value:.2f}" for value in np.quantile(values, (0, 0.05, 0.5, 0.95, 1)))
        lines.append(f"| {name} | {shown} |")
    lines += ["", "| threshold | restorations warned of | swaps found |", "|---|---|---|"]
    for threshold in (0.1, 0.15, 0.2, 0.25, 0.3):
        mark = "**" if threshold == THRESHOLD else ""
        lines.append(
            f"| {mark}{threshold:.2f}{mark} | {(right < threshold).mean():.1%} | {(swaps < threshold).mean():.1%} |"
        )
    return "\n".join(lines)


def cost(model: str, frames: int, runs: int) -> str:
    """Processor time of whole runs over a real clip in memory, with each mode in turn."""
    from training.evaluation.held_out import CLIPS
    from vividface_core.pipeline.restore import Resources, RestoreOptions, restore_frames
    from vividface_core.video.reader import VideoReader
    from vividface_core.weights import load_restorer

    with VideoReader(CLIPS[0].path(), start_frame=100, end_frame=100 + frames) as reader:
        clip = torch.stack([frame.rgb() for frame in reader])
    restorer, detector = load_restorer(model), load_detector("mtcnn")
    torch.set_num_threads(1)  # threads that wait for each other would be counted as work
    spent: dict[str, list[float]] = {mode: [] for mode in MODES}
    for _ in range(runs):
        for mode in MODES:
            began = time.process_time()
            restore_frames(clip, restorer, RestoreOptions(identity_guard=mode), resources=Resources(detector=detector))
            spent[mode].append((time.process_time() - began) / frames)
    lines = ["| guard | processor seconds a frame | more than off |", "|---|---|---|"]
    least = median(spent["off"])
    for mode in MODES:
        lines.append(f"| {mode} | {median(spent[mode]):.3f} | {median(spent[mode]) / least - 1:+.1%} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vividface-nano")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--draws", type=int, default=4, help="degradations of each clip")
    parser.add_argument("--cost", action="store_true", help="measure the time instead")
    parser.add_argument("--runs", type=int, default=3, help="of each mode, with --cost")
    parser.add_argument("--table", type=Path, help="replace what stands between the markers of this Markdown file")
    args = parser.parse_args()
    if args.cost:
        text, marker = cost(args.model, args.frames, args.runs), "identity-cost"
    else:
        text, marker = tables(measure(args.model, args.frames, args.draws), args.model), "identity"
    print(text)
    if args.table:
        from training.evaluation.report import write_between

        write_between(args.table, marker, text)


if __name__ == "__main__":
    main()
