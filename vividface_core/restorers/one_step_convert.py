"""Official Wan files made into a checkpoint folder, or into a denoiser for ComfyUI: ``vividface models convert``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from vividface_core.errors import InvalidOption, UnsupportedCheckpoint
from vividface_core.io.output_guard import Source, Target, check_paths
from vividface_core.io.quantization import FP8
from vividface_core.io.tensors import write_tensors
from vividface_core.restorers.one_step_save import save_checkpoint_folder, tensors_to_store
from vividface_core.restorers.registry import CARD
from vividface_core.runtime.devices import pick_dtype
from vividface_core.wan.empty_prompt import EmptyPrompt, compute_empty_prompt
from vividface_core.wan.loading import HEAD_DIM, load_transformer, load_vae
from vividface_core.wan.state_dict import original_transformer_names


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``vividface models convert``."""
    parser.add_argument("--dit", type=Path, required=True, help="vividface.ckpt or any Wan denoiser, in any format")
    parser.add_argument("--vae", type=Path, help="Wan2.1_VAE.pth or any Wan VAE; for a folder")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--umt5", type=Path, help="UMT5-XXL encoder, read one layer at a time")
    source.add_argument("--prompt", type=Path, help="an empty_prompt.safetensors that exists already")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument(
        "--dtype",
        default="bf16",
        help="fp32, bf16 (default), fp16, or fp8: the denoiser's matrices in 8 bits with scales",
    )


def check(args: argparse.Namespace) -> None:
    """Find out before the work whether ``args.output`` could be written.

    Raises:
        InvalidOption: see :func:`check_folder`.
    """
    sources = {"--dit": args.dit, "--vae": args.vae, "--umt5": args.umt5, "--prompt": args.prompt}
    (check_file if args.output.suffix == ".safetensors" else check_folder)(args.output, sources)


def run(args: argparse.Namespace, bar: Callable[[str], AbstractContextManager[Callable[[float], None]]]) -> Path:
    """Carry out ``vividface models convert``; returns what was written.

    Args:
        bar: ``bar(title)`` shows how far the work is.

    Raises:
        InvalidOption: options that don't go together.
        VividFaceError: see :func:`convert` and :func:`convert_denoiser`.
    """
    dtype = FP8["float8_e4m3fn"] if args.dtype == "fp8" else pick_dtype(args.dtype)
    if args.output.suffix == ".safetensors":
        if args.vae or args.umt5 or args.prompt:
            raise InvalidOption("A .safetensors file gets the denoiser alone; leave out --vae, --umt5 and --prompt.")
        return convert_denoiser(args.dit, args.output, dtype)
    if args.vae is None:
        raise InvalidOption("A folder needs the autoencoder as well: say where it is with --vae.")
    with bar("Converting") as progress:
        return convert(
            dit=args.dit,
            vae=args.vae,
            umt5=args.umt5,
            prompt=args.prompt,
            output=args.output,
            dtype=dtype,
            progress=progress,
        )


def check_folder(output: Path, sources: Mapping[str, Path | None]) -> None:
    """Find out before the work whether a checkpoint folder could be written.

    Args:
        sources: what it is made of, by the names of messages.

    Raises:
        InvalidOption: the output is something else, its folder is missing, or a source lies in it.
    """
    output = Path(output)
    if output.exists() and not (output / CARD).is_file():
        raise InvalidOption(f"{output} exists and is no checkpoint folder; choose another output.")
    _check_parent(output)
    check_paths([Target(output, "The output", whole=True)], _sources(sources))


def check_file(output: Path, sources: Mapping[str, Path | None]) -> None:
    """:func:`check_folder` for a denoiser in one file."""
    output = Path(output)
    _check_parent(output)
    if output.is_dir():
        raise InvalidOption(f"{output} is a folder; choose another name for the file.")
    check_paths([Target(output, "The output")], _sources(sources))


def _check_parent(output: Path) -> None:
    if not output.absolute().parent.is_dir():
        raise InvalidOption(f"The folder {output.absolute().parent} does not exist; make it first.")


def _sources(paths: Mapping[str, Path | None]) -> list[Source]:
    return [Source(Path(path), name) for name, path in paths.items() if path is not None]


def convert(
    *,
    dit: Path,
    vae: Path,
    output: Path,
    umt5: Path | None = None,
    prompt: Path | None = None,
    dtype: torch.dtype | None = torch.bfloat16,
    meta: Mapping[str, Any] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Make a checkpoint folder out of the official files.

    Args:
        dit: ``vividface.ckpt``, or any other Wan text-to-video denoiser: original, ComfyUI's or diffusers'.
        vae: ``Wan2.1_VAE.pth``, or any other Wan 2.1 autoencoder.
        output: the folder to write.
        umt5: the text encoder, to compute the embedding of "" (read one matrix at a time), or
        prompt: an ``empty_prompt.safetensors`` that exists already.
        dtype: type of the stored weights; see :func:`save_checkpoint_folder`.
        meta: more for the card.
        progress: called with the share done, 0…1.

    Raises:
        InvalidOption: neither or both of ``umt5`` and ``prompt``; ``output`` is something else.
        MissingWeights, UnsupportedCheckpoint: an input is not there or not what it should be.
    """
    text = umt5 if prompt is None else prompt
    if text is None or (umt5 is not None and prompt is not None):
        raise InvalidOption("Say either where the text encoder is (umt5) or where an empty prompt is (prompt).")
    output = Path(output)
    check_folder(output, {"the denoiser": dit, "the autoencoder": vae, "the text encoder": umt5, "the prompt": prompt})
    transformer, autoencoder = load_transformer(Path(dit)), load_vae(Path(vae))
    embedding = compute_empty_prompt(Path(text), progress) if prompt is None else EmptyPrompt.load(Path(text))
    made_of = {"dit": Path(dit).name, "vae": Path(vae).name, "prompt": Path(text).name}
    return save_checkpoint_folder(
        output, autoencoder, transformer, embedding, {"made_of": made_of, **(meta or {})}, dtype
    )


def convert_denoiser(dit: Path, output: Path, dtype: torch.dtype | None = torch.bfloat16) -> Path:
    """Write a denoiser alone as one file in Wan's own names, for ComfyUI's ``diffusion_models``.

    Args:
        dit: a denoiser in any format.
        output: a ``.safetensors`` file.
        dtype: type of the stored weights; see :func:`save_checkpoint_folder`.

    Raises:
        InvalidOption: the output's folder does not exist, or the output is the input.
        MissingWeights, UnsupportedCheckpoint: the input is not there or not what it should be, or it has a layout that
            Wan's own code lacks.
    """
    output = Path(output)
    check_file(output, {"the denoiser": dit})
    transformer = load_transformer(Path(dit))
    config = transformer.config
    if config.attention_head_dim != HEAD_DIM or tuple(config.patch_size) != (1, 2, 2):
        raise UnsupportedCheckpoint(
            f"Wan's own code has heads of {HEAD_DIM} channels and patches of 1×2×2; {dit} has heads of "
            f"{config.attention_head_dim} and patches of {'×'.join(map(str, config.patch_size))}. Write a folder."
        )
    names = original_transformer_names(transformer.state_dict())
    write_tensors(output, *tensors_to_store(transformer, dtype, names.__getitem__))
    return output
