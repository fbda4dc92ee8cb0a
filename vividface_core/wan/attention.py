"""Which kernel computes self-attention: torch's own choice, one of its kernels by name, or an installed package's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from vividface_core.errors import InvalidOption, MissingDependency, first_line

KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
"""torch's own."""
PACKAGES = {"flash3": "flash_attn_interface", "sage": "sageattention"}
"""Those of packages, by the module to import. ``sage`` rounds to 8 bits: it is never chosen automatically."""
BACKENDS = ("auto", *KERNELS, *PACKAGES)
INEXACT = {"sage"}


class Attention:
    """softmax(QKᵀ/√d)·V without a mask.

    Attributes:
        name: one of :data:`BACKENDS`.
    """

    def __init__(self, name: str = "auto") -> None:
        """
        Raises:
            InvalidOption: unknown name.
            MissingDependency: its package isn't installed or is broken.
        """
        if name not in BACKENDS:
            raise InvalidOption(f"attention is {name!r}; choose {', '.join(BACKENDS)}.")
        self.name = name
        self._kernel = _package(name) if name in PACKAGES else _torch_kernel

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """``[B, T, heads, d]`` each, and so returned. Inside of :meth:`chosen`."""
        return self._kernel(query, key, value)

    def chosen(self) -> AbstractContextManager:
        """Within it, torch uses the kernel of this name; for ``auto``, the fastest exact one that can."""
        if self.name in KERNELS:
            return sdpa_kernel(KERNELS[self.name])
        if self.name == "auto" and _hopper_or_newer() and "set_priority" in inspect.signature(sdpa_kernel).parameters:
            # Its kernel for these chips is of a newer generation than torch's flash attention.
            order = [KERNELS[name] for name in ("cudnn", "flash", "efficient", "math")]
            return sdpa_kernel(order, set_priority=True)
        return nullcontext()

    def check(self, device: torch.device, dtype: torch.dtype, depth: int) -> None:
        """Raises InvalidOption unless this device can, in this type and with ``depth`` channels a head."""
        if self.name == "auto":
            return
        x = torch.zeros(1, 16, 2, depth, device=device, dtype=dtype)
        try:
            with self.chosen(), torch.inference_mode():
                self(x, x, x)
        except (RuntimeError, ValueError, TypeError, AssertionError, NotImplementedError) as error:
            kind = str(dtype).removeprefix("torch.")
            reason = first_line(error).rstrip(".")
            raise InvalidOption(
                f"Attention {self.name!r} does not run on {device} in {kind} with heads of {depth} channels "
                f"({reason}). Choose auto."
            ) from error


def _torch_kernel(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)


def _package(name: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    try:
        module = __import__(PACKAGES[name])
        kernel = module.sageattn if name == "sage" else module.flash_attn_func
    except Exception as error:  # a package built for another torch fails in its own ways
        raise MissingDependency(
            f"Attention {name!r} needs the package {PACKAGES[name]}, which does not import here ({error}). Install it, "
            "or choose auto."
        ) from error
    if name == "sage":
        return lambda query, key, value: kernel(query, key, value, tensor_layout="NHD")

    def flash3(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        found = kernel(query, key, value)
        return found[0] if isinstance(found, tuple) else found  # some versions also return the logits' sums

    return flash3


def _hopper_or_newer() -> bool:
    return torch.cuda.is_available() and not torch.version.hip and torch.cuda.get_device_capability() >= (9, 0)
