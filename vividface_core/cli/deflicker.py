"""``vividface deflicker``."""

from __future__ import annotations

import argparse
from pathlib import Path

from vividface_core.cli.restore import add_file_options, add_how, carry_out


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``vividface deflicker``."""
    add = parser.add_argument
    add("input", type=Path, help="video, or folder of images")
    add("-o", "--output", type=Path, required=True, help="file, or folder with --preset png")
    add(
        "--kind",
        default="brightness",
        metavar="KIND",
        help="brightness (default): frames, or parts of them, are darker or brighter than those around them, as of old "
        "film, projectors and lamps; pixel: colours and fine structure change from frame to frame, as in pictures of "
        "image generators",
    )
    add(
        "--keep-detail",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="take only the change of brightness or colour from the model, and the detail from the source (default); "
        "--no-keep-detail shows the model's picture",
    )
    add("--model", help="name (see 'vividface models list') or path of a checkpoint; default: the one for the kind")
    add("--models-dir", type=Path, action="append", default=[], metavar="DIR", help="look for checkpoints here too")
    add("--preset", default="h264", help="h264 (default), h265, prores, ffv1 or png")
    add("--strength", type=float, default=1.0, help="0 = source … 1 = no flicker (default)")
    add("--window", type=int, metavar="FRAMES", help="frames looked at together; default: as the model was trained")
    add("--overlap", type=int, metavar="FRAMES", help="frames that neighbouring windows share")
    add("--size", type=int, metavar="PIXELS", help="side of what the model sees; default: what it was trained on")
    add("--resume", action="store_true", help="go on with an interrupted run at its first unfinished shot")
    add_file_options(parser)
    add_how(parser)


def run(args: argparse.Namespace) -> None:
    """Carry out ``vividface deflicker``."""
    from vividface_core.pipeline.deflicker import deflicker_options
    from vividface_core.weights import DEFLICKERERS

    options = deflicker_options(
        args.kind,
        args.keep_detail,
        preset=args.preset,
        strength=args.strength,
        window=args.window,
        overlap=args.overlap,
        size=args.size,
        deinterlace=args.deinterlace,
    )
    args.model = args.model or DEFLICKERERS[args.kind]
    carry_out(args, options, lambda result: str(result.flicker or "not measured"))
