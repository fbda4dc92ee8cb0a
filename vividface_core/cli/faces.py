"""``vividface faces``."""

from __future__ import annotations

import argparse
from pathlib import Path

from vividface_core.cli.overwrite import add_overwrite, ask_to_replace
from vividface_core.io.output_guard import Source, Target, check_file, check_paths, unrelated


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``vividface faces``."""
    from vividface_core.cli.restore import DEVICES, add_reading, add_same_person

    add = parser.add_argument
    add("input", type=Path, help="video, folder of images, or one image")
    add("-o", "--output", type=Path, required=True, metavar="SHEET", help="picture to write, PNG or JPEG")
    add_same_person(parser)
    add("--detector", default="auto", help="auto (default), mtcnn or retinaface")
    add("--device", default="auto", help=DEVICES)
    add_reading(parser)
    add_overwrite(parser)
    add("--quiet", action="store_true", help="no progress, notices only")


def run(args: argparse.Namespace) -> None:
    """Carry out ``vividface faces``."""
    from vividface_core.cli.progress import Console
    from vividface_core.errors import NoFaceFound
    from vividface_core.faces.detect import load_detector
    from vividface_core.faces.people import find_people
    from vividface_core.faces.people_sheet import Portraits, describe, draw_people
    from vividface_core.io.pictures import SHEETS, save_sheet
    from vividface_core.pipeline.analysis import find_faces, find_shots
    from vividface_core.pipeline.options import RestoreOptions
    from vividface_core.runtime.devices import pick_device
    from vividface_core.video.source import VideoFrames

    given = {} if args.same_person is None else {"same_person": args.same_person}
    threshold = RestoreOptions(detector=args.detector, **given).same_person
    check_paths([Target(args.output, "--output")], [Source(args.input, "the input")])
    check_file(args.output, "--output", tuple(SHEETS))
    source = VideoFrames(args.input, deinterlace=args.deinterlace, playlist=args.allow_playlist)
    ask_to_replace(unrelated([args.output]), overwrite=args.overwrite)
    detector, console = load_detector(args.detector, device=pick_device(args.device)), Console(quiet=args.quiet)
    try:
        shots = find_shots(source, console.progress)
        total = shots[-1].end if shots else 0
        found = [
            find_faces(source, shot, detector, console.progress, total=total, notice=console.notice) for shot in shots
        ]
    finally:
        console.close()
    _, people = find_people(found, threshold)
    if not people:
        raise NoFaceFound(f"{args.input} shows no face that can be found, so there is no sheet to draw.")
    portraits = Portraits(people)
    for index in portraits.frames:
        for frame in source.read(index, index + 1):
            portraits.add(index, frame.rgb())
    save_sheet(draw_people(portraits, people, shots, threshold), args.output, "The sheet of people")
    for person in people:
        print(f"person {person.number}: {describe(person, shots)}")
    print(f"{args.output}: restore some of them by --faces person:1, or by --strength 1=1.0,2=0.5")
