"""Wan's two modules around tensors: their configs are read off a ``config.json`` or off the shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vividface_core.errors import MissingDependency, UnsupportedCheckpoint
from vividface_core.wan.names import (
    describe,
    kind_of,
    original_transformer_names,
    original_vae_names,
    read_state_dict,
)
from vividface_core.wan.tensor_files import read_json

HEAD_WIDTH = 128
"""Channels of an attention head in every Wan of the original scheme; shapes alone do not tell it."""


def load_transformer(path: str | Path) -> nn.Module:
    """:func:`build_transformer` of a file or folder; a whole pipeline stands for its ``transformer``."""
    path = _part(Path(path), "transformer")
    return build_transformer(read_state_dict(path, "wan-dit"), config=read_config(path), source=path)


def load_vae(path: str | Path) -> nn.Module:
    """:func:`build_vae` of a file or folder; a whole pipeline stands for its ``vae``."""
    path = _part(Path(path), "vae")
    return build_vae(read_state_dict(path, "wan-vae"), config=read_config(path), source=path)


def _diffusers(name: str) -> type[nn.Module]:
    """A class of diffusers, imported late: it takes seconds, and a broken one must not break what needs none."""
    try:
        import diffusers

        return getattr(diffusers, name)
    except (ImportError, RuntimeError, AttributeError) as error:
        raise MissingDependency(
            f"Wan's modules need diffusers 0.36 or newer, which does not import here ({error}). "
            "Install it with: pip install -U diffusers"
        ) from error


def _part(path: Path, name: str) -> Path:
    return path / name if (path / name).is_dir() else path


def read_config(path: Path) -> dict[str, Any] | None:
    """The diffusers ``config.json`` in or beside ``path``; ``None`` without one.

    Wan's own (``WanModel``) has other fields and doesn't count.
    """
    file = (path if path.is_dir() else path.parent) / "config.json"
    config = read_json(file) if file.is_file() else {}
    return config if "_diffusers_version" in config and config.get("_class_name") != "WanModel" else None


def build_transformer(
    state: Mapping[str, Tensor], *, config: Mapping[str, Any] | None = None, source: str | Path = "The checkpoint"
) -> nn.Module:
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
    if kind == "wan-dit-original":
        model = _on_meta(_diffusers("WanTransformer3DModel"), transformer_config(state, source), source)
        state = _to_diffusers(state, original_transformer_names(model.state_dict()))
    else:
        config = config or transformer_config(_renamed(state, original_transformer_names, source), source)
        model = _on_meta(_diffusers("WanTransformer3DModel"), config, source)
    _assign(model, state, source)
    # Its tables are computed, not stored, and were left empty on the meta device.
    rope = model.config
    model.rope = type(model.rope)(rope.attention_head_dim, rope.patch_size, rope.rope_max_seq_len)
    return model.eval().requires_grad_(False)


def build_vae(
    state: Mapping[str, Tensor], *, config: Mapping[str, Any] | None = None, source: str | Path = "The checkpoint"
) -> nn.Module:
    """The autoencoder around these tensors; arguments and errors as in :func:`build_transformer`.

    Without a config the latent's mean and deviation are Wan 2.1's, which has 16 channels.
    """
    kind = kind_of(state)
    if kind not in ("wan-vae-original", "wan-vae-diffusers"):
        raise UnsupportedCheckpoint(f"{source} holds no Wan autoencoder, but {describe(state)}.")
    if kind == "wan-vae-original":
        model = _on_meta(_diffusers("AutoencoderKLWan"), vae_config(state, source), source)
        state = _to_diffusers(state, original_vae_names(model.state_dict(), model.config.num_res_blocks))
    else:
        blocks = _Shapes(state, source).last(r"decoder\.up_blocks\.0\.resnets\.(\d+)\.")
        config = config or vae_config(_renamed(state, lambda keys: original_vae_names(keys, blocks), source), source)
        model = _on_meta(_diffusers("AutoencoderKLWan"), config, source)
    _assign(model, state, source)
    return model.eval().requires_grad_(False)


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
        "patch_size": tuple(patch),
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
