"""``vividface degrade``: its options, and the run."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vividface_core.cli.overwrite import add_overwrite, ask_to_replace
from vividface_core.degrade.files import CODECS_OUT, DegradeResult, check_request, degrade_video, targets_of
from vividface_core.degrade.folder import degrade_folder
from vividface_core.degrade.parameters import Range, parse_settings
from vividface_core.degrade.presets import PRESETS, load_preset, preset_names
from vividface_core.degrade.sampled import SampledDegradation
from vividface_core.io.output_guard import Source, check_paths, unrelated
from vividface_core.runtime.callbacks import Callbacks
from vividface_core.runtime.memory import peak_memory
from vividface_core.runtime.wording import counted
from vividface_core.video.folder import folder_targets, videos_in
from vividface_core.video.source import VideoFrames


class _ListPresets(argparse.Action):
    """Prints every preset and ends, whatever else is asked."""

    def __init__(self, option_strings: list[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print("\n\n".join(preset.describe() for preset in PRESETS.values()))
        parser.exit()


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``vividface degrade``."""
    add = parser.add_argument
    add("input", type=Path, metavar="IN", help="video, folder of pictures, one picture, or folder of videos")
    add(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="file; folder for --codec-out png and for a folder of videos",
    )
    add("--preset", default="vividface", help=f"degradation: {', '.join(preset_names())} (default vividface)")
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="the same seed draws the same degradation (default 0); in a folder each file has its own seed, made of "
        "this one and its name",
    )
    add(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="NAME=VALUE",
        help="fix a value (crf=23), give it a range (sigma=2..6) or choices (filter=area,bicubic); may be repeated",
    )
    add(
        "--codec-out",
        default=CODECS_OUT[0],
        metavar="CODEC",
        help="how the result is kept: h264 (default; crf 16, far finer than what the degradation leaves), or ffv1 or "
        "png, which keep it exactly",
    )
    add(
        "--deinterlace",
        default="auto",
        metavar="HOW",
        help="auto (default): interlaced frames are made into whole ones where their fields show different moments; "
        "off: fields stay",
    )
    add("--list-presets", action=_ListPresets, help="show all presets with their values, and end")
    add_overwrite(parser)
    add("--quiet", action="store_true", help="no progress, notices only")


def run(args: argparse.Namespace) -> int:
    """Carry out ``vividface degrade``; returns 1 if a file of a folder failed.

    Raises:
        VividFaceError: an option is at fault, or the input or output.
    """
    preset = load_preset(args.preset, parse_settings(args.settings))
    many = args.input.is_dir() and bool(videos_in(args.input))
    options = {"seed": args.seed, "codec_out": args.codec_out, "deinterlace": args.deinterlace}
    _check(args, many)
    console, began = _Console("file" if many else "frame", quiet=args.quiet), time.monotonic()
    try:
        if many:
            result = degrade_folder(args.input, args.output, preset, callbacks=console, **options)
            done, failed = result.done, result.failed
        else:
            done, failed = [degrade_video(args.input, args.output, preset, callbacks=console, **options)], {}
    finally:
        console.close()  # an error's line stands alone
    for one in done:
        print(_line(one))
    print(f"{time.monotonic() - began:.1f} s, peak memory {peak_memory() / 2**30:.2f} GiB")
    if failed:
        names = ", ".join(failed)
        total = counted(len(failed) + len(done), "file")
        print(f"vividface: {len(failed)} of {total} failed: {names}", file=sys.stderr)
    return 1 if failed else 0


def _check(args: argparse.Namespace, many: bool) -> None:
    """Before the work: nothing is written over what is read, and over nothing else that nobody was asked about.

    Raises:
        VividFaceError: see :mod:`vividface_core.io.output_guard`.
    """
    if not many:
        check_request(VideoFrames(args.input, deinterlace=args.deinterlace), args.output, args.codec_out)
        outputs = {args.input: args.output}
    else:
        outputs = folder_targets(args.input, args.output, args.codec_out)
    targets = [target for output in outputs.values() for target in targets_of(output)]
    check_paths(targets, [Source(path, "the input") for path in outputs])
    # An empty folder is a place for pictures, and one that isn't empty was refused.
    existing = [path for path in unrelated(target.path for target in targets) if not path.is_dir()]
    ask_to_replace(existing, overwrite=args.overwrite)


def _line(result: DegradeResult) -> str:
    return f"{result.output}: {counted(result.frames, 'frame')}, {told(result.drawn)}"


def told(drawn: SampledDegradation) -> str:
    """What was drawn, in a line; of what each frame draws for itself, the range."""
    ranges = load_preset(drawn.preset).ranges()
    ignored = _ignored(drawn)
    shown = [
        f"{name} {f'{value:.3g}' if isinstance(value, float) else value}"
        for name, value in drawn.values.items()
        if name not in ignored and (isinstance(value, Range) or value != ranges[name])
    ]
    return f"{drawn.preset} with seed {drawn.seed}: {', '.join(shown) or 'nothing'}"


def _ignored(drawn: SampledDegradation) -> set[str]:
    """Values that the drawn encoders don't heed."""
    ignored = set()
    for encoder, quality, other in (
        ("codec", "crf", "bitrate"),
        ("encoder", "crf", "quantizer"),
        ("encoder_again", "crf_again", "quantiser_again"),
    ):
        if encoder in drawn.values:
            ignored.add(other if drawn.values[encoder] in ("libx264", "libx265") else quality)
    return ignored


class _Console(Callbacks):
    """A bar on stderr, and notices."""

    def __init__(self, unit: str, *, quiet: bool) -> None:
        self._unit, self._quiet = unit, quiet
        self._bar: tqdm | None = None

    def progress(self, stage: str, done: float, total: float | None) -> None:
        if self._quiet:
            return
        if self._bar is None:
            layout = "{l_bar}{bar}| {n:.0f}/{total_fmt} {unit}s [{elapsed}<{remaining}]" if total else None
            self._bar = tqdm(
                total=total, desc="Degrading", unit=self._unit, file=sys.stderr, mininterval=0.3, bar_format=layout
            )
        self._bar.update(done - self._bar.n)

    def notice(self, text: str) -> None:
        tqdm.write(f"vividface: {text}", file=sys.stderr)

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None
