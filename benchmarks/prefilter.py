"""What the pre-filter of ``vividface curate`` finds and drops wrongly: ``python -m benchmarks.prefilter``.

Real clips of many people are written as files, untouched and with one fault each, put in on purpose
(:mod:`benchmarks.prefilter_faults`). Each file goes the way of ``vividface curate``: faces are found anew, the face
region is cut, measured and decided on. The limits were set on one half of the people (``--half tune``); what is
reported are the others.

``--table FILE`` puts the tables between the ``prefilter`` markers of a Markdown file, ``--sheet FILE`` draws a contact
sheet. Files and figures stay in ``--work``; what is there isn't made again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from benchmarks.prefilter_faults import FAULTS, TWINS
from benchmarks.prefilter_material import (
    LATER,
    UNTOUCHED,
    Sample,
    face_region,
    prepare,
    read_track,
    samples,
)
from benchmarks.prefilter_sheet import Outcome
from training.curation import clip_stats
from training.curation import duplicates as hashing
from training.curation.clip_stats import ClipStats, Tools, measure_clip
from training.curation.duplicates import clip_hash, distances, find_duplicates
from training.curation.reference_clips import CLIPS, FRAMES
from training.curation.thresholds import CHECKS, Thresholds
from vividface_core.io.atomic import write_json

LIMITS = Thresholds(min_face_side=44)
"""The previews are 350 pixels wide and their faces down to 45, so size is judged at 44 here instead of 64."""
LOST = "lost"
SIDES = (24, 32, 48, 64, 96)


def work(folder: Path, jobs: int, number: int) -> None:
    """One process's share: files, faces, figures."""
    torch.set_num_threads(1)
    share = (number, jobs)
    prepare(folder, share, lambda done, whole, name: print(f"{done} of {whole}: {name}", flush=True))
    tools = Tools.load()
    for sample in samples():
        if CLIPS.index(sample.clip) % jobs != number or _record(folder, sample).exists():
            continue
        track = read_track(folder, sample)
        if track is None or len(track.boxes) < FRAMES:
            found = {"frames": 0 if track is None else len(track.boxes)}
        else:
            region = face_region(folder / f"{sample.name}.mkv", track)
            measured = measure_clip(
                region.frames,
                region.landmarks,
                region.boxes,
                region.scores,
                tools,
                crop=region.crop,
                picture=region.picture,
            )
            found = {"frames": FRAMES, "figures": measured.to_json(), "hash": clip_hash(region.frames)}
        write_json(_record(folder, sample), found)


def _record(folder: Path, sample: Sample) -> Path:
    return folder / f"{sample.name}.figures{clip_stats.VERSION}.{hashing.VERSION}.json"


def outcomes(folder: Path, half: str, limits: Thresholds = LIMITS) -> list[Outcome]:
    """Of every file of a half."""
    found = []
    for sample in samples():
        if sample.clip.half != half:
            continue
        record = json.loads(_record(folder, sample).read_text(encoding="utf-8"))
        if "figures" not in record:
            found.append(Outcome(sample, (f"{LOST}: {record['frames']} of {FRAMES} frames with this face",)))
            continue
        measured = ClipStats.from_json(record["figures"])
        found.append(Outcome(sample, limits.faults(measured), measured, record["hash"]))
    return found


def faults_table(found: list[Outcome]) -> Iterator[str]:
    """By fault: how many are dropped, and for the right reason."""
    judged = [one for one in found if one.sample.change not in (*TWINS, LATER)]
    yield "| fault | clips | dropped | of these rightly named | of these lost by the detector |"
    yield "|---|---|---|---|---|"
    own = sorted({one.sample.check for one in judged if one.sample.change == UNTOUCHED and one.sample.check})
    for name in (*FAULTS, *own):
        ones = [one for one in judged if one.sample.fault == name]
        dropped = [one for one in ones if one.causes]
        right = sum(one.sample.check in one.named for one in dropped)
        real = name if name in FAULTS else f"{name}, as filmed"
        yield f"| {real} | {len(ones)} | {len(dropped)} | {right} | {sum(LOST in one.named for one in dropped)} |"
    yield from _whole(judged)


