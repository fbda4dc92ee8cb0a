"""Wan's two naming schemes, and which network a set of tensors is.

"Original" is Wan's own scheme (``blocks.0.self_attn.q.weight``), also that of the official ``vividface.ckpt`` and of
ComfyUI's files; the other is diffusers'. Both hold the same tensors under other names, so that each map is a renaming
and works in both directions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from vividface_core.errors import UnsupportedCheckpoint
from vividface_core.io.quantization import Stored
from vividface_core.io.tensors import find_prefix, read_tensors, unfamiliar

KINDS = {
    "wan-dit-original": ("blocks.0.self_attn.q.weight", "patch_embedding.weight", "time_embedding.0.weight"),
    "wan-dit-diffusers": (
        "blocks.0.attn1.to_q.weight",
        "patch_embedding.weight",
        "condition_embedder.time_embedder.linear_1.weight",
    ),
    "wan-vae-original": ("decoder.middle.0.residual.0.gamma", "encoder.conv1.weight", "conv2.weight"),
    "wan-vae-diffusers": (
        "decoder.mid_block.resnets.0.norm1.gamma",
        "encoder.conv_in.weight",
        "post_quant_conv.weight",
    ),
    # Only UMT5 has a position table in every layer; T5, as wide and often next to it on disk, has one in the first.
    "umt5-original": ("blocks.1.pos_embedding.embedding.weight", "token_embedding.weight"),
    "umt5-hf": (
        "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight",
        "encoder.final_layer_norm.weight",
    ),
}
"""Names that a network has for certain. The first, its anchor, tells where it begins in a larger file."""

_TRANSFORMER_MODULES = {
    "patch_embedding": "patch_embedding",
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "proj_out": "head.head",
    "scale_shift_table": "head.modulation",
}
_BLOCK_MODULES = {
    **{
        f"{ours}.{to}": f"{wan}.{name}"
        for ours, wan in (("attn1", "self_attn"), ("attn2", "cross_attn"))
        for to, name in (
            ("to_q", "q"),
            ("to_k", "k"),
            ("to_v", "v"),
            ("to_out.0", "o"),
            ("norm_q", "norm_q"),
            ("norm_k", "norm_k"),
        )
    },
    "norm2": "norm3",  # Wan numbers the norms by where they were added, diffusers by where they are used
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
    "scale_shift_table": "modulation",
}
_RESIDUAL_MODULES = {
    "norm1": "residual.0",
    "conv1": "residual.2",
    "norm2": "residual.3",
    "conv2": "residual.6",
    "conv_shortcut": "shortcut",
}


def original_transformer_names(keys: Iterable[str]) -> dict[str, str]:
    """``{diffusers name: original name}`` for the parameters of a ``WanTransformer3DModel`` without image branch."""
    names = {}
    for key in keys:
        block = re.match(r"blocks\.(\d+)\.(.+)", key)
        if block:
            names[key] = f"blocks.{block[1]}.{_rename_module(block[2], _BLOCK_MODULES)}"
        else:
            names[key] = _rename_module(key, _TRANSFORMER_MODULES)
    return names


def original_vae_names(keys: Iterable[str], num_res_blocks: int) -> dict[str, str]:
    """``{diffusers name: original name}`` for the parameters of a Wan 2.1 ``AutoencoderKLWan``."""
    return {key: _original_vae_name(key, num_res_blocks) for key in keys}


def _rename_module(key: str, modules: Mapping[str, str]) -> str:
    """``key`` with the module that it starts with renamed."""
    parts = key.split(".")
    for end in range(len(parts), 0, -1):
        module = modules.get(".".join(parts[:end]))
        if module is not None:
            return ".".join([module, *parts[end:]])
    raise KeyError(key)


def _original_vae_name(key: str, num_res_blocks: int) -> str:
    whole = {"quant_conv": "conv1", "post_quant_conv": "conv2"}
    side, _, rest = key.partition(".")
    if side in whole:
        return f"{whole[side]}.{rest}"
    ends = {"conv_in": "conv1", "norm_out": "head.0", "conv_out": "head.2"}
    module, _, inside = rest.partition(".")
    if module in ends:
        return f"{side}.{ends[module]}.{inside}"
    if match := re.match(r"mid_block\.resnets\.(\d+)\.(.+)", rest):
        return f"{side}.middle.{2 * int(match[1])}.{_rename_module(match[2], _RESIDUAL_MODULES)}"
    if match := re.match(r"mid_block\.attentions\.(\d+)\.(.+)", rest):
        return f"{side}.middle.{2 * int(match[1]) + 1}.{match[2]}"
    if match := re.match(r"down_blocks\.(\d+)\.((?:resample|time_conv)\..+)", rest):
        return f"{side}.downsamples.{match[1]}.{match[2]}"
    if match := re.match(r"down_blocks\.(\d+)\.(.+)", rest):
        return f"{side}.downsamples.{match[1]}.{_rename_module(match[2], _RESIDUAL_MODULES)}"
    # Wan's decoder is one flat list: per level the residual blocks (one more than in the encoder), then the upsampler.
    level = num_res_blocks + 2
    if match := re.match(r"up_blocks\.(\d+)\.resnets\.(\d+)\.(.+)", rest):
        number = int(match[1]) * level + int(match[2])
        return f"{side}.upsamples.{number}.{_rename_module(match[3], _RESIDUAL_MODULES)}"
    if match := re.match(r"up_blocks\.(\d+)\.upsamplers\.0\.(.+)", rest):
        return f"{side}.upsamples.{int(match[1]) * level + level - 1}.{match[2]}"
    raise KeyError(key)


def read_state_dict(path: str | Path, part: str = "") -> dict[str, Tensor]:
    """Map all tensors of one network, whatever it is wrapped in.

    Dictionaries around the weights (``state_dict``, ``module`` …) and prefixes of names (``model.``, ``pipe.dit.``,
    ``model.diffusion_model.`` …) are everything in front of the network's own names. What lies beside it in the file
    (optimizer states, other networks) is left out. The tensors of an unknown network are returned as they are. What
    is quantized is still apart from its scales; see :func:`~vividface_core.io.quantization.attach_scales`.

    Args:
        path: a safetensors file, a pickle, a GGUF file, an ``*.index.json`` of shards, or a folder with one of those.
        part: beginning of the wanted kind (``wan-dit``, ``wan-vae``, ``umt5``), for files with several networks.

    Raises:
        MissingWeights: nothing is there, or a shard of it is missing.
        UnsupportedCheckpoint: the file is damaged, holds no tensors, holds several copies of the network, or is a
            pickle with more than plain data.
    """
    return find_network(path, part)[0]


def find_network(path: str | Path, part: str = "") -> tuple[dict[str, Tensor], str]:
    """:func:`read_state_dict` and the prefix that stands before its names in the file."""
    path = Path(path)
    return network_in(read_tensors(path), path, part)


def network_in(tensors: dict[str, Tensor], path: Path, part: str = "") -> tuple[dict[str, Tensor], str]:
    """:func:`find_network` for the tensors of a file that was read already."""
    if not tensors:
        raise UnsupportedCheckpoint(f"{path} holds no tensors; it is no checkpoint that can be used.")
    for kind in sorted(KINDS, key=lambda kind: not kind.startswith(part)):
        prefix = find_prefix(tensors, KINDS[kind][0], path)
        if prefix is not None:
            network = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
            if kind_of(network) == kind:
                return network, prefix
    return tensors, ""


def kind_of(state: Mapping[str, Stored]) -> str | None:
    """Which of :data:`KINDS` these tensors are, by names without prefix; ``None`` for anything else."""
    return next((kind for kind, names in KINDS.items() if all(name in state for name in names)), None)


def describe(state: Mapping[str, Stored]) -> str:
    """What a state dict is, in a few words for a message."""
    return f"a {kind_of(state)}" if kind_of(state) else unfamiliar(state)


def to_original_transformer_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A denoiser's tensors, not copied, under Wan's own names instead of diffusers'."""
    names = original_transformer_names(state)
    return {names[key]: tensor for key, tensor in state.items()}
