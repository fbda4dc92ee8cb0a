"""``vividface score``: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from vividface_core.cli.overwrite import add_overwrite
from vividface_core.mllm.judges.arguments import add_judge_options


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``vividface score``."""
    add = parser.add_argument
    add("videos", nargs="+", type=Path, metavar="VIDEO", help="video, folder of pictures, or folder of videos")
    add("--json", type=Path, metavar="FILE", help="write everything: scores, reasons, raw answers, faults")
    add(
        "--jsonl",
        type=Path,
        metavar="FILE",
        help="write a line as each video is done; a later run with this file judges only what is missing",
    )
    add_judge_options(parser)
    add_overwrite(parser)
    add("--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> int:
    """Carry out ``vividface score``; see :func:`vividface_core.cli.score.run`."""
    from vividface_core.cli import score  # torch, which the other commands' help needn't wait for

    return score.run(args)