def _whole(judged: list[Outcome]) -> Iterator[str]:
    faulty = [one for one in judged if one.sample.fault]
    clean = [one for one in judged if not one.sample.fault]
    hits, false = (sum(bool(one.causes) for one in ones) for ones in (faulty, clean))
    yield (
        f"| **all faults** | {len(faulty)} | {hits} | {sum(one.sample.check in one.named for one in faulty)} | "
        f"{sum(LOST in one.named for one in faulty)} |"
    )
    yield f"| **untouched, without a fault** | {len(clean)} | {false} | | {sum(LOST in o.named for o in clean)} |"
    yield ""
    yield (
        f"Dropping: recall {hits / len(faulty):.1%}, precision {hits / max(hits + false, 1):.1%}; "
        f"{false} of {len(clean)} untouched clips are dropped wrongly."
    )


def checks_table(found: list[Outcome]) -> Iterator[str]:
    """By check: what fires it. A clip with another fault that fires it too counts against its precision."""
    judged = [one for one in found if one.sample.change not in (*TWINS, LATER) and one.figures]
    yield "| check | fires | where its fault is | precision | recall | on untouched clips without a fault |"
    yield "|---|---|---|---|---|---|"
    for check in dict.fromkeys(check.fault for check in CHECKS):
        fired = [one for one in judged if check in one.named]
        meant = [one for one in judged if one.sample.check == check]
        right = sum(one.sample.check == check for one in fired)
        precision = f"{right / len(fired):.0%}" if fired and meant else "–"
        recall = f"{right / len(meant):.0%}" if meant else "–"
        wrong = sum(not one.sample.fault for one in fired)
        yield f"| {check} | {len(fired)} | {right} of {len(meant)} | {precision} | {recall} | {wrong} |"


def figures_table(found: list[Outcome], limits: Thresholds = LIMITS) -> Iterator[str]:
    """What the limits lie between: quantiles of clips without a fault and of those with it."""
    yield "| figure | limit | untouched: least | half | most | with the fault: least | half | most |"
    yield "|---|---|---|---|---|---|---|---|"
    for check in CHECKS:
        clean = _values([one for one in found if one.sample.change == UNTOUCHED and not one.sample.fault], check.figure)
        faulty = _values([one for one in found if one.sample.check == check.fault], check.figure)
        sign = "≥" if check.limit.startswith("min_") else "≤"
        shown = [
            " | ".join(f"{value:.{check.digits}f}" for value in np.quantile(values, (0, 0.5, 1)))
            if len(values)
            else "– | – | –"
            for values in (clean, faulty)
        ]
        yield f"| {check.figure} | {sign} {getattr(limits, check.limit):g} | {shown[0]} | {shown[1]} |"


def _values(found: list[Outcome], name: str) -> list[float]:
    values = [getattr(one.figures, name) for one in found if one.figures]
    return [value for value in values if value is not None]


def duplicates_table(found: list[Outcome], limits: Thresholds = LIMITS) -> Iterator[str]:
    """Pairs by what they are, and what is found of them."""
    kinds: dict[str, list[tuple[float, float]]] = {
        name: [] for name in (*TWINS, "two copies", LATER, "another moment of the same video", "others")
    }
    ones = [one for one in found if one.hash and one.sample.change in (UNTOUCHED, LATER, *TWINS)]
    for one, other in combinations(ones, 2):
        if kind := _kind(one.sample, other.sample):
            kinds[kind].append(distances(one.hash, other.hash))
    yield "| pair | pairs | signs apart: least | half | most | moves apart: least | half | most | called duplicates |"
    yield "|" + "---|" * 9
    for kind, pairs in kinds.items():
        if pairs:
            shown = " | ".join(f"{value:.2f}" for column in zip(*pairs) for value in np.quantile(column, (0, 0.5, 1)))
            called = sum(signs <= limits.max_distance and moves <= limits.max_motion_distance for signs, moves in pairs)
            yield f"| untouched and {kind} | {len(pairs)} | {shown} | {called} |"
    yield ""
    yield _kept(found, limits)


def _kind(one: Sample, other: Sample) -> str:
    """What a pair is; empty: not counted."""
    if one.clip.file == other.clip.file and one.clip is not other.clip:
        same_face = abs(one.clip.place[0] - other.clip.place[0]) < 0.05
        return "another moment of the same video" if same_face and {one.change, other.change} == {UNTOUCHED} else ""
    if one.clip is not other.clip:
        return "others" if UNTOUCHED in (one.change, other.change) else ""
    changes = {one.change, other.change}
    if UNTOUCHED in changes:
        return next(iter(changes - {UNTOUCHED}))
    return "" if LATER in changes else "two copies"


