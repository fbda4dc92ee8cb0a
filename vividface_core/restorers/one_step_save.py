"""Checkpoints of the one-step restorer, written: the project's folder, and files in Wan's own names.

In fp8 the matrices of the blocks are stored in 8 bits with a scale each, as ComfyUI stores them; what is small or
sensitive stays wider.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vividface_core.errors import UnsupportedCheckpoint
from vividface_core.io.atomic import write_json
from vividface_core.io.folders import whole_folder
from vividface_core.io.quantization import FP8, QuantizedLinear, dense_tensors, layer_table, quantize_fp8
from vividface_core.io.tensors import as_stored, write_tensors
from vividface_core.restorers.one_step import OneStepRestorer
from vividface_core.restorers.one_step_files import CODECS, DECODER, DEFAULTS, ENCODER, FORMAT, WEIGHTS_FILE
from vividface_core.restorers.registry import CARD
from vividface_core.wan.conditional_decoder import ConditionalDecoder
from vividface_core.wan.empty_prompt import FILE_NAME, EmptyPrompt
from vividface_core.wan.loading import HEAD_DIM
from vividface_core.wan.module_types import WanModule
from vividface_core.wan.state_dict import original_transformer_names, original_vae_names
from vividface_core.wan.tiny_encoder import TinyEncoder
from vividface_core.wan.transformer import weight_type

PYTORCH = {"format": "pt"}
"""Metadata of every file of weights."""


def save(
    path: Path, restorer: OneStepRestorer, meta: Mapping[str, Any], dtype: torch.dtype | None = torch.float16
) -> Path:
    """Write a ``plain`` restorer; see :func:`save_checkpoint_folder`."""
    return save_checkpoint_folder(
        path,
        restorer.vae,
        restorer.transformer,
        restorer.prompt,
        meta,
        dtype,
        decoder=restorer.decoder,
        encoder=restorer.encoder,
    )


def save_checkpoint_folder(
    path: Path,
    vae: WanModule,
    transformer: WanModule,
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
    with whole_folder(path) as partial:
        write_parts(partial, vae, transformer, prompt, meta, dtype, decoder, encoder)
    return path


def write_parts(
    partial: Path,
    vae: WanModule,
    transformer: WanModule,
    prompt: EmptyPrompt,
    meta: Mapping[str, Any],
    dtype: torch.dtype | None,
    decoder: ConditionalDecoder | None = None,
    encoder: TinyEncoder | None = None,
) -> None:
    """Write what :func:`save_checkpoint_folder` writes into a folder that is there and empty."""
    for name, module in (("vae", vae), ("transformer", transformer)):
        (partial / name).mkdir()
        module.save_config(partial / name)
        weights, described = tensors_to_store(module, dtype)
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


def save_codec(folder: Path, net: WanModule, dtype: torch.dtype | None = torch.float16) -> None:
    """Write one of :data:`CODECS`: ``config.json`` and ``model.safetensors``."""
    save_part(folder, net, net.config.to_dict(), dtype)


def save_part(folder: Path, net: nn.Module, config: Mapping[str, Any], dtype: torch.dtype | None) -> None:
    """Write a part's ``config.json`` and ``model.safetensors`` into a folder that isn't there yet."""
    folder.mkdir(parents=True)
    write_json(folder / "config.json", config, indent=2)
    write_tensors(folder / WEIGHTS_FILE, {k: as_stored(k, v, dtype) for k, v in net.state_dict().items()}, PYTORCH)


def tensors_to_store(
    module: nn.Module, dtype: torch.dtype | None, rename: Callable[[str], str] = str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors to store, under ``rename``d names, and the metadata that describes them."""
    encoding = next((name for name, known in FP8.items() if known == dtype), None)
    if dtype is None or encoding is None:
        return {rename(key): as_stored(key, value, dtype) for key, value in dense_tensors(module).items()}, PYTORCH
    linear = {
        f"{name}.weight"
        for name, part in module.named_modules()
        if name.startswith("blocks.") and isinstance(part, (nn.Linear, QuantizedLinear))
    }
    tensors, layers = {}, {}
    for key, value in dense_tensors(module).items():
        if key not in linear:
            tensors[rename(key)] = as_stored(key, value, weight_type(module, key, torch.bfloat16))
            continue
        try:
            weight = quantize_fp8(value.cpu(), encoding)
        except ValueError as error:
            raise UnsupportedCheckpoint(f"{key} can't be stored in fp8: {error}. The checkpoint is damaged.") from error
        layer = rename(key).removesuffix(".weight")
        tensors[f"{layer}.weight"] = weight.data.view(dtype)
        assert weight.scale is not None  # quantize_fp8 always gives one
        tensors[f"{layer}.weight_scale"] = weight.scale
        layers[layer] = encoding
    return tensors, {**PYTORCH, **layer_table(layers)} if layers else PYTORCH


def save_original(restorer: OneStepRestorer, folder: Path, name: str, dtype: torch.dtype = torch.float16) -> list[Path]:
    """``<name>_dit.safetensors`` and ``<name>_vae.safetensors`` in Wan's own names, for ``diffusion_models`` and
    ``vae`` of ComfyUI.

    Raises:
        UnsupportedCheckpoint: a layout that the original code doesn't have; says which.
    """
    transformer, vae = restorer.transformer, restorer.vae
    config = transformer.config
    if config.attention_head_dim != HEAD_DIM or tuple(config.patch_size) != (1, 2, 2):
        raise UnsupportedCheckpoint(
            f"Original Wan has heads of {HEAD_DIM} channels and patches of 1×2×2; this denoiser has heads of "
            f"{config.attention_head_dim} and patches of {'×'.join(map(str, config.patch_size))}. Only the checkpoint "
            "folder can carry it."
        )
    if vae.config.is_residual or vae.config.patch_size or vae.config.z_dim != 16:
        raise UnsupportedCheckpoint(
            "Wan 2.1's autoencoder has 16 channels, no patches and no residual shortcuts; this one has another layout. "
            "Only the checkpoint folder can carry it."
        )
    written = []
    names = {
        "dit": (transformer.state_dict(), original_transformer_names(transformer.state_dict())),
        "vae": (vae.state_dict(), original_vae_names(vae.state_dict(), vae.config.num_res_blocks)),
    }
    for part, (state, renamed) in names.items():
        tensors = {renamed[key]: value.to("cpu", dtype, copy=True).contiguous() for key, value in state.items()}
        path = Path(folder) / f"{name}_{part}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, tensors, {"format": "pt"})
        written.append(path)
    return written


def describe(meta: Mapping[str, Any]) -> str:
    """How the model is used, for its card: Markdown."""
    training = meta.get("training") or {}
    steps = f"Stage `{training['stage']}`, {training['steps']} steps.\n" if "stage" in training else ""
    return (
        f"One denoiser pass at t\\* = {meta['t_star']:g}, velocity scale {meta['velocity_scale']:g}, made for clips of "
        f"{meta['native_frames']} frames at {meta['native_size']}×{meta['native_size']}. {steps}\n"
        "Load it with `vividface restore IN -o OUT --model THIS-FOLDER`, or with the node *Load VividFace Model*.\n"
    )
