"""``vividface models``."""

from __future__ import annotations

import argparse
from pathlib import Path

from vividface_core.cli.overwrite import add_overwrite, ask_to_replace
from vividface_core.errors import InvalidOption
from vividface_core.io.output_guard import unrelated


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
    add_overwrite(convert)
    convert.add_argument("--dtype", default="bf16",
                         help="fp32, bf16 (default), fp16, or fp8: the denoiser's matrices in 8 bits with scales")


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
        with share_bar(f"Fetching {args.name}") as progress:
            path = weights.download(args.name, folders[0] if folders else None, progress)
        print(path)
    else:
        for entry in weights.list_checkpoints(folders):
            print(entry)


def _convert(args: argparse.Namespace) -> None:
    from vividface_core import weights
    from vividface_core.cli.progress import share_bar
    from vividface_core.io.quantization import FP8
    from vividface_core.runtime.devices import pick_dtype
    from vividface_core.weights.convert import check_file, check_folder

    sources = {"--dit": args.dit, "--vae": args.vae, "--umt5": args.umt5, "--prompt": args.prompt}
    check = check_file if args.output.suffix == ".safetensors" else check_folder
    check(args.output, sources)
    ask_to_replace(unrelated([args.output]), overwrite=args.overwrite)
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
