"""``vividface preview``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from vividface_core.cli.overwrite import add_overwrite, ask_to_replace
from vividface_core.cli.restore import NANO, add_choices, add_how, add_reading, options_of, restorer_of
from vividface_core.io.output_guard import Source, Target, check_file, check_paths, unrelated
from vividface_core.io.pictures import SHEETS


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``vividface preview``."""
    add = parser.add_argument
    add("input", type=Path, help="video, or folder of images")
    add("-o", "--output", type=Path, required=True, metavar="SHEET", help="picture to write, PNG or JPEG")
    add(
        "--comparison",
        type=Path,
        metavar="FILE",
        help="a second of the video before and after, next to each other, at half its speed (default: SHEET with the "
        "suffix .mp4)",
    )
    add(
        "--at",
        type=float,
        metavar="SECOND",
        help="restore the second from here on; default: where a face of middle size is, and the smallest, the "
        "largest and the most turned face beside it",
    )
    add_choices(parser)
    add_reading(parser)
    add_overwrite(parser)
    add("--quiet", action="store_true", help="no progress, notices only")
    add_how(parser)


def run(args: argparse.Namespace) -> None:
    """Carry out ``vividface preview``."""
    from vividface_core.cli.progress import Console
    from vividface_core.cli.restore_checks import check_choice
    from vividface_core.io.pictures import save_sheet
    from vividface_core.pipeline.preview import check_preview, make_preview
    from vividface_core.pipeline.preview_sheet import draw_preview
    from vividface_core.runtime.wording import duration
    from vividface_core.video.compare import SUFFIXES
    from vividface_core.video.source import VideoFrames

    began = time.monotonic()
    options = options_of(args)
    comparison = args.comparison or args.output.with_suffix(SUFFIXES[0])
    targets = [Target(args.output, "--output"), Target(comparison, "--comparison")]
    check_paths(targets, [Source(args.input, "the input"), *_pictures(options.faces)])
    check_file(args.output, "--output", tuple(SHEETS))
    check_file(comparison, "--comparison", SUFFIXES)
    source = VideoFrames(args.input, deinterlace=args.deinterlace, playlist=args.allow_playlist)
    check_preview(source, options, args.at)
    ask_to_replace(unrelated([args.output, comparison]), overwrite=args.overwrite)
    check_choice(args, options)
    console = Console(quiet=args.quiet)
    if args.model == "vividface-nano" and not args.quiet:
        console.notice(NANO)
    restorer, _ = restorer_of(args, console.notice)
    try:
        preview = make_preview(source, restorer, options, comparison, at=args.at, callbacks=console)
    finally:
        console.close()
        restorer.close()
    save_sheet(draw_preview(preview, args.input.name), args.output, "The sheet of the preview")
    for line in preview.estimate.lines():
        print(line)
    print(f"{args.output}, {comparison}: made in {duration(time.monotonic() - began)}")


def _pictures(faces: str) -> list[Source]:
    kind, _, picture = faces.partition(":")
    return [Source(Path(picture), "the reference picture")] if kind == "ref" else []
