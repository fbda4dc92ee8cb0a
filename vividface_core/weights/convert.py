"""The project's own checkpoint folder, and a denoiser for ComfyUI: written whole or not at all.

A folder is ``vae/`` and ``transformer/`` in diffusers' layout, ``empty_prompt.safetensors``, and ``vividface.json``.

In fp8 the matrices of the blocks are stored in 8 bits with a scale each, as ComfyUI stores them; what is small or
sensitive stays wider.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vividface_core.errors import InvalidOption, UnsupportedCheckpoint
from vividface_core.io.output_guard import Source, Target, check_paths
from vividface_core.io.quantization import FP8, QuantizedLinear, dense_tensors, layer_table, quantize_fp8
from vividface_core.io.tensors import write_tensors
from vividface_core.restorers.one_step import OneStepRestorer
from vividface_core.wan.empty_prompt import FILE_NAME, EmptyPrompt, compute_empty_prompt
from vividface_core.wan.loading import HEAD_DIM, load_transformer, load_vae
from vividface_core.wan.state_dict import original_transformer_names
from vividface_core.wan.transformer import T_STAR, VELOCITY_SCALE, weight_type

CARD = "vividface.json"
FORMAT = 1
DEFAULTS = {
    "format": FORMAT,
    "system": "vividface",
    "t_star": T_STAR,
    "velocity_scale": VELOCITY_SCALE,
    "native_size": 512,
    "native_frames": 81,
}
"""What a card says where it is silent: the released model."""
PYTORCH = {"format": "pt"}
"""Metadata of every file of weights."""


def save_checkpoint_folder(
    path: Path,
    vae: nn.Module,
    transformer: nn.Module,
    empty_prompt: EmptyPrompt | Tensor,
    meta: Mapping[str, Any],
    dtype: torch.dtype | None = torch.float16,
) -> Path:
    """Write a checkpoint folder; an older one of that name is replaced when the new one is complete. Whatever else
    lies in it stays.

    Args:
        vae: ``AutoencoderKLWan``, its config with ``latents_mean`` and ``latents_std``. Not changed.
        transformer: ``WanTransformer3DModel``. Not changed.
        empty_prompt: embedding of "", or its rows ``[tokens, text width]``.
        meta: entries of the card, over :data:`DEFAULTS`: ``t_star``, ``velocity_scale``, ``native_size``,
            ``native_frames``, training data and its licences, metrics …
        dtype: type of the stored weights; ``None``: as they are; an fp8 type: the denoiser's blocks in it, with
            scales, and the rest in bf16 or fp32.

    Raises:
        UnsupportedCheckpoint: the three do not belong together, or a weight does not fit ``dtype``.
    """
    path = Path(path)
    prompt = empty_prompt if isinstance(empty_prompt, EmptyPrompt) else EmptyPrompt(empty_prompt.detach().float())
    OneStepRestorer.check_parts(vae, transformer, prompt)
    partial = path.with_name(f".{path.name}.partial.{uuid.uuid4().hex[:8]}")
    try:
        for name, module in (("vae", vae), ("transformer", transformer)):
            (partial / name).mkdir(parents=True)
            module.save_config(partial / name)
            weights, described = _tensors(module, dtype)
            write_tensors(partial / name / "diffusion_pytorch_model.safetensors", weights, described)
        prompt.save(partial / FILE_NAME)
        card = json.dumps({**DEFAULTS, **meta, "format": FORMAT}, indent=2, ensure_ascii=False)
        (partial / CARD).write_text(card + "\n", encoding="utf-8")
        _put_in_place(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return path


def _stored(name: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    # A copy, because safetensors refuses tensors that share memory.
    stored = value.detach().to("cpu", dtype or value.dtype, copy=True).contiguous()
    if torch.isfinite(value).all() and not torch.isfinite(stored).all():
        raise UnsupportedCheckpoint(f"{name} reaches {float(value.abs().max()):.3g}, too large for {dtype}. Take bf16.")
    return stored


def _tensors(
    module: nn.Module, dtype: torch.dtype | None, rename: Callable[[str], str] = str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors to store, under ``rename``d names, and the metadata that describes them."""
    if dtype not in FP8.values():
        return {rename(key): _stored(key, value, dtype) for key, value in dense_tensors(module).items()}, PYTORCH
    encoding = next(name for name, known in FP8.items() if known == dtype)
    linear = {f"{name}.weight" for name, part in module.named_modules()
              if name.startswith("blocks.") and isinstance(part, (nn.Linear, QuantizedLinear))}  # fmt: skip
    tensors, layers = {}, {}
    for key, value in dense_tensors(module).items():
        if key not in linear:
            tensors[rename(key)] = _stored(key, value, weight_type(module, key, torch.bfloat16))
            continue
        try:
            weight = quantize_fp8(value.cpu(), encoding)
        except ValueError as error:
            raise UnsupportedCheckpoint(f"{key} can't be stored in fp8: {error}. The checkpoint is damaged.") from error
        layer = rename(key).removesuffix(".weight")
        tensors[f"{layer}.weight"] = weight.data.view(dtype)
        tensors[f"{layer}.weight_scale"] = weight.scale
        layers[layer] = encoding
    return tensors, {**PYTORCH, **layer_table(layers)} if layers else PYTORCH


def _put_in_place(new: Path, path: Path) -> None:
    """Rename; a folder can't be renamed over a full one, so an old one steps aside first. What isn't of the checkpoint
    moves back from there."""
    path = Path(os.path.realpath(path))  # a link stays a link
    old = path.with_name(f"{new.name}.old")
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(new, path)
    except OSError:
        if old.exists():
            os.replace(old, path)
        raise
    if old.exists():
        _move_missing(old, path)
        shutil.rmtree(old)


def _move_missing(old: Path, new: Path) -> None:
    """Move into ``new`` what only ``old`` has."""
    for entry in old.iterdir():
        target = new / entry.name
        if not os.path.lexists(target):
            os.replace(entry, target)
        elif entry.is_dir() and not entry.is_symlink() and target.is_dir():
            _move_missing(entry, target)


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
    write_tensors(output, *_tensors(transformer, dtype, names.__getitem__))
    return output
