"""``vividface restore``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vividface_core.cli.overwrite import add_overwrite
from vividface_core.cli.restore_folder import add_engine_options
from vividface_core.errors import InvalidOption
from vividface_core.faces.people import SAME_OVER_CUTS
from vividface_core.restorers.base import Restorer
from vividface_core.restorers.execution import Option, result_marks
from vividface_core.restorers.registry import AS_RELEASED, System, shared_options, systems
from vividface_core.runtime.wording import counted
from vividface_core.video.folder import holds_films
from vividface_core.video.presets import preset_names

if TYPE_CHECKING:
    from vividface_core.pipeline.options import RestoreOptions, Result

PREFIX = "system_"
"""Of the places where the systems' own options are kept, so that none is mistaken for another."""
NANO = "vividface-nano is the small embedded model; 'vividface models list' shows the full ones."
DEVICES = "auto, cpu, cuda, cuda:N, mps or xpu"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``vividface restore``."""
    _add_what(parser)
    add_how(parser)
    add_engine_options(parser)


def _add_what(parser: argparse.ArgumentParser) -> None:
    """What is restored, into what."""
    add = parser.add_argument
    add("input", type=Path, help="video, folder of images, one image, or folder of videos")
    add("-o", "--output", type=Path, required=True, help="file; folder with --preset png or for a folder of videos")
    add_choices(parser)
    add(
        "--as-released",
        action="store_true",
        help="whole frames exactly as VividFace's released script restores them: no cut detection, the whole clip in "
        "one window, fp32 up to the model",
    )
    add(
        "--model-size",
        action="store_true",
        help="with --whole-frame or --as-released: write the model's square (512×512 of the full model, or --size) "
        "rather than the input's size",
    )
    add(
        "--background",
        type=Path,
        metavar="FILE",
        help="the same film enlarged by an upscaler: faces are restored from the input and put into it, at its size",
    )
    add("--scale", type=float, default=1.0, help="enlarge the frames too, 1 to 4: small faces keep their restored size")
    add("--resume", action="store_true", help="go on with an interrupted run at its first unfinished shot")
    add_file_options(parser)


def add_choices(parser: argparse.ArgumentParser) -> None:
    """What decides the pictures of a restoration, but for their size."""
    add = parser.add_argument
    add("--model", default="vividface-nano", help="name (see 'vividface models list') or path of a checkpoint")
    add("--models-dir", type=Path, action="append", default=[], metavar="DIR", help="look for checkpoints here too")
    add("--preset", default="h264", help=f"how to encode: {', '.join(preset_names())} (default h264)")
    add("--whole-frame", action="store_true", help="no face crop: the footage is a face crop already")
    add(
        "--faces",
        metavar="WHICH",
        help="all (default), largest, person:1,2 (people over all cuts, by the numbers that 'vividface faces' shows), "
        "index:0,2 (from the left in each shot) or ref:PICTURE (people who look like the one in a picture; heavily "
        "degraded faces may not be recognised)",
    )
    add_same_person(parser)
    add("--min-face", type=float, metavar="PIXELS", help="leave smaller faces alone (default 24)")
    add(
        "--strength",
        default="1",
        metavar="S",
        help="0 = source … 1 = fully restored (default); people by their numbers: 1=1.0,2=0.5, or 0.8,2=0.5 (0.8 for "
        "all others)",
    )
    add(
        "--occluders",
        default="keep",
        metavar="MODE",
        help="what stands before a face (a hand, a microphone, hair, glasses): keep (default) leaves it as it is, "
        "restore restores it like the face",
    )
    add("--color", default="auto", help="colour match: auto (default: the model's own), wavelet, lab, adain or none")
    lengths = "; ".join(f"{system.id}: {system.valid_lengths}" for system in systems())
    add("--window", type=int, metavar="FRAMES", help=f"frames restored together ({lengths}); default: as memory allows")
    add("--overlap", type=int, metavar="FRAMES", help="frames that neighbouring windows share")
    add("--size", type=int, metavar="PIXELS", help="side of the crop; default: what the model was trained on")
    add("--detector", help="auto (default), mtcnn or retinaface")
    add(
        "--keep-size",
        action="store_true",
        help="with --whole-frame: restore at the video's own size, as far as memory goes",
    )
    add(
        "--identity-guard",
        default="warn",
        metavar="MODE",
        help="warn (default): say so where a restored face looks like somebody else; blend: also blend it back towards "
        "the input as far as needed; off",
    )
    add(
        "--identity-threshold",
        type=float,
        default=0.2,
        metavar="X",
        help="least likeness of a restored face to its input, 0 to 1 (default 0.2)",
    )


def add_same_person(parser: argparse.ArgumentParser) -> None:
    """The threshold by which faces are gathered into people."""
    parser.add_argument(
        "--same-person",
        type=float,
        metavar="X",
        help=f"least mean likeness of faces that are one person's over the cuts, a cosine from 0 to 1 (default "
        f"{SAME_OVER_CUTS:g}); the same for 'faces' and 'restore', as numbers go by it",
    )


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """How the input is read and what is written beside the output."""
    add = parser.add_argument
    add("--side-by-side", type=Path, metavar="FILE", help="also write input and output next to each other")
    add_reading(parser)
    add_overwrite(parser)
    add("--quiet", action="store_true", help="no progress, notices only")


def add_reading(parser: argparse.ArgumentParser) -> None:
    """How the input is read."""
    add = parser.add_argument
    add(
        "--deinterlace",
        default="auto",
        metavar="HOW",
        help="auto (default): interlaced frames are made into whole ones where their fields show different moments and "
        "the frame is changed; off: fields stay",
    )
    add(
        "--allow-playlist",
        action="store_true",
        help="follow a list of other files (ffconcat, M3U8, DASH), which could name any file that you can read",
    )


def add_how(parser: argparse.ArgumentParser) -> None:
    """What decides time and memory, and the models' own options."""
    add = parser.add_argument_group("speed and memory").add_argument
    add("--device", default="auto", help=DEVICES)
    add(
        "--devices",
        metavar="LIST",
        help="several devices, a process each, that share the windows: 0,1 or cuda:0,cuda:1",
    )
    add(
        "--together",
        action="store_true",
        help="with --devices: all of them on one window, one window after the other: for few and long windows",
    )
    add("--dtype", default="auto", help="auto, fp32, bf16 or fp16")
    for name, uses in shared_options().items():
        if uses[0][1].flag:
            _add_option(add, name, uses)


