"""Wan's two naming schemes, which of them a set of tensors follows, and the modules built from it.

"Original" is Wan's own scheme (``blocks.0.self_attn.q.weight``), also that of the official ``vividface.ckpt`` and of
ComfyUI's files; the other is diffusers'. Both hold the same tensors under other names, so that each map is a renaming
and works in both directions.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vividface_core.errors import MissingWeights, UnsupportedCheckpoint
from vividface_core.wan.tensor_files import find_prefix, read_tensors

KINDS = {
    "wan-dit-original": ("blocks.0.self_attn.q.weight", "patch_embedding.weight", "time_embedding.0.weight"),
    "wan-dit-diffusers": (
        "blocks.0.attn1.to_q.weight", "patch_embedding.weight",
        "condition_embedder.time_embedder.linear_1.weight",
    ),
    "wan-vae-original": ("decoder.middle.0.residual.0.gamma", "encoder.conv1.weight", "conv2.weight"),
    "wan-vae-diffusers": (
        "decoder.mid_block.resnets.0.norm1.gamma", "encoder.conv_in.weight", "post_quant_conv.weight",
    ),
    # Only UMT5 has a position table in every layer; T5, as wide and often next to it on disk, has one in the first.
    "umt5-original": ("blocks.1.pos_embedding.embedding.weight", "token_embedding.weight"),
    "umt5-hf": (
        "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight", "encoder.final_layer_norm.weight",
    ),
}  # fmt: skip
"""Names that a network has for certain. The first, its anchor, tells where it begins in a larger file."""

HEAD_WIDTH = 128
"""Channels of an attention head in every Wan of the original scheme; shapes alone do not tell it."""

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
            ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "o"), ("norm_q", "norm_q"), ("norm_k", "norm_k"),
        )
    },
    "norm2": "norm3",  # Wan numbers the norms by where they were added, diffusers by where they are used
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
    "scale_shift_table": "modulation",
}  # fmt: skip
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
    (optimizer states, other networks) is left out. The tensors of an unknown network are returned as they are.

    Args:
        path: a safetensors file, a pickle, an ``*.index.json`` of shards, or a folder with one of those.
        part: beginning of the wanted kind (``wan-dit``, ``wan-vae``, ``umt5``), for files with several networks.

    Raises:
        MissingWeights: nothing is there, or a shard of it is missing.
        UnsupportedCheckpoint: the file is damaged, holds no tensors, holds several copies of the network, or is a
            pickle with more than plain data.
    """
    path = Path(path)
    tensors = read_tensors(path)
    if not tensors:
        raise UnsupportedCheckpoint(f"{path} holds no tensors; it is no checkpoint that can be used.")
    for kind in sorted(KINDS, key=lambda kind: not kind.startswith(part)):
        prefix = find_prefix(tensors, KINDS[kind][0], path)
        if prefix is not None:
            network = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
            if kind_of(network) == kind:
                return network
    return tensors


def kind_of(state: Mapping[str, Tensor]) -> str | None:
    """Which of :data:`KINDS` these tensors are, by names without prefix; ``None`` for anything else."""
    return next((kind for kind, names in KINDS.items() if all(name in state for name in names)), None)


def describe(state: Mapping[str, Tensor]) -> str:
    """What a state dict is, in a few words for a message."""
    sample = ", ".join(f"{key} {list(value.shape)}" for key, value in list(state.items())[:3])
    return f"a {kind_of(state)}" if kind_of(state) else f"{len(state)} unfamiliar tensors ({sample} …)"


def to_original_transformer_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A denoiser's tensors, not copied, under Wan's own names instead of diffusers'."""
    names = original_transformer_names(state)
    return {names[key]: tensor for key, tensor in state.items()}


def load_transformer(path: str | Path) -> WanTransformer3DModel:
    """:func:`build_transformer` of a file or folder; a whole pipeline stands for its ``transformer``."""
    path = _part(Path(path), "transformer")
    return build_transformer(read_state_dict(path, "wan-dit"), config=_diffusers_config(path), source=path)


