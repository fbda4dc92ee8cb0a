"""What ``vividface restore`` refuses before a model is loaded: paths and options that can't work."""

from __future__ import annotations

import argparse
from pathlib import Path

from vividface_core.cli.overwrite import ask_to_replace
from vividface_core.errors import InvalidOption
from vividface_core.faces.detect import load_detector
from vividface_core.faces.select import check_reference, check_spec
from vividface_core.io.output_guard import Source, Target, check_file, check_paths, unrelated
from vividface_core.pipeline.canvas import Background, make_canvas
from vividface_core.pipeline.options import RestoreOptions
from vividface_core.pipeline.resume import work_folder
from vividface_core.restorers.windows import plan_windows
from vividface_core.runtime.devices import pick_device
from vividface_core.video.compare import SUFFIXES
from vividface_core.video.mux import check_output
from vividface_core.video.source import VideoFrames

UNUSED = {"faces": "--faces", "min_face": "--min-face", "detector": "--detector", "same_person": "--same-person"}
"""Options that say which faces are meant, by their names among the arguments."""


def check_combinations(args: argparse.Namespace) -> None:
    """
    Raises:
        InvalidOption: options of which one would be ignored.
    """
    given = [option for name, option in UNUSED.items() if getattr(args, name) is not None]
    if given and (args.whole_frame or getattr(args, "as_released", False)):
        whole = "--whole-frame" if args.whole_frame else "--as-released"
        raise InvalidOption(
            f"{whole} looks for no faces, so {given[0]} has nothing to choose from; leave out one of the two."
        )


def check_request(
    args: argparse.Namespace, options: RestoreOptions, background: Path | None = None
) -> tuple[VideoFrames, Background | None]:
    """Everything that can be known without the model, the dearest last.

    Returns:
        The input, and the background if there is one, opened and found to go with each other.

    Raises:
        VividFaceError: what is at fault.
    """
    check_options(options)
    check_paths(_targets(args), [Source(args.input, "the input"), *sources_beside(args, options, background)])
    source = VideoFrames(args.input, deinterlace=args.deinterlace, playlist=args.allow_playlist)
    check_output(args.output, options.preset, source.file)
    canvas = make_canvas(source, background, options)
    if args.side_by_side:
        check_file(args.side_by_side, "--side-by-side", SUFFIXES)
    _ask(args)
    check_choice(args, options)
    return source, canvas if isinstance(canvas, Background) else None


def check_options(options: RestoreOptions) -> None:
    """
    Raises:
        InvalidOption: values that no input goes with.
    """
    if options.window is not None and options.overlap is not None:
        plan_windows(options.window + 1, options.window, options.overlap)
    check_spec(options.faces)


def check_choice(args: argparse.Namespace, options: RestoreOptions) -> None:
    """
    Raises:
        InvalidOption, NoFaceFound: a choice of faces that can't be, or a reference picture without a face.
    """
    check_spec(options.faces)
    kind, _, picture = options.faces.partition(":")
    if kind == "ref":
        check_reference(Path(picture), load_detector(options.detector, device=pick_device(args.device)))


def _targets(args: argparse.Namespace) -> list[Target]:
    targets = [Target(args.output, "--output")]
    return targets + ([Target(args.side_by_side, "--side-by-side")] if args.side_by_side else [])


def sources_beside(args: argparse.Namespace, options: RestoreOptions, background: Path | None = None) -> list[Source]:
    """What is read beside the input."""
    sources = []
    if background:
        sources.append(Source(background, "--background"))
    kind, _, picture = options.faces.partition(":")
    if kind == "ref":
        sources.append(Source(Path(picture), "the reference picture"))
    if Path(args.model).exists():
        sources.append(Source(Path(args.model), "--model"))
    return sources


def _ask(args: argparse.Namespace) -> None:
    paths = [target.path for target in _targets(args)]
    # An empty folder is a place for pictures, and one that isn't empty was refused.
    existing = [path for path in unrelated(paths) if not path.is_dir()]
    idle = args.resume and not work_folder(args.output).exists()
    hint = f"There is nothing to resume: no unfinished run of {args.output} lies beside it." if idle else ""
    ask_to_replace(existing, overwrite=args.overwrite, hint=hint)
