"""Wan's two modules around tensors: their configs are read off a ``config.json`` or off the shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vividface_core.errors import InvalidOption, UnsupportedCheckpoint
from vividface_core.io.atomic import read_json
from vividface_core.io.quantization import QuantizedLinear, QuantizedWeight, Stored, attach_scales
from vividface_core.io.tensors import misfits, stream_tensors
from vividface_core.wan.holders import diffusers_class
from vividface_core.wan.module_types import WanModule
from vividface_core.wan.state_dict import (
    describe,
    find_network,
    kind_of,
    original_transformer_names,
    original_vae_names,
)
from vividface_core.wan.transformer import weight_type
from vividface_core.wan.transformer_weights import WanTransformer3DModel
from vividface_core.wan.vae_weights import AutoencoderKLWan

HEAD_DIM = 128
"""Channels of an attention head in every Wan of the original scheme; shapes alone do not tell it."""


FLOAT_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
"""Types that can be computed in."""


def load_transformer(
    path: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    compact: bool = False,
    light: bool = False,
) -> WanModule:
    """The denoiser of a file or folder, in evaluation mode; a whole pipeline stands for its ``transformer``.

    The file is mapped and goes tensor by tensor to its type and device, so memory holds little more than the result.

    Args:
        path: any format of :func:`~vividface_core.io.tensors.read_tensors`, names in either scheme.
        dtype: of the weights, except those that Wan needs in fp32; ``None``: as in the file, and fp32 for what is
            quantized there.
        device: where the weights go.
        compact: quantized weights of linear layers stay as they are in the file, as
            :class:`~vividface_core.io.quantization.QuantizedLinear`; they take less memory and more time.
        light: a module that only holds the weights, which is all that inference needs, and without diffusers;
            otherwise diffusers' own.

    Raises:
        MissingWeights, MissingDependency: see :func:`~vividface_core.io.tensors.read_tensors`.
        UnsupportedCheckpoint: no Wan denoiser, names or shapes that don't fit (the message lists the first few), an
            unknown quantization, or weights too large for ``dtype``.
    """
    return _load(Path(path), "transformer", "wan-dit", _empty_transformer, dtype, device, compact, light)


def load_vae(
    path: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    light: bool = False,
) -> WanModule:
    """The autoencoder of a file or folder; a whole pipeline stands for its ``vae``. See :func:`load_transformer`."""
    return _load(Path(path), "vae", "wan-vae", _empty_vae, dtype, device, False, light)


def _load(
    path: Path,
    folder: str,
    part: str,
    empty: Callable[..., tuple[nn.Module, Mapping[str, str]]],
    dtype: torch.dtype | None,
    device: torch.device | str,
    compact: bool,
    light: bool,
) -> WanModule:
    path = path / folder if (path / folder).is_dir() else path
    found, prefix = find_network(path, part)
    state = attach_scales(found, path)
    del found
    if compact and not any(isinstance(value, QuantizedWeight) for value in state.values()):
        raise InvalidOption(
            f"{path} is not quantized, so nothing in it can be kept compact. Load it dense, or make a quantized file "
            "with: vividface models convert --dtype fp8"
        )
    model, names = empty(state, read_config(path), path, light)
    check_fit(model, {key: state.get(name) for key, name in names.items()}, set(state) - set(names.values()), path)
    ours = {prefix + name: key for key, name in names.items()}
    sizes = {prefix + name: value.nbytes for name, value in state.items()}
    # Of the values only what takes no memory is kept: a file that can't be mapped is read again.
    forms = {prefix + name: value.without_data() for name, value in state.items() if isinstance(value, QuantizedWeight)}
    del state
    stored = (
        (ours[name], forms[name].with_data(value) if name in forms else value)
        for name, value in stream_tensors(path, sizes)
    )
    return _filled(model, _converted(model, stored, dtype, device, compact, path), device)


def _model(name: str, light: bool) -> type[nn.Module]:
    """diffusers' class of that name, or the project's own that only holds its weights."""
    if not light:
        return diffusers_class(name)
    return AutoencoderKLWan if name == "AutoencoderKLWan" else WanTransformer3DModel


def read_config(path: Path) -> dict[str, Any] | None:
    """The diffusers ``config.json`` in or beside ``path``; ``None`` without one.

    Wan's own (``WanModel``) has other fields and doesn't count.
    """
    file = (path if path.is_dir() else path.parent) / "config.json"
    config = read_json(file) if file.is_file() else {}
    return config if "_diffusers_version" in config and config.get("_class_name") != "WanModel" else None


def build_transformer(
    state: Mapping[str, Stored], *, config: Mapping[str, Any] | None = None, source: str | Path = "The checkpoint"
) -> WanModule:
    """The denoiser around these tensors (not copied, if not quantized), in evaluation mode.

    Args:
        state: tensors in either scheme, without prefix.
        config: diffusers' ``config.json`` for tensors in its scheme; without one it is inferred from the shapes.
        source: what messages call the file.

    Raises:
        UnsupportedCheckpoint: no Wan denoiser, or names or shapes that don't fit; the message lists the first few.
    """
    state = attach_scales(state, source)
    model, names = _empty_transformer(state, config, source)
    return _around(model, names, state, source)


def build_vae(
    state: Mapping[str, Stored], *, config: Mapping[str, Any] | None = None, source: str | Path = "The checkpoint"
) -> WanModule:
    """The autoencoder around these tensors; arguments and errors as in :func:`build_transformer`.

    Without a config the latent's mean and deviation are Wan 2.1's, which has 16 channels.
    """
    state = attach_scales(state, source)
    model, names = _empty_vae(state, config, source)
    return _around(model, names, state, source)


def _around(model: WanModule, names: Mapping[str, str], state: Mapping[str, Stored], source: str | Path) -> WanModule:
    check_fit(model, {key: state.get(name) for key, name in names.items()}, set(state) - set(names.values()), source)
    stored = {key: state[name] for key, name in names.items()}
    return _filled(model, _converted(model, stored.items(), None, None, False, source), "cpu")


def _empty_transformer(
    state: Mapping[str, Stored], config: Mapping[str, Any] | None, source: str | Path, light: bool = False
) -> tuple[WanModule, dict[str, str]]:
    """The denoiser without memory, and ``{its name: name among the tensors}``."""
    kind = kind_of(state)
    if kind not in ("wan-dit-original", "wan-dit-diffusers"):
        raise UnsupportedCheckpoint(f"{source} holds no Wan denoiser, but {describe(state)}.")
    if kind == "wan-dit-original":
        model = _on_meta(_model("WanTransformer3DModel", light), transformer_config(state, source), source)
        return model, original_transformer_names(model.state_dict())
    config = config or transformer_config(_renamed(state, original_transformer_names, source), source)
    model = _on_meta(_model("WanTransformer3DModel", light), config, source)
    return model, {key: key for key in model.state_dict()}


def _empty_vae(
    state: Mapping[str, Stored], config: Mapping[str, Any] | None, source: str | Path, light: bool = False
) -> tuple[WanModule, dict[str, str]]:
    """The autoencoder without memory, and ``{its name: name among the tensors}``."""
    kind = kind_of(state)
    if kind not in ("wan-vae-original", "wan-vae-diffusers"):
        raise UnsupportedCheckpoint(f"{source} holds no Wan autoencoder, but {describe(state)}.")
    if kind == "wan-vae-original":
        model = _on_meta(_model("AutoencoderKLWan", light), vae_config(state, source), source)
        return model, original_vae_names(model.state_dict(), model.config.num_res_blocks)
    blocks = _Shapes(state, source).last(r"decoder\.up_blocks\.0\.resnets\.(\d+)\.")
    config = config or vae_config(_renamed(state, lambda keys: original_vae_names(keys, blocks), source), source)
    model = _on_meta(_model("AutoencoderKLWan", light), config, source)
    return model, {key: key for key in model.state_dict()}


def transformer_config(tensors: Mapping[str, Stored], source: str | Path) -> dict[str, Any]:
    """Arguments of ``WanTransformer3DModel``, read off the shapes of original tensors."""
    shapes = _Shapes(tensors, source)
    inner, in_channels, *patch = shapes.of("patch_embedding.weight", 5)
    if inner % HEAD_DIM:
        raise UnsupportedCheckpoint(
            f"{source}: its width {inner} is no multiple of {HEAD_DIM}, the width of a Wan head, so the number of "
            "heads is unknown. Bring it as a diffusers folder with its config.json."
        )
    return {
        "patch_size": tuple(patch),
        "num_attention_heads": inner // HEAD_DIM,
        "attention_head_dim": HEAD_DIM,
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


def vae_config(tensors: Mapping[str, Stored], source: str | Path) -> dict[str, Any]:
    """Arguments of ``AutoencoderKLWan``, read off the shapes of original tensors."""
    if "encoder.downsamples.0.downsamples.0.residual.0.gamma" in tensors:
        raise UnsupportedCheckpoint(f"{source} is Wan 2.2's autoencoder. VividFace works in Wan 2.1's: Wan2.1_VAE.pth.")
    shapes = _Shapes(tensors, source)
    base, in_channels = shapes.of("encoder.conv1.weight", 5)[:2]
    widths: list[int] = []
    temporal: list[bool] = []
    blocks, wide = 0, base
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
    def __init__(self, tensors: Mapping[str, Stored], source: str | Path) -> None:
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
    state: Mapping[str, Stored], names: Callable[[Iterable[str]], dict[str, str]], source: str | Path
) -> dict[str, Stored]:
    """diffusers' tensors under the original names, in which shapes are read."""
    try:
        return {original: state[key] for key, original in names(state).items()}
    except KeyError as error:
        raise UnsupportedCheckpoint(
            f"{source} holds {error}, unknown in a plain Wan model; give the folder with its config.json."
        ) from error


