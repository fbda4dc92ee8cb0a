"""The options of ``vividface bench``."""

from __future__ import annotations

import argparse
from pathlib import Path

from vividface_core.bench.sets import SETS


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add = parser.add_argument
    add("set", choices=list(SETS), help="; ".join(f"{name}: {entry.told}" for name, entry in SETS.items()))
    add("data", type=Path, help="its folder")
    add(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for degraded and restored clips, tables and reports; a second run goes on there",
    )
    add(
        "--model",
        action="append",
        metavar="NAME",
        help="a checkpoint to measure, as for 'restore'; may be repeated (default vividface-nano)",
    )
    add("--models-dir", type=Path, action="append", default=[], metavar="DIR", help="look for checkpoints here too")
    add(
        "--outputs",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="measure what another program made of OUTPUT/degraded, too; may be repeated",
    )
    add("--degraded", action="store_true", help="with 'folder': its clips are degraded already, there is no truth")
    add("--preset", default="vividface", help="degradation (default vividface); see 'vividface degrade'")
    add("--seed", type=int, default=0, help="of the degradation (default 0)")
    add("--only", metavar="NAMES", help="these metrics, separated by commas")
    add("--limit", type=int, metavar="N", help="the first N clips only")
    add("--find-faces", action="store_true", help="whole pictures: look for faces instead of restoring whole frames")
    add("--timed-frames", type=int, default=81, metavar="N", help="frames of 512×512 for the time; 0: don't time")
    add("--weights-dir", type=Path, action="append", default=[], metavar="DIR", help="weights of metrics lie here too")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps or xpu")
    add("--dtype", default="auto", help="auto, fp32, bf16 or fp16")
    add("--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> None:
    """Carry it out; see :mod:`vividface_core.cli.bench`, which loads what other commands don't need."""
    from vividface_core.cli.bench import run as carry_out

    carry_out(args)
