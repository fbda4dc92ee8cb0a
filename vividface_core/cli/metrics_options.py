"""``vividface metrics``: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from vividface_core.cli.overwrite import add_overwrite


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``vividface metrics``."""
    add = parser.add_argument
    add("outputs", nargs="*", type=Path, metavar="OUT", help="video, folder of pictures, or folder of videos")
    add("--reference", type=Path, metavar="GT", help="the truth: the same kind; clips go together by their names")
    add("--input", type=Path, metavar="LQ", help="what was restored, to be shown in the HTML report")
    add("--only", metavar="NAMES", help="these metrics, with commas (default: the usual ones; see --list)")
    add("--json", type=Path, metavar="FILE", help="write everything, each frame's figures too")
    add("--csv", type=Path, metavar="FILE", help="write a row a clip")
    add("--markdown", type=Path, metavar="FILE", help="write the table with the protocols")
    add("--html", type=Path, metavar="FILE", help="write a report with curves, worst frames and slices over time")
    add("--weights-dir", type=Path, action="append", default=[], metavar="DIR", help="look for weights here too")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps or xpu")
    add("--list", action="store_true", help="tell all metrics, their protocols and their weights")
    add("--download", action="store_true", help="first fetch the weights that are missing; alone: do only that")
    add_overwrite(parser)
    add("--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> int:
    """Carry out ``vividface metrics``; see :func:`vividface_core.cli.metrics.run`."""
    from vividface_core.cli import metrics  # torch, which the other commands' help needn't wait for

    return metrics.run(args)