def _on_meta(model_class: Any, config: Mapping[str, Any], source: str | Path) -> WanModule:
    """The module without memory: random first weights of a billion parameters would be thrown away at once."""
    name = config.get("_class_name", model_class.__name__)
    if name != model_class.__name__:
        raise UnsupportedCheckpoint(f"{source} is a {name}; a {model_class.__name__} is needed here.")
    try:
        with torch.device("meta"):
            return model_class.from_config(dict(config))
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise UnsupportedCheckpoint(f"{source}: its config makes no {model_class.__name__} ({error}).") from error


def check_fit(
    model: WanModule, tensors: Mapping[str, Stored | None], unexpected: Collection[str], source: str | Path
) -> None:
    """Raises UnsupportedCheckpoint unless there is a tensor of the right shape and of a known type for every name.

    Args:
        tensors: what there is for each name of the model; ``None``: nothing.
        unexpected: names in the file for which the model has no place.
    """
    found = {key: value for key, value in tensors.items() if value is not None} | dict.fromkeys(unexpected)
    if faults := misfits(model.state_dict(), found):
        raise UnsupportedCheckpoint(f"{source} does not fit {type(model).__name__}: {faults}.")
    plain = {key: value for key, value in tensors.items() if isinstance(value, Tensor)}
    if odd := [key for key, value in plain.items() if value.dtype not in FLOAT_DTYPES]:
        raise UnsupportedCheckpoint(
            f"{source}: {odd[0]} is {plain[odd[0]].dtype}. Wanted are fp32, fp16, bf16 or fp8 weights, or a GGUF file."
        )