def _add_option(add: Callable[..., object], name: str, uses: Sequence[tuple[System, Option]]) -> None:
    """A flag of the systems that have this option. Where it isn't given, nothing is handed on."""
    option = uses[0][1]
    told = option.help
    if len(systems()) > len(uses):
        told += f" (models of {', '.join(system.id for system, _ in uses)})"
    how = {"dest": f"{PREFIX}{name}", "default": argparse.SUPPRESS, "help": told}
    if option.kind is bool:
        add(option.flag, action="store_true", **how)
    else:
        add(option.flag, type=option.kind, metavar=option.metavar, **how)


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """The systems' options that were given, by name."""
    return {name.removeprefix(PREFIX): value for name, value in vars(args).items() if name.startswith(PREFIX)}


def run(args: argparse.Namespace) -> int:
    """Carry out ``vividface restore``; returns 1 if a film of a folder failed."""
    from vividface_core.cli.restore_folder import check_single, run_folder

    options = options_of(args, scale=args.scale, as_released=args.as_released, model_size=args.model_size)
    notice = NANO if args.model == "vividface-nano" else ""
    if holds_films(args.input):
        return run_folder(args, options, partial(restorer_of, args, _unheard), partial(model_of, args), notice)
    check_single(args)
    carry_out(args, options, _faces_told, notice=notice, background=args.background)
    return 0


def _unheard(text: str) -> None:
    """Where a restorer is loaded by several processes, none of them speaks for itself."""


def options_of(args: argparse.Namespace, **more: Any) -> RestoreOptions:
    """The engine's options out of those of :func:`add_choices` and :func:`add_reading`, and ``more``.

    Raises:
        InvalidOption: values that can't be, or don't go together.
    """
    from vividface_core.cli.restore_checks import check_combinations
    from vividface_core.pipeline.options import RestoreOptions, parse_strengths

    check_combinations(args)
    default = RestoreOptions()
    strength, person_strengths = parse_strengths(args.strength)
    return RestoreOptions(
        preset=args.preset,
        whole_frame=args.whole_frame or getattr(args, "as_released", False),
        faces=args.faces or default.faces,
        min_face=default.min_face if args.min_face is None else args.min_face,
        strength=strength,
        color=args.color,
        occluders=args.occluders,
        window=args.window,
        overlap=args.overlap,
        detector=args.detector or default.detector,
        size=args.size,
        identity_guard=args.identity_guard,
        identity_threshold=args.identity_threshold,
        keep_size=args.keep_size,
        deinterlace=args.deinterlace,
        person_strengths=person_strengths,
        same_person=default.same_person if args.same_person is None else args.same_person,
        **more,
    )


