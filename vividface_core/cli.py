"""The ``vividface`` command."""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from importlib import import_module
from pathlib import Path

from vividface_core.errors import InvalidOption, VividFaceError

DEVICES = "auto, cpu, cuda, cuda:N, mps or xpu"
KEPT = {
    "restore": " Finished shots are kept: run again with --resume.",
    "degrade": " Only whole files are kept.",
    "run": " Finished files are kept: the same command does the rest.",
    "bench": " Finished clips are kept: the same command does the rest.",
    "score": " Videos that were judged are kept in the file of --jsonl: the same command does the rest.",
    "curate": " Everything that was found out is kept: the same command does the rest.",
}
"""What Ctrl-C leaves behind, by command."""


TOOLS = {
    "run": (
        "vividface_core.client.command",
        "send a folder of videos through a workflow on ComfyUI servers",
        "Send each video of a folder through a workflow on one or several ComfyUI servers, and fetch the results. A "
        "later run does only what is missing or changed.",
    ),
    "degrade": (
        "vividface_core.degrade.command",
        "make a video worse, as papers do, to test restorers",
        "Degrade a video, a folder of pictures or a folder of videos by a recipe of the papers. Times, sound and size "
        "stay. What was drawn is written beside the output (OUT.degradation.json) and into it.",
    ),
    "metrics": (
        "vividface_core.metrics.command",
        "measure videos, with or without a reference",
        "Measure videos, or folders of them, with or without a reference, and write reports.",
    ),
    "bench": (
        "vividface_core.bench.command",
        "the papers' tables, with rows measured here",
        "Degrade a data set, restore it with one or several checkpoints, measure, and print the papers' tables with "
        "rows of one's own under them. A second run goes on where the first one stopped.",
    ),
    "score": (
        "vividface_core.mllm.command",
        "grade face videos by a multimodal model, as training data",
        "Grade face videos by the paper's criteria: a multimodal model on this machine or behind a server looks at "
        "frames of each and gives five scores, bonuses and penalties. Sums are computed anew.",
    ),
    "curate": (
        "vividface_core.curate.command",
        "make a data set of face clips out of a folder of videos",
        "Cut videos into face clips, measure them, leave out what is technically poor or there already, have a judge "
        "grade the others, and keep the best: clips, a manifest with every score and every reason, a contact sheet, "
        "and a page where a person can overrule. The same command goes on where it was stopped; nothing is judged "
        "twice.",
    ),
    "calibrate": (
        "vividface_core.curate.calibrate",
        "correct a judge's scores by those of people",
        "Fit the correction that brings a judge's scores in line with people's: monotone, for one judge and one version "
        "of the criteria, from five or more clips that a person scored. Tells the rank correlation before and after.",
    ),
}
"""Commands that live in rooms of their own, by name: a module with ``add_options`` and ``run``, a line and a paragraph
of help."""