def _converted(
    model: WanModule,
    stored: Iterable[tuple[str, Stored]],
    dtype: torch.dtype | None,
    device: torch.device | str | None,
    compact: bool,
    source: str | Path,
) -> Iterator[tuple[str, Stored]]:
    """Each tensor in its type on the device; plain ones are the same and not copied where both are ``None``."""
    for key, value in stored:
        if isinstance(value, QuantizedWeight):
            if compact and _may_stay(model, key):
                yield key, value if device is None else value.to(device)
                continue
            wanted = torch.float32 if dtype is None else weight_type(model, key, dtype)
            result = value.dequantize(wanted, device)
        elif dtype is None and device is None:
            yield key, value
            continue
        else:
            wanted = value.dtype if dtype is None else weight_type(model, key, dtype)
            # Copied in any case: numbers in memory of their own can't change with the file, and lie aligned, by
            # which some kernels round.
            result = value.to(device, wanted, copy=True, memory_format=torch.contiguous_format)
        _check_range(key, result, value, source)
        yield key, result


def _may_stay(model: WanModule, key: str) -> bool:
    """Whether it is the weight of a linear layer that isn't needed in fp32."""
    layer, _, part = key.rpartition(".")
    narrow = weight_type(model, key, torch.bfloat16) == torch.bfloat16
    return narrow and part == "weight" and isinstance(model.get_submodule(layer), nn.Linear)


def _check_range(key: str, result: Tensor, value: Stored, source: str | Path) -> None:
    if result.dtype != torch.float16 or (isinstance(value, Tensor) and value.dtype == torch.float16):
        return
    if not torch.isfinite(result).all():
        exact = value.dequantize(torch.float32) if isinstance(value, QuantizedWeight) else value
        if torch.isfinite(exact).all():
            raise UnsupportedCheckpoint(
                f"{source}: {key} reaches {float(exact.abs().max()):.3g}, too large for {result.dtype}. Take bf16."
            )


def _filled(model: WanModule, tensors: Iterable[tuple[str, Stored]], device: torch.device | str) -> WanModule:
    """``model`` with all of these, which become its own."""
    ready = {}
    for key, value in tensors:
        if isinstance(value, QuantizedWeight):
            name = key.rpartition(".")[0]
            parent, _, child = name.rpartition(".")
            layer = QuantizedLinear(value, bias=model.get_submodule(name).bias is not None)
            setattr(model.get_submodule(parent), child, layer)
        else:
            ready[key] = value
    # Whether all is there was checked before; what is quantized is in its place already.
    model.load_state_dict(ready, strict=False, assign=True)
    if hasattr(model, "rope"):
        # Its tables are computed, not stored, and were left empty on the meta device.
        rope = model.config
        model.rope = type(model.rope)(rope.attention_head_dim, rope.patch_size, rope.rope_max_seq_len).to(device)
    return model.eval().requires_grad_(False)
