"""Weights in fewer bits than they are computed in: what a file holds of one, and a linear layer that keeps it so.

Two families: fp8 with or without a scale (w = scale · fp8, one scale a tensor or a row), and the blocks of GGUF.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.errors import UnsupportedCheckpoint
from vividface_core.io.gguf_blocks import FORMATS

FP8 = {"float8_e4m3fn": torch.float8_e4m3fn, "float8_e5m2": torch.float8_e5m2}
"""By ComfyUI's names."""
SCALES = (".scale_weight", ".weight_scale")
"""Ends of a scale's name in ComfyUI's fp8 files, the older and the newer kind."""
LAYER = ".comfy_quant"
"""End of the name of a layer's own description, JSON in bytes; ComfyUI's newer files have it, or a table of the same
in the file's metadata (:data:`METADATA`)."""
METADATA = "_quantization_metadata"
_IGNORED = (".scale_input", ".input_scale")
"""For products in fp8; here everything is computed in the type that was asked for."""
_MARKER = "scaled_fp8"
PIECE = {"cpu": 1 << 18}
"""Weights that are unpacked together: few where caches are small and freed memory is not given back whole."""
LARGE_PIECE = 1 << 23
"""The same on other devices, which want few and large steps."""


@dataclass(frozen=True)
class QuantizedWeight:
    """One quantized weight as a file holds it.

    Attributes:
        encoding: a name of :data:`FP8` or of :data:`~vividface_core.io.gguf_blocks.FORMATS`.
        data: bytes, uint8: ``[*shape]`` for fp8, ``[rows, bytes a row]`` for blocks.
        shape: of the weight.
        scale: fp8 only: float32 ``[]`` or ``[rows, 1]``; ``None``: 1.
    """

    encoding: str
    data: Tensor
    shape: torch.Size
    scale: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers, as they are kept."""
        return self.data.nbytes

    def numel(self) -> int:
        """Weights that it stands for."""
        return self.shape.numel()

    def without_data(self) -> QuantizedWeight:
        """Everything but the bytes."""
        return replace(self, data=torch.empty(0, dtype=torch.uint8))

    def with_data(self, data: Stored) -> QuantizedWeight:
        """This one with the bytes of ``data``, as a file hands them out."""
        bytes_ = data.data if isinstance(data, QuantizedWeight) else data.contiguous().view(torch.uint8)
        return replace(self, data=bytes_)

    def to(self, device: torch.device | str) -> QuantizedWeight:
        """A copy there, independent of the file."""
        scale = None if self.scale is None else self.scale.to(device, copy=True)
        return replace(self, data=self.data.to(device, copy=True), scale=scale)

    def dequantize(self, dtype: torch.dtype, device: torch.device | str | None = None) -> Tensor:
        """The weight: computed in float32, then rounded once to ``dtype``.

        Args:
            device: of the result; the arithmetic is done there. ``None``: where the bytes are.
        """
        device = self.data.device if device is None else torch.device(device)
        rows = self.data.reshape(-1, self.data.shape[-1]) if self.data.ndim else self.data.reshape(1, 1)
        result = torch.empty(len(rows), self.numel() // max(1, len(rows)), dtype=dtype, device=device)
        step = max(1, PIECE.get(device.type, LARGE_PIECE) // max(1, result.shape[1]))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            result[part] = self._values(rows[part].to(device), part)
        return result.view(self.shape)

    def _values(self, rows: Tensor, part: slice) -> Tensor:
        if self.encoding in FORMATS:
            blocks = FORMATS[self.encoding]
            return blocks.unpack(rows.reshape(-1, blocks.size)).view(len(rows), -1)
        values = rows.view(FP8[self.encoding]).float()
        if self.scale is None:
            return values
        scale = self.scale.to(rows.device)
        return values * (scale[part] if scale.ndim else scale)


Stored = Tensor | QuantizedWeight
"""What a file holds under one name."""


class QuantizedLinear(nn.Module):
    """A linear layer whose weight stays quantized and is unpacked at every use.

    The result is exactly that of a dense layer whose weight was unpacked once to the type of the input. Bytes and
    scale are integers to PyTorch, so nothing that gives a module another number type changes them.

    Attributes:
        packed: the bytes.
        scale: the bytes of the float32 scales, or ``None``.
    """

    def __init__(self, weight: QuantizedWeight, bias: bool = True) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.encoding = weight.encoding
        self.packed = nn.Parameter(weight.data, requires_grad=False)
        scale = weight.scale
        self._rows = scale is not None and scale.ndim > 0
        packed = None if scale is None else scale.reshape(-1).view(torch.uint8)
        self.scale = None if packed is None else nn.Parameter(packed, requires_grad=False)
        empty = nn.Parameter(torch.empty(self.out_features, device="meta"), requires_grad=False)
        self.bias = empty if bias else None

    @property
    def stored(self) -> QuantizedWeight:
        """The weight as it is kept, not copied."""
        scale = None
        if self.scale is not None:
            scale = self.scale.detach().view(torch.float32)
            scale = scale[:, None] if self._rows else scale[0]
        return QuantizedWeight(
            self.encoding, self.packed.detach(), torch.Size((self.out_features, self.in_features)), scale
        )

    @property
    def weight(self) -> Tensor:
        """``[out, in]``, unpacked anew, in the type of the bias (float32 without one)."""
        return self.stored.dequantize(torch.float32 if self.bias is None else self.bias.dtype)

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.stored.dequantize(x.dtype), bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, encoding={self.encoding}"


def dense_tensors(module: nn.Module) -> dict[str, Tensor]:
    """``module.state_dict()`` as if nothing in it were quantized."""
    tensors = module.state_dict()
    for name, layer in module.named_modules():
        if isinstance(layer, QuantizedLinear):
            for part in ("packed", "scale"):
                tensors.pop(f"{name}.{part}", None)
            tensors[f"{name}.weight"] = layer.weight
    return tensors


def attach_scales(state: Mapping[str, Stored], source: str | Path) -> dict[str, Stored]:
    """fp8 tensors joined with their scales, and what only describes them left out.

    Args:
        state: of one network, without prefix; see :func:`~vividface_core.wan.state_dict.read_state_dict`.
        source: what messages call the file.

    Raises:
        UnsupportedCheckpoint: an unknown quantization; a scale that is missing, belongs to nothing, is NaN, infinite,
            zero or of the wrong shape.
    """
    formats = _formats(state, source)
    scales = {key.removesuffix(end): key for key in state for end in SCALES if key.endswith(end)}
    marked = _MARKER in state or bool(scales)
    found: dict[str, Stored] = {}
    for key, value in state.items():
        if key == _MARKER or key.endswith((*SCALES, *_IGNORED, LAYER)):
            continue
        layer = key.removesuffix(".weight") if key.endswith(".weight") else None
        encoding = formats.get(layer) or _fp8_name(value)
        if encoding is None or not isinstance(value, Tensor):
            found[key] = value
            continue
        scale = None if layer is None else scales.pop(layer, None)
        if scale is None and value.ndim == 2 and layer and (marked or layer in formats):
            raise UnsupportedCheckpoint(
                f"{source}: {key} is {encoding} and its scale ({layer}{SCALES[0]}) is missing; fetch the file again."
            )
        found[key] = _fp8(key, value, encoding, _plain(scale, state[scale], source) if scale else None, source)
    for layer, key in scales.items():
        # Written for every layer by some tools; 1 changes nothing.
        if f"{layer}.weight" not in found or not bool((_plain(key, state[key], source).float() == 1).all()):
            raise UnsupportedCheckpoint(f"{source}: {key} is a scale without an fp8 weight; fetch the file again.")
    return found


def _plain(key: str, value: Stored, source: str | Path) -> Tensor:
    """A tensor that describes others, which is never quantized itself."""
    if not isinstance(value, Tensor):
        raise UnsupportedCheckpoint(f"{source}: {key} is quantized, where plain numbers were expected.")
    return value


def _fp8_name(value: Stored) -> str | None:
    dtype = value.dtype if isinstance(value, Tensor) else None
    return next((name for name, known in FP8.items() if known == dtype), None)


def _formats(state: Mapping[str, Stored], source: str | Path) -> dict[str | None, str]:
    """The encoding of every layer that has a description of its own."""
    formats: dict[str | None, str] = {}
    for key, value in state.items():
        if not key.endswith(LAYER):
            continue
        try:
            name = json.loads(bytes(_plain(key, value, source).tolist()))["format"]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UnsupportedCheckpoint(
                f"{source}: {key} is no description of a quantized layer ({error}); fetch the file again."
            ) from error
        if name not in FP8:
            raise UnsupportedCheckpoint(
                f"{source}: {key.removesuffix(LAYER)} is quantized as {name!r}, which is not known here. Known are "
                f"{', '.join(FP8)} and GGUF files; take one of those, or a file that is not quantized."
            )
        formats[key.removesuffix(LAYER)] = name
    return formats


def _fp8(key: str, value: Tensor, encoding: str, scale: Tensor | None, source: str | Path) -> QuantizedWeight:
    # Bytes by another name are allowed: not every tool could write fp8.
    if value.dtype not in (FP8[encoding], torch.uint8):
        raise UnsupportedCheckpoint(f"{source}: {key} is said to be {encoding}, but is {value.dtype}.")
    if scale is not None:
        scale = _scale(key, scale, value, source)
    return QuantizedWeight(encoding, value.contiguous().view(torch.uint8), value.shape, scale)


def _scale(key: str, scale: Tensor, value: Tensor, source: str | Path) -> Tensor:
    rows = value.shape[0] if value.ndim else 1
    per_row = scale.shape in ((rows,), (rows, 1)) and value.ndim == 2 and rows > 1
    if not scale.is_floating_point() or not (scale.numel() == 1 or per_row):
        raise UnsupportedCheckpoint(
            f"{source}: the scale of {key} is {list(scale.shape)} {scale.dtype}; wanted is one number, or one for "
            f"each of its {rows} rows."
        )
    scale = scale.float().clone()  # a few numbers; the file need not stay open for them
    if not bool((torch.isfinite(scale) & (scale != 0)).all()):
        raise UnsupportedCheckpoint(f"{source}: the scale of {key} is NaN, infinite or zero; fetch the file again.")
    return scale.reshape(-1, 1) if per_row else scale.reshape(())


def type_names(state: Mapping[str, Stored], most: int = 3) -> str:
    """The types of the numbers, those with most bytes first: ``bf16``, ``fp8-scaled (float8_e4m3fn), bf16`` …"""
    sizes: dict[str, int] = {}
    for value in state.values():
        name = _type_name(value)
        sizes[name] = sizes.get(name, 0) + value.nbytes
    names = sorted(sizes, key=sizes.__getitem__, reverse=True)
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _type_name(value: Stored) -> str:
    if isinstance(value, Tensor):
        known = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
        return known.get(value.dtype, str(value.dtype).removeprefix("torch."))
    if value.encoding in FORMATS:
        return value.encoding
    return f"fp8{'' if value.scale is None else '-scaled'} ({value.encoding})"


def quantize_fp8(weight: Tensor, encoding: str = "float8_e4m3fn") -> QuantizedWeight:
    """The nearest fp8 numbers after scaling the largest weight to the largest that fp8 can tell.

    Raises:
        ValueError: NaN or infinite weights.
    """
    dtype = FP8[encoding]
    weight = weight.detach().float()
    largest = weight.abs().max()
    if not torch.isfinite(largest):
        raise ValueError("NaN or infinite weights can't be quantized")
    most = torch.finfo(dtype).max
    scale = largest / most if largest > 0 else torch.ones_like(largest)
    # Clamped, as rounding of the scale may carry the largest beyond the range, which would make it NaN.
    data = (weight / scale).clamp(-most, most).to(dtype)
    return QuantizedWeight(encoding, data.view(torch.uint8), weight.shape, scale)


def layer_table(layers: Mapping[str, str]) -> dict[str, str]:
    """Metadata of a safetensors file that tells ComfyUI the encoding of each layer.

    Args:
        layers: name of a layer, without ``.weight``, to its encoding.
    """
    table = {"format_version": "1.0", "layers": {name: {"format": encoding} for name, encoding in layers.items()}}
    return {METADATA: json.dumps(table)}