def load_vae(path: str | Path) -> AutoencoderKLWan:
    """:func:`build_vae` of a file or folder; a whole pipeline stands for its ``vae``."""
    path = _part(Path(path), "vae")
    return build_vae(read_state_dict(path, "wan-vae"), config=_diffusers_config(path), source=path)


def transformer_config(tensors: Mapping[str, Tensor], source: str | Path) -> dict[str, Any]:
    """Arguments of ``WanTransformer3DModel``, read off the shapes of original tensors."""
    shapes = _Shapes(tensors, source)
    inner, in_channels, *patch = shapes.of("patch_embedding.weight", 5)
    if inner % HEAD_WIDTH:
        raise UnsupportedCheckpoint(
            f"{source}: its width {inner} is no multiple of {HEAD_WIDTH}, the width of a Wan head, so the number of "
            "heads is unknown. Bring it as a diffusers folder with its config.json."
        )
    return {
        "patch_size": patch,
        "num_attention_heads": inner // HEAD_WIDTH,
        "attention_head_dim": HEAD_WIDTH,
        "in_channels": in_channels,
        "out_channels": shapes.of("head.head.weight", 2)[0] // math.prod(patch),
        "text_dim": shapes.of("text_embedding.0.weight", 2)[1],
        "freq_dim": shapes.of("time_embedding.0.weight", 2)[1],
        "ffn_dim": shapes.of("blocks.0.ffn.0.weight", 2)[0],
        "num_layers": 1 + shapes.last(r"blocks\.(\d+)\."),
        "cross_attn_norm": "blocks.0.norm3.weight" in tensors,
        "qk_norm": "rms_norm_across_heads",
        "eps": 1e-6,
        "rope_max_seq_len": 1024,
    }


