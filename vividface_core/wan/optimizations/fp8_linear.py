"""Narrower weights for the denoiser's large matrices: half the memory of bf16, and faster where the device can."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.errors import InvalidOption, first_line
from vividface_core.io.quantization import QuantizedLinear
from vividface_core.wan.folded_transformer import FoldedDenoiser
from vividface_core.wan.module_types import WanModule

LINEARS = ("auto", "fp8-weights", "fp8")
"""``auto`` keeps the weights as they are. ``fp8-weights`` stores them in 8 bits and computes as before; ``fp8`` also
multiplies in 8 bits."""
INEXACT = {"fp8-weights", "fp8"}
NARROW = torch.float8_e4m3fn
LARGEST = torch.finfo(NARROW).max
TINY = 1e-12


class Fp8Linear(nn.Module):
    """W x + b with W ≈ scale · W₈, W₈ in e4m3 (4 bits of exponent, 3 of mantissa), one scale an output channel.

    Args:
        linear: what it stands for.
        multiply: also round x, with one scale a token, and multiply in 8 bits.
    """

    scale: Tensor

    def __init__(self, linear: nn.Linear | QuantizedLinear, *, multiply: bool) -> None:
        super().__init__()
        self.multiply = multiply
        weight, scale = quantize_rows(linear.weight.detach())
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        if not self.multiply:
            return F.linear(x, (self.weight.float() * self.scale).to(x.dtype), self.bias)
        rows, scale = quantize_rows(x.flatten(0, -2))
        # Its second factor is wanted by columns, which are the rows of a weight.
        product = torch._scaled_mm(rows, self.weight.t(), scale, self.scale.t(), bias=self.bias, out_dtype=x.dtype)
        return product.unflatten(0, x.shape[:-1])


def quantize_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """``[n, channels]`` as e4m3 and ``[n, 1]`` fp32: each row's largest value becomes the type's largest."""
    rows = rows.float()
    scale = rows.abs().amax(-1, keepdim=True).clamp_min(TINY) / LARGEST
    return (rows / scale).clamp(-LARGEST, LARGEST).to(NARROW), scale


def use_linears(denoiser: FoldedDenoiser, kind: str) -> FoldedDenoiser:
    """Replace the matrices of all blocks, one of :data:`LINEARS`."""
    # What is stored in few bits already stays so, unless products need it otherwise.
    kinds: dict[str, tuple[type[nn.Linear | QuantizedLinear], ...]] = {
        "auto": (),
        "fp8-weights": (nn.Linear,),
        "fp8": (nn.Linear, QuantizedLinear),
    }
    large = kinds[kind]
    blocks: list[WanModule] = list(denoiser.blocks)
    for parent in (part for block in blocks for part in (block, block.text)):
        for name, module in list(parent.named_children()):
            if isinstance(module, large):
                setattr(parent, name, Fp8Linear(module, multiply=kind == "fp8"))
    return denoiser


def check_linears(kind: str, device: torch.device, dtype: torch.dtype) -> None:
    """Raises InvalidOption for an unknown kind, or one that the device can't multiply in."""
    if kind not in LINEARS:
        raise InvalidOption(f"linear is {kind!r}; choose {', '.join(LINEARS)}.")
    if kind != "fp8":
        return
    try:
        with torch.device(device):
            layer = Fp8Linear(nn.Linear(16, 16, dtype=dtype), multiply=True)
            layer(torch.zeros(16, 16, dtype=dtype))
    except (RuntimeError, NotImplementedError, ValueError, AttributeError) as error:
        reason = first_line(error).rstrip(".")
        raise InvalidOption(
            f"{device} does not multiply in fp8 with results in {str(dtype).removeprefix('torch.')} ({reason}). Choose "
            "fp8-weights, which stores in 8 bits only."
        ) from error
