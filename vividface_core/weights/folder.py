"""The project's own checkpoint folder, written whole or not at all.

A folder is ``vae/`` and ``transformer/`` in diffusers' layout, ``empty_prompt.safetensors``, and the card
``vividface.json``. In fp8 the matrices of the blocks are stored in 8 bits with a scale each, as ComfyUI stores them;
what is small or sensitive stays wider.
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

from vividface_core.errors import MissingWeights, UnsupportedCheckpoint
from vividface_core.io.atomic import read_json, write_json
from vividface_core.io.quantization import FP8, QuantizedLinear, dense_tensors, layer_table, quantize_fp8
from vividface_core.io.tensors import read_tensors, write_tensors
from vividface_core.restorers.one_step import OneStepRestorer
from vividface_core.wan.conditional_decoder import ConditionalDecoder, DecoderConfig
from vividface_core.wan.empty_prompt import FILE_NAME, EmptyPrompt
from vividface_core.wan.tiny_encoder import EncoderConfig, TinyEncoder
from vividface_core.wan.transformer import T_STAR, VELOCITY_SCALE, weight_type

CARD = "vividface.json"
DECODER, ENCODER, WEIGHTS_FILE = "decoder", "encoder", "model.safetensors"
"""Folders of a conditional decoder and of a tiny encoder, and the file in each."""
CODECS: dict[str, tuple[type[nn.Module], Any]] = {
    DECODER: (ConditionalDecoder, DecoderConfig),
    ENCODER: (TinyEncoder, EncoderConfig),
}
"""What a checkpoint may hold beside an autoencoder's own halves, by its entry in the card: net and config."""
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
    decoder: ConditionalDecoder | None = None,
    encoder: TinyEncoder | None = None,
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
        decoder, encoder: a conditional decoder and a tiny encoder to go with them; not changed.

    Raises:
        UnsupportedCheckpoint: the parts do not belong together, or a weight does not fit ``dtype``.
    """
    path = Path(path)
    prompt = empty_prompt if isinstance(empty_prompt, EmptyPrompt) else EmptyPrompt(empty_prompt.detach().float())
    OneStepRestorer.check_parts(vae, transformer, prompt)
    partial = path.with_name(f".{path.name}.partial.{uuid.uuid4().hex[:8]}")
    try:
        for name, module in (("vae", vae), ("transformer", transformer)):
            (partial / name).mkdir(parents=True)
            module.save_config(partial / name)
            weights, described = tensors_of(module, dtype)
            write_tensors(partial / name / "diffusion_pytorch_model.safetensors", weights, described)
        # What the parts are decides, not what an older card said.
        meta = {key: value for key, value in meta.items() if key not in CODECS}
        for kind, net in ((DECODER, decoder), (ENCODER, encoder)):
            if net is not None:
                net.config.check_fits(vae.config)
                save_codec(partial / kind, net, None if dtype in FP8.values() else dtype)
                meta[kind] = kind
        prompt.save(partial / FILE_NAME)
        card = json.dumps({**DEFAULTS, **meta, "format": FORMAT}, indent=2, ensure_ascii=False)
        (partial / CARD).write_text(card + "\n", encoding="utf-8")
        _put_in_place(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return path


def save_codec(folder: Path, net: nn.Module, dtype: torch.dtype | None = torch.float16) -> None:
    """Write one of :data:`CODECS`: ``config.json`` and ``model.safetensors``."""
    folder.mkdir(parents=True)
    write_json(folder / "config.json", net.config.to_dict(), indent=2)
    write_tensors(folder / WEIGHTS_FILE, {k: _stored(k, v, dtype) for k, v in net.state_dict().items()}, PYTORCH)


def load_codec(
    folder: Path, kind: str, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> Any:
    """Read what :func:`save_codec` wrote, in evaluation mode: a :class:`ConditionalDecoder` or a :class:`TinyEncoder`.

    Args:
        kind: of :data:`CODECS`.

    Raises:
        MissingWeights: a file isn't there.
        UnsupportedCheckpoint: names or shapes don't fit the config.
    """
    for name in ("config.json", WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise MissingWeights(f"{folder / name} is missing, which the checkpoint's card names; fetch it again.")
    net, config = CODECS[kind]
    made = net(config.from_dict(read_json(folder / "config.json"), folder / "config.json"))
    state = read_tensors(folder / WEIGHTS_FILE)
    try:
        made.load_state_dict({key: value.float() for key, value in state.items()})
    except RuntimeError as error:
        raise UnsupportedCheckpoint(f"{folder / WEIGHTS_FILE} doesn't fit its config: {error}") from error
    return made.eval().to(device=device, dtype=dtype or torch.float32)


def _stored(name: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    # A copy, because safetensors refuses tensors that share memory.
    stored = value.detach().to("cpu", dtype or value.dtype, copy=True).contiguous()
    if torch.isfinite(value).all() and not torch.isfinite(stored).all():
        raise UnsupportedCheckpoint(f"{name} reaches {float(value.abs().max()):.3g}, too large for {dtype}. Take bf16.")
    return stored


def tensors_of(
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
