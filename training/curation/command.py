"""``vividface curate``: its options."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from training.curation.thresholds import CHECKS, Thresholds
from vividface_core.mllm.judges.arguments import add_judge_options

SUMMARY = "make a data set of face clips out of a folder of videos"
DESCRIPTION = (
    "Cut videos into face clips, measure them, leave out what is technically poor or there already, have a judge "
    "grade the others, and keep the best: clips, a manifest with every score and every reason, a contact sheet, and a "
    "page where a person can overrule. The same command goes on where it was stopped; nothing is judged twice."
)
KEPT = " Everything that was found out is kept: the same command does the rest."


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``vividface curate``."""
    add = parser.add_argument
    add("videos", type=Path, metavar="DIR", help="folder of videos; those in folders below it are taken too")
    add(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="folder of the data set; the same command goes on with what is there",
    )
    add(
        "--threshold",
        type=float,
        metavar="N",
        help="keep clips with a final score above it (default: the rubric's, 90)",
    )
    add("--dry-run", action="store_true", help="no judge: only cut, measure, and show what would go before one")
    add(
        "--restart-from",
        choices=("cut", "technical", "judge"),
        metavar="STAGE",
        help="forget what was found out from a stage on: cut, technical or judge",
    )
    add("--parquet", action="store_true", help="write the manifest as a Parquet table too (needs pyarrow)")
    add("--quiet", action="store_true", help="no progress")
    clips = parser.add_argument_group("clips")
    add = clips.add_argument
    add("--frames", type=int, default=81, metavar="N", help="length of a clip, a native one of the system (default 81)")
    add("--system", default="", metavar="NAME", help="the system that the clips are for (default: vividface)")
    add("--size", type=int, default=512, metavar="PIXELS", help="side of a clip (default 512)")
    add(
        "--margin",
        type=float,
        default=1.5,
        metavar="X",
        help="side of the square over that of the face's boxes (default 1.5)",
    )
    add("--stride", type=int, metavar="N", help="frames from one clip's beginning to the next (default: no overlap)")
    add("--detector", default="auto", help="auto (default), mtcnn or retinaface")
    _add_limits(parser)
    engine = parser.add_argument_group("where it runs")
    add = engine.add_argument
    add("--engine", default="local", choices=("local", "ray"), help="this process (default), or a Ray cluster")
    add("--address", metavar="ADDRESS", help="of a Ray cluster that runs; without it one is started on this machine")
    add("--workers", type=int, metavar="N", help="processes of --engine ray (default: as many as there is room for)")
    add(
        "--judge-gpus",
        type=float,
        metavar="N",
        help="GPUs of each process with a model as judge, with --engine ray (default 1, with --device cpu 0)",
    )
    add_judge_options(parser, "judge-")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group(
        "limits", "A clip beyond one of these is dropped before a judge sees it; off: not checked."
    ).add_argument
    words = {check.limit: check.words for check in CHECKS}
    words |= {
        "max_distance": "share of signs in the hash by which like clips differ",
        "max_motion_distance": "share of moves in the hash by which like clips differ",
    }
    for field in fields(Thresholds):
        option, default = f"--{field.name.replace('_', '-')}", field.default
        if isinstance(default, bool):
            add(option, action="store_true", default=default, help="a clip and its mirror image are alike too")
        else:
            told = "off" if default is None else f"{default:g}"
            add(option, type=number_or_off, default=default, metavar="X", help=f"{words[field.name]} (default {told})")


def number_or_off(text: str) -> float | None:
    return None if text == "off" else float(text)


def run(args: argparse.Namespace) -> int:
    """Carry out ``vividface curate``; see :func:`training.curation.session.run`."""
    from training.curation import session  # torch, which the other commands' help needn't wait for

    return session.run(args)
