"""Official files as the project's own checkpoint folder, or as a denoiser that ComfyUI loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from vividface_core.errors import InvalidOption, UnsupportedCheckpoint
from vividface_core.io.output_guard import Source, Target, check_paths
from vividface_core.io.tensors import write_tensors
from vividface_core.wan.empty_prompt import EmptyPrompt, compute_empty_prompt
from vividface_core.wan.loading import HEAD_DIM, load_transformer, load_vae
from vividface_core.wan.state_dict import original_transformer_names
from vividface_core.weights.folder import CARD, save_checkpoint_folder, tensors_of


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
    if (umt5 is None) == (prompt is None):
        raise InvalidOption("Say either where the text encoder is (umt5) or where an empty prompt is (prompt).")
    output = Path(output)
    check_folder(output, {"the denoiser": dit, "the autoencoder": vae, "the text encoder": umt5, "the prompt": prompt})
    transformer, autoencoder = load_transformer(Path(dit)), load_vae(Path(vae))
    embedding = EmptyPrompt.load(Path(prompt)) if prompt else compute_empty_prompt(Path(umt5), progress)
    made_of = {"dit": Path(dit).name, "vae": Path(vae).name, "prompt": Path(prompt or umt5).name}
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
    write_tensors(output, *tensors_of(transformer, dtype, names.__getitem__))
    return output
