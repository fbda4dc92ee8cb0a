"""A device beside the CPU where there is none: its tensors say that they are elsewhere, and compute on the CPU.

What a real device refuses is refused here: a tensor of the CPU in one operation with one of the device. Of streams,
graphs, memory and kernels it knows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

# Before anything else in the process: the engine of the gradients looks once which devices there are.
_setup_privateuseone_for_python_backend("elsewhere")
torch.elsewhere.get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]
DEVICE = torch.device("elsewhere:0")
MOVES = ("aten::copy_", "aten::_to_copy", "aten::to")
"""Take tensors of two devices."""
INDEXES = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
"""Take indices of the CPU beside a tensor of the device."""


@contextmanager
def other_device() -> Iterator[torch.device]:
    """:data:`DEVICE` takes tensors inside of this block."""
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(…, device=…) moves what it has made: an operation too
    try:
        with torch.autograd.set_multithreading_enabled(False), _Dispatch():  # the block counts for one thread
            yield DEVICE
    finally:
        torch._C._set_only_lift_cpu_tensors(before)


class OnDevice(torch.Tensor):
    """A tensor that says it is on :data:`DEVICE`; ``inner`` is on the CPU."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> OnDevice:
        with torch.inference_mode(False):
            self = torch.Tensor._make_wrapper_subclass(
                cls,
                inner.size(),
                strides=inner.stride(),
                storage_offset=inner.storage_offset(),
                dtype=inner.dtype,
                layout=inner.layout,
                device=DEVICE,
                requires_grad=inner.requires_grad,
            )
        self.inner = inner
        return self

    def __repr__(self) -> str:
        return f"OnDevice({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _run(func, args, kwargs or {})


class _Dispatch(TorchDispatchMode):
    """Sees operations that have no tensor of the device yet, as those that make one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    leaves = tree_leaves((args, kwargs))
    held = {id(leaf.inner): leaf for leaf in leaves if isinstance(leaf, OnDevice)}
    devices = [leaf for leaf in leaves if isinstance(leaf, torch.device)]
    name = func._schema.name
    if name == "aten::_has_compatible_shallow_copy_type":
        return False  # a module's parameter is replaced where its device changes
    _check(name, leaves, bool(held))
    result = func(*tree_map(_inside, args), **tree_map(_inside, kwargs))
    if name == "aten::copy_":
        return args[0]
    there = devices[0].type == DEVICE.type if devices else bool(held)
    if name in MOVES and devices and there != bool(held):
        result = result.clone()  # a move shares no memory
    return tree_map(_outside(held), result) if there else result


def _check(name: str, leaves: list[Any], on_device: bool) -> None:
    if not on_device or name in MOVES + INDEXES:
        return
    for leaf in leaves:
        if isinstance(leaf, torch.Tensor) and not isinstance(leaf, OnDevice) and leaf.ndim:
            raise RuntimeError(f"{name}: a CPU tensor of {tuple(leaf.shape)} beside one on {DEVICE}")


def _inside(value: Any) -> Any:
    if isinstance(value, torch.device):
        return torch.device("cpu") if value.type == DEVICE.type else value
    return value.inner if isinstance(value, OnDevice) else value


def _outside(held: dict[int, OnDevice]) -> Callable[[Any], Any]:
    """Puts a result on the device; what an operation changed in place stays the tensor that it was."""

    def wrap(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or isinstance(value, OnDevice):
            return value
        known = held.get(id(value))
        return OnDevice(value) if known is None else known

    return wrap