def _kept(found: list[Outcome], limits: Thresholds) -> str:
    ones = [one for one in found if one.hash and not one.sample.fault and one.sample.change != LATER]
    rows = [(one.sample.name, one.hash, one.figures.sharpness * one.figures.face_side) for one in ones]
    duplicates = find_duplicates(rows, limits)
    copies = sum(one.sample.change in TWINS for one in ones)
    return (
        f"Of {len(rows)} clips, {copies} of them copies, {len(duplicates)} are dropped as duplicates, of "
        f"{len(set(duplicates.values()))} that stay."
    )


def sizes_table(folder: Path) -> Iterator[str]:
    """What smaller faces still tell: likeness (cosine) of a face resized to a side with itself at its own."""
    from training.curation.thresholds import Thresholds
    from vividface_core.faces.embed import load_embedder

    embedder, likeness = load_embedder(), {side: [] for side in SIDES}
    for clip in CLIPS:
        sample = Sample(clip, UNTOUCHED, *clip.faults)
        track = read_track(folder, sample)
        own = float(np.median((track.boxes[:, 2:] - track.boxes[:, :2]).min(1)))
        if clip.faults or own < 1.2 * max(SIDES):
            continue
        frame, points = clip.read()[track.first], track.landmarks[0]
        look = embedder.embed(frame, points[None])[0]
        for side in SIDES:
            size = [max(8, round(full * side / own)) for full in frame.shape[-2:]]
            small = torch.nn.functional.interpolate(frame[None], size, mode="bicubic", antialias=True)[0].clamp(0, 1)
            scale = np.array(size[::-1]) / np.array(frame.shape[:0:-1])
            likeness[side].append(float(look @ embedder.embed(small, (points * scale)[None])[0]))
    yield "| face side | " + " | ".join(f"{side}" for side in SIDES) + " |"
    yield "|" + "---|" * (len(SIDES) + 1)
    for word, share in (("half", 0.5), ("least", 0.0)):
        row = " | ".join(f"{np.quantile(values, share):.2f}" for values in likeness.values())
        yield f"| likeness, {word} of {len(likeness[SIDES[0]])} faces | {row} |"
    yield f"\nThe default limit is {Thresholds().min_face_side:g}."


def between_halves(folder: Path) -> float:
    """The greatest likeness (cosine) of a face of one half with one of the other."""
    from vividface_core.faces.embed import load_embedder

    embedder, looks = load_embedder(), {"tune": [], "report": []}
    for clip in CLIPS:
        track = read_track(folder, Sample(clip, UNTOUCHED, *clip.faults))
        if track is not None:
            frame = clip.read()[track.first]
            looks[clip.half].append(embedder.embed(frame, track.landmarks[:1])[0])
    return float((np.stack(looks["tune"]) @ np.stack(looks["report"]).T).max())


def tables(folder: Path, half: str) -> str:
    found = outcomes(folder, half)
    clips = [clip for clip in CLIPS if clip.half == half]
    parts = [
        [
            f"{len(clips)} clips of {len({clip.file for clip in clips})} videos, {len(found)} files. The greatest "
            f"likeness between the halves' faces is {between_halves(folder):.2f}."
        ],
        faults_table(found),
        checks_table(found),
        figures_table(found),
        duplicates_table(found),
        sizes_table(folder),
    ]
    return "\n\n".join("\n".join(part) for part in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/prefilter"))
    parser.add_argument("--half", choices=("report", "tune"), default="report")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--table", type=Path, help="replace what stands between the markers of this Markdown file")
    parser.add_argument("--sheet", type=Path, help="a picture of clips and decisions")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(args.jobs) as pool:
        list(pool.map(partial(work, args.work, args.jobs), range(args.jobs)))
    text = tables(args.work, args.half)
    print(text)
    if args.table:
        from training.evaluation.report import write_between

        write_between(args.table, "prefilter", text)
    if args.sheet:
        from benchmarks.prefilter_sheet import draw_sheet

        draw_sheet(args.work, outcomes(args.work, args.half), args.sheet)


if __name__ == "__main__":
    main()