def build_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """All commands with their help texts.

    Args:
        chosen: the only one whose room is opened for its options, so that no other room's imports cost time; ``None``:
            all of them.
    """
    parser = argparse.ArgumentParser(prog="vividface", description="Video face enhancement.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_restore(commands)
    _add_tools(commands, chosen)
    _add_models(commands)
    return parser


def _add_restore(commands: argparse._SubParsersAction) -> None:
    restore = commands.add_parser(
        "restore",
        help="restore the faces of a video",
        description="Restore the faces of a video. Everything else (other pixels, audio, subtitles, timing) stays.",
    )
    add = restore.add_argument
    add("input", type=Path, help="video, folder of images, or one image")
    add("-o", "--output", type=Path, required=True, help="file, or folder with --preset png")
    add("--model", default="vividface-nano", help="name (see 'vividface models list') or path of a checkpoint")
    add("--models-dir", type=Path, action="append", default=[], metavar="DIR", help="look for checkpoints here too")
    add("--preset", default="h264", help="h264 (default), h265, prores, ffv1 or png")
    add("--whole-frame", action="store_true", help="no face crop: the footage is a face crop already")
    add("--faces", default="all", metavar="WHICH",
        help="all (default), largest, index:0,2 (from the left in each shot) or ref:PICTURE (people who look like the "
        "one in a picture; heavily degraded faces may not be recognised)")
    add("--min-face", type=float, default=24, metavar="PIXELS", help="leave smaller faces alone (default 24)")
    add("--strength", type=float, default=1.0, help="0 = source … 1 = fully restored (default)")
    add("--color", default="auto", help="colour match: auto (default), wavelet, lab, adain or none")
    add("--window", type=int, metavar="FRAMES", help="frames restored together, 4k + 1; default: as memory allows")
    add("--overlap", type=int, metavar="FRAMES", help="frames that neighbouring windows share")
    add("--size", type=int, metavar="PIXELS", help="side of the crop; default: what the model was trained on")
    add("--detector", default="auto", help="auto (default), mtcnn or retinaface")
    add("--keep-size", action="store_true",
        help="with --whole-frame: restore at the video's own size, as far as memory goes")
    add("--device", default="auto", help=DEVICES)
    add("--devices", metavar="LIST",
        help="several devices, a process each, that share the windows: 0,1 or cuda:0,cuda:1")
    add("--dtype", default="auto", help="auto, fp32, bf16 or fp16")
    add("--weights", default="auto", metavar="HOW",
        help="quantised weights (fp8, GGUF): dense unpacks them once, compact at every use, in less memory and slower; "
        "auto (default): dense where they fit easily")
    add("--attention", default="auto", metavar="KERNEL",
        help="auto (default), flash, cudnn, efficient or math; flash3 and sage, which isn't exact, need their packages")
    add("--linear", default="auto", metavar="HOW",
        help="the denoiser's large matrices: auto (default, exact), fp8-weights (stored in 8 bits) or fp8 (multiplied "
        "in 8 bits as well, where the device can)")
    add("--compile", action="store_true", help="compile the denoiser: takes a minute at first, pays off on a GPU")
    add("--cuda-graphs", action="store_true", help="record the denoiser's pass for sizes that come again")
    add("--plain", action="store_true", help="diffusers' own modules, slower and larger: the same result, to compare")
    add("--resume", action="store_true", help="go on with an interrupted run at its first unfinished shot")
    add("--side-by-side", type=Path, metavar="FILE", help="also write input and output next to each other")
    add("--quiet", action="store_true", help="no progress, notices only")
    add("--identity-guard", default="warn", metavar="MODE",
        help="warn (default): say so where a restored face looks like somebody else; blend: also blend it back towards "
        "the input as far as needed; off")
    add("--identity-threshold", type=float, default=0.2, metavar="X",
        help="least likeness of a restored face to its input, 0 to 1 (default 0.2)")
    restore.set_defaults(run=run_restore)


def _add_tools(commands: argparse._SubParsersAction, chosen: str | None) -> None:
    for name, (module, summary, description) in TOOLS.items():
        tool = commands.add_parser(name, help=summary, description=description)
        if chosen not in (None, name):
            continue
        command = import_module(module)
        command.add_options(tool)
        tool.set_defaults(run=command.run)


def _add_models(commands: argparse._SubParsersAction) -> None:
    models = commands.add_parser("models", help="list, find, download and convert checkpoints")
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="all known checkpoints and whether they are here")
    where = actions.add_parser("where", help="the folder of one checkpoint")
    where.add_argument("name")
    look = actions.add_parser("inspect", help="what a file or folder is, and in which format")
    look.add_argument("path", type=Path)
    download = actions.add_parser("download", help="fetch a checkpoint from the Hub, checked and resumable")
    download.add_argument("name")
    for action in (listing, where, download):
        action.add_argument("--models-dir", type=Path, action="append", default=[], metavar="DIR")
    convert = actions.add_parser(
        "convert", help="make one folder out of the official files, or a denoiser for ComfyUI",
        description="Make one folder out of the official files. An output that ends in .safetensors gets the denoiser "
        "alone, as ComfyUI reads it from diffusion_models.",
    )
    convert.add_argument("--dit", type=Path, required=True, help="vividface.ckpt or any Wan denoiser, in any format")
    convert.add_argument("--vae", type=Path, help="Wan2.1_VAE.pth or any Wan VAE; for a folder")
    source = convert.add_mutually_exclusive_group()
    source.add_argument("--umt5", type=Path, help="UMT5-XXL encoder, read one layer at a time")
    source.add_argument("--prompt", type=Path, help="an empty_prompt.safetensors that exists already")
    convert.add_argument("-o", "--output", type=Path, required=True)
    convert.add_argument("--dtype", default="bf16",
                         help="fp32, bf16 (default), fp16, or fp8: the denoiser's matrices in 8 bits with scales")
    models.set_defaults(run=run_models)


