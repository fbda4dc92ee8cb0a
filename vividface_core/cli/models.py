"""``vividface models``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vividface_core.cli.overwrite import add_overwrite, ask_to_replace
from vividface_core.io.output_guard import unrelated
from vividface_core.restorers.registry import System, resolve, systems
from vividface_core.weights.catalog import NO_LICENCE


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``vividface models``, by action."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
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
        "convert",
        help="make one folder out of the official files, or a denoiser for ComfyUI",
        description="Make one folder out of the official files. An output that ends in .safetensors gets the denoiser "
        "alone, as ComfyUI reads it from diffusion_models.",
    )
    resolve(_converter().convert).add_options(convert)
    add_overwrite(convert)


def run(args: argparse.Namespace) -> None:
    """Carry out ``vividface models …``."""
    from vividface_core import weights
    from vividface_core.cli.progress import share_bar

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
        entry = weights.TABLE.get(args.name)
        if entry is not None and entry.licence == NO_LICENCE:
            print(f"vividface: licence of {args.name}: {entry.licence}.", file=sys.stderr)
        with share_bar(f"Fetching {args.name}") as progress:
            path = weights.download(args.name, folders[0] if folders else None, progress)
        print(path)
    else:
        for info in weights.list_checkpoints(folders):
            print(info)


def _convert(args: argparse.Namespace) -> None:
    from vividface_core.cli.progress import share_bar

    converter = resolve(_converter().convert)
    converter.check(args)
    ask_to_replace(unrelated([args.output]), overwrite=args.overwrite)
    print(converter.run(args, share_bar))


def _converter() -> System:
    """The system whose official files are converted: the first one that has such files."""
    return next(system for system in systems() if system.convert)