def vae_config(tensors: Mapping[str, Tensor], source: str | Path) -> dict[str, Any]:
    """Arguments of ``AutoencoderKLWan``, read off the shapes of original tensors."""
    if "encoder.downsamples.0.downsamples.0.residual.0.gamma" in tensors:
        raise UnsupportedCheckpoint(f"{source} is Wan 2.2's autoencoder. VividFace works in Wan 2.1's: Wan2.1_VAE.pth.")
    shapes = _Shapes(tensors, source)
    base, in_channels = shapes.of("encoder.conv1.weight", 5)[:2]
    widths, temporal, blocks, wide = [], [], 0, base
    for number in range(1 + shapes.last(r"encoder\.downsamples\.(\d+)\.")):
        name = f"encoder.downsamples.{number}"
        if f"{name}.residual.2.weight" in tensors:
            wide = shapes.of(f"{name}.residual.2.weight", 5)[0]
            blocks += not widths
        else:
            widths.append(wide)
            temporal.append(f"{name}.time_conv.weight" in tensors)
    multipliers = [width // base for width in (*widths, wide)]
    channels = shapes.of("conv2.weight", 5)[0]
    config = {
        "base_dim": base,
        "decoder_base_dim": shapes.of("decoder.head.0.gamma", 4)[0] // multipliers[0],
        "z_dim": channels,
        "dim_mult": multipliers,
        "num_res_blocks": blocks,
        "attn_scales": [],
        "temperal_downsample": temporal,
        "in_channels": in_channels,
        "out_channels": shapes.of("decoder.head.2.weight", 5)[0],
        "scale_factor_temporal": 2 ** sum(temporal),
        "scale_factor_spatial": 2 ** len(temporal),
    }
    if channels != 16:
        raise UnsupportedCheckpoint(
            f"{source} has {channels} latent channels; the latent statistics are known for Wan 2.1's 16 only. "
            "Bring it as a diffusers folder, whose config.json tells them."
        )
    return config


class _Shapes:
    def __init__(self, tensors: Mapping[str, Tensor], source: str | Path) -> None:
        self._tensors, self._source = tensors, source

    def of(self, name: str, ndim: int) -> tuple[int, ...]:
        if name not in self._tensors:
            raise UnsupportedCheckpoint(f"{self._source} lacks {name}; it is incomplete or of another model.")
        shape = tuple(self._tensors[name].shape)
        if len(shape) != ndim:
            raise UnsupportedCheckpoint(f"{self._source}: {name} is {list(shape)}, but {ndim} axes were expected.")
        return shape

    def last(self, pattern: str) -> int:
        matches = (re.match(pattern, key) for key in self._tensors)
        return max((int(match[1]) for match in matches if match), default=-1)


def build_transformer(
    state: Mapping[str, Tensor], *, config: Mapping[str, Any] | None = None, source: str | Path = "The checkpoint"
) -> WanTransformer3DModel:
    """The denoiser around these tensors (not copied), in evaluation mode.

    Args:
        state: tensors in either scheme, without prefix.
        config: diffusers' ``config.json`` for tensors in its scheme; without one it is inferred from the shapes.
        source: what messages call the file.

    Raises:
        UnsupportedCheckpoint: no Wan denoiser, or names or shapes that don't fit; the message lists the first few.
    """
    kind = kind_of(state)
    if kind not in ("wan-dit-original", "wan-dit-diffusers"):
        raise UnsupportedCheckpoint(f"{source} holds no Wan denoiser, but {describe(state)}.")
    transformer_class = wan_classes()[1]
    if kind == "wan-dit-original":
        model = _on_meta(transformer_class, transformer_config(state, source), source)
        state = _to_diffusers(state, original_transformer_names(model.state_dict()))
    else:
        config = config or transformer_config(_renamed(state, original_transformer_names, source), source)
        model = _on_meta(transformer_class, config, source)
    _assign(model, state, source)
    # Its tables are computed, not stored, and were left empty on the meta device.
    rope = model.config
    model.rope = type(model.rope)(rope.attention_head_dim, rope.patch_size, rope.rope_max_seq_len)
    return model.eval().requires_grad_(False)


def build_vae(
    state: Mapping[str, Tensor], *, config: Mapping[str, Any] | None = None, source: str | Path = "The checkpoint"
) -> AutoencoderKLWan:
    """The autoencoder around these tensors; arguments and errors as in :func:`build_transformer`.

    Without a config the latent's mean and deviation are Wan 2.1's, which has 16 channels.
    """
    kind = kind_of(state)
    if kind not in ("wan-vae-original", "wan-vae-diffusers"):
        raise UnsupportedCheckpoint(f"{source} holds no Wan autoencoder, but {describe(state)}.")
    vae_class = wan_classes()[0]
    if kind == "wan-vae-original":
        model = _on_meta(vae_class, vae_config(state, source), source)
        state = _to_diffusers(state, original_vae_names(model.state_dict(), model.config.num_res_blocks))
    else:
        blocks = _Shapes(state, source).last(r"decoder\.up_blocks\.0\.resnets\.(\d+)\.")
        config = config or vae_config(_renamed(state, lambda keys: original_vae_names(keys, blocks), source), source)
        model = _on_meta(vae_class, config, source)
    _assign(model, state, source)
    return model.eval().requires_grad_(False)


def _part(path: Path, name: str) -> Path:
    return path / name if (path / "model_index.json").is_file() or (path / CARD).is_file() else path


def _diffusers_config(source: str | Path) -> dict[str, Any] | None:
    """The ``config.json`` with a checkpoint; Wan's own (``WanModel``) has other fields and isn't one."""
    file = (path if path.is_dir() else path.parent) / "config.json"
    if not file.is_file():
        return None
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnsupportedCheckpoint(f"{file} is no valid JSON ({error}); fetch the checkpoint again.") from error
    return config if "_diffusers_version" in config and config.get("_class_name") != "WanModel" else None


def _renamed(
    state: Mapping[str, Tensor], names: Callable[[Iterable[str]], dict[str, str]], source: str | Path
) -> dict[str, Tensor]:
    """diffusers' tensors under the original names, in which shapes are read."""
    try:
        return {original: state[key] for key, original in names(state).items()}
    except KeyError as error:
        raise UnsupportedCheckpoint(
            f"{source} holds {error}, unknown in a plain Wan model; give the folder with its config.json."
        ) from error


def _on_meta(model_class: type[nn.Module], config: Mapping[str, Any], source: str | Path) -> nn.Module:
    """The module without memory: random first weights of a billion parameters would be thrown away at once."""
    name = config.get("_class_name", model_class.__name__)
    if name != model_class.__name__:
        raise UnsupportedCheckpoint(f"{source} is a {name}; a {model_class.__name__} is needed here.")
    try:
        with torch.device("meta"):
            return model_class.from_config(dict(config))
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise UnsupportedCheckpoint(f"{source}: its config makes no {model_class.__name__} ({error}).") from error


def _to_diffusers(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Renamed; what the map does not know keeps its name, so that an error can tell it."""
    back = {original: ours for ours, original in names.items()}
    return {back.get(key, key): value for key, value in tensors.items()}


def _assign(model: nn.Module, tensors: Mapping[str, Tensor], source: str | Path) -> None:
    wanted = model.state_dict()
    missing = [key for key in wanted if key not in tensors]
    unexpected = [key for key in tensors if key not in wanted]
    shapes = [
        f"{key} is {list(tensors[key].shape)}, not {list(value.shape)}"
        for key, value in wanted.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    faults = [
        f"{len(found)} {what} ({', '.join(found[:3])}{', …' if len(found) > 3 else ''})"
        for what, found in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if found
    ]
    if faults:
        raise UnsupportedCheckpoint(f"{source} does not fit {type(model).__name__}: {'; '.join(faults)}.")
    # A dtype of its own a tensor would break the arithmetic later; quantised files need their scales, unknown here.
    if odd := [key for key in wanted if tensors[key].dtype not in (torch.float32, torch.float16, torch.bfloat16)]:
        raise UnsupportedCheckpoint(
            f"{source}: {odd[0]} is {tensors[odd[0]].dtype}. Wanted are fp32, fp16 or bf16 weights; take the file that "
            "is not quantised."
        )
    model.load_state_dict(dict(tensors), strict=True, assign=True)


def load_transformer(source: str | Path) -> nn.Module:
    """The denoiser in a file, a diffusers folder of it, or a folder with ``transformer/``. Tensors stay mapped."""
    path = _component(Path(path), "transformer")
    return build_transformer(read_tensors(path), path, read_config(path))


def load_vae(source: str | Path) -> nn.Module:
    """The autoencoder in a file, a diffusers folder of it, or a folder with ``vae/``. Tensors stay mapped."""
    path = _component(Path(path), "vae")
    return build_vae(read_tensors(path), path, read_config(path))


def _component(path: Path, part: str) -> Path:
    return path / part if (path / part / "config.json").is_file() else path


def read_config(source: str | Path) -> dict[str, Any] | None:
    """``config.json`` of a folder; ``None`` for a file, whose config is read off its shapes."""
    if not path.is_dir():
        return None
    config = path / "config.json"
    if not config.is_file():
        raise MissingWeights(f"{config} is missing; a diffusers folder has it beside its weights.")
    return read_json(config)


def read_json(source: str | Path) -> dict[str, Any]:
    """An object out of a JSON file; raises UnsupportedCheckpoint if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnsupportedCheckpoint(f"{source} is no JSON ({error}).") from error
    if not isinstance(content, dict):
        raise UnsupportedCheckpoint(f"{source} holds no JSON object.")
    return content