def _faces_told(result: Result) -> str:
    if result.whole_frame:
        return "whole frames"
    people = f" of {counted(result.people, 'person', 'people')}" if result.people else ""
    return f"{counted(result.tracks, 'face track')}{people} (mask: {result.mask_source})"


def carry_out(
    args: argparse.Namespace,
    options: RestoreOptions,
    told: Callable[[Result], str],
    *,
    notice: str = "",
    background: Path | None = None,
) -> None:
    """Check, restore, and say what was done: what ``restore`` and ``deflicker`` have in common.

    Args:
        told: what the last line says of the result, beside its frames, shots, time and memory.
        notice: said once the model is there; "": nothing.
    """
    from vividface_core.cli.progress import Console
    from vividface_core.cli.restore_checks import check_request
    from vividface_core.pipeline.restore import Resuming, restore_video
    from vividface_core.runtime.memory import peak_memory

    # Whatever is at fault is said before a model is loaded.
    source, below = check_request(args, options, background)
    console = Console(quiet=args.quiet)
    restorer, model_id = restorer_of(args, console.notice)
    if notice:
        console.notice(notice)
    began = time.monotonic()
    try:
        result = restore_video(
            source,
            args.output,
            restorer,
            options,
            callbacks=console,
            resuming=Resuming(args.resume, model_id=model_id),
            background=below,
        )
    finally:
        console.close()  # an error's line stands alone
        restorer.close()
    if args.side_by_side:
        from vividface_core.video.compare import side_by_side

        side_by_side(args.input, args.output, args.side_by_side)
    print(
        f"{result.output}: {counted(result.frames, 'frame')}, {counted(result.shots, 'shot')}, {told(result)}, "
        f"{time.monotonic() - began:.1f} s, peak memory {peak_memory() / 2**30:.2f} GiB"
    )


def restorer_of(args: argparse.Namespace, notice: Callable[[str], None]) -> tuple[Restorer, str]:
    """The restorer on its device or devices, and what tells its results from those of another one."""
    from vividface_core.restorers.multi_device.pool import DevicePool
    from vividface_core.runtime.cpu_types import emulation_notice
    from vividface_core.runtime.devices import pick_device, pick_devices, pick_dtype
    from vividface_core.weights import load_restorer

    if args.devices and args.device != "auto":
        raise InvalidOption("--device and --devices are both given; leave out one of them.")
    devices = pick_devices(args.devices) if args.devices else [pick_device(args.device)]
    if emulated := emulation_notice(pick_dtype(args.dtype), devices[0]):
        notice(emulated)
    told, given = model_of(args), _given(args)
    folders = args.models_dir or None
    load = partial(load_restorer, args.model, dtype=pick_dtype(args.dtype), folders=folders, **given)
    if len(devices) == 1:
        restorer = load(device=devices[0])
    else:
        restorer = DevicePool(load, devices, notice, together=args.together)
    return restorer, f"{told} {restorer.dtype}"


def model_of(args: argparse.Namespace) -> str:
    """What tells the results of a checkpoint with these options from others', but for the numbers' type.

    Raises:
        VividFaceError: it isn't here, or its system lacks an option.
    """
    from vividface_core.weights import system_of, where

    path, given = where(args.model, args.models_dir or None), _given(args)
    system = system_of(path)
    _check_given(args, system, given)
    return " ".join([str(path), *result_marks(system.options, given)])


def _check_given(args: argparse.Namespace, system: System, given: Mapping[str, Any]) -> None:
    """Refuse options that the checkpoint's system doesn't have, or that don't go with several devices."""
    if lost := [shared_options()[name][0][1].flag for name in given if name not in system.options]:
        raise InvalidOption(f"{', '.join(lost)}: models of {system.id} don't have that; leave it out.")
    if getattr(args, "as_released", False) and AS_RELEASED not in system.capabilities:
        raise InvalidOption(f"--as-released follows VividFace's script; this is a model of {system.id}.")
    alone = [option.flag for option in system.options.values() if not option.together]
    if args.together and (not args.devices or any(not system.options[name].together for name in given)):
        without = f", and goes with neither {' nor '.join(alone)}" if alone else ""
        raise InvalidOption(f"--together needs --devices{without}.")