def run_restore(args: argparse.Namespace) -> None:
    """Carry out ``vividface restore``."""
    from vividface_core.devices import pick_device, pick_devices, pick_dtype
    from vividface_core.pipeline import RestoreOptions, restore_video
    from vividface_core.progress import Console, peak_memory
    from vividface_core.restorers.pool import DevicePool
    from vividface_core.video.reader import probe
    from vividface_core.wan import attention, linears
    from vividface_core.weights import load_restorer, where

    options = RestoreOptions(
        preset=args.preset, whole_frame=args.whole_frame, faces=args.faces, min_face=args.min_face,
        strength=args.strength, color=args.color, window=args.window, overlap=args.overlap,
        detector=args.detector, size=args.size,
        identity_guard=args.identity_guard, identity_threshold=args.identity_threshold, keep_size=args.keep_size,
    )
    probe(args.input)  # an unreadable input is said before a model is loaded
    if args.devices and args.device != "auto":
        raise InvalidOption("--device and --devices are both given; leave out one of them.")
    devices = pick_devices(args.devices) if args.devices else [pick_device(args.device)]
    folders = args.models_dir or None
    console = Console(quiet=args.quiet)
    load = partial(load_restorer, args.model, dtype=pick_dtype(args.dtype), folders=folders, weights=args.weights,
                   attention=args.attention, linear=args.linear, compile=args.compile, graphs=args.cuda_graphs,
                   plain=args.plain)
    restorer = load(device=devices[0]) if len(devices) == 1 else DevicePool(load, devices, console.notice)
    if args.model == "vividface-nano":
        console.notice("vividface-nano is the small embedded model; 'vividface models list' shows the full ones.")
    began = time.monotonic()
    inexact = {args.linear, args.attention} & (attention.INEXACT | linears.INEXACT)
    model_id = " ".join([str(where(args.model, folders)), *sorted(inexact)])
    try:
        result = restore_video(args.input, args.output, restorer, options, resume=args.resume, listener=console,
                               model_id=f"{model_id} {restorer.dtype}")
    finally:
        console.close()  # an error's line stands alone
        restorer.close()
    if args.side_by_side:
        from vividface_core.video.compare import side_by_side

        side_by_side(args.input, args.output, args.side_by_side)
    print(
        f"{result.output}: {result.frames} frames, {result.shots} shot{'s' * (result.shots != 1)}, "
        f"{result.tracks} face track{'s' * (result.tracks != 1)} (mask: {result.mask_source}), "
        f"{time.monotonic() - began:.1f} s, peak memory {peak_memory() / 2**30:.2f} GiB"
    )


def run_models(args: argparse.Namespace) -> None:
    """Carry out ``vividface models …``."""
    from vividface_core import weights
    from vividface_core.progress import share_bar

    if args.action == "convert":
        _convert(args)
        return
    if args.action == "inspect":
        print(weights.inspect(args.path))
        return
    folders = args.models_dir or None
    if args.action == "where":
        print(weights.where(args.name, folders))
    elif args.action == "download":
        with share_bar(f"Fetching {args.name}") as progress:
            path = weights.download(args.name, folders[0] if folders else None, progress)
        print(path)
    else:
        for entry in weights.list_checkpoints(folders):
            print(entry)


def _convert(args: argparse.Namespace) -> None:
    from vividface_core import weights
    from vividface_core.devices import pick_dtype
    from vividface_core.progress import share_bar
    from vividface_core.wan.quantised import FP8

    dtype = FP8["float8_e4m3fn"] if args.dtype == "fp8" else pick_dtype(args.dtype)
    if args.output.suffix == ".safetensors":
        if args.vae or args.umt5 or args.prompt:
            raise InvalidOption("A .safetensors file gets the denoiser alone; leave out --vae, --umt5 and --prompt.")
        weights.convert_denoiser(args.dit, args.output, dtype)
    elif args.vae is None:
        raise InvalidOption("A folder needs the autoencoder as well: say where it is with --vae.")
    else:
        with share_bar("Converting") as progress:
            weights.convert(dit=args.dit, vae=args.vae, umt5=args.umt5, prompt=args.prompt, output=args.output,
                            dtype=dtype, progress=progress)
    print(args.output)


def main(argv: list[str] | None = None) -> int:
    """Entry point. Returns 0, 1 after an error (one line on stderr) or with failed files, or 130 after Ctrl-C."""
    words = sys.argv[1:] if argv is None else argv
    args = build_parser(words[0] if words else "").parse_args(argv)
    args.words = list(words)
    try:
        return args.run(args) or 0
    except VividFaceError as error:
        print(f"vividface: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nvividface: stopped.{KEPT.get(args.command, '')}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
