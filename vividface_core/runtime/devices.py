"""Which device and number type to compute with."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from vividface_core.errors import InvalidOption

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` takes the first accelerator that is there: CUDA (or ROCm), XPU, MPS, else the CPU.

    Raises:
        InvalidOption: the named device is unknown or not on this machine.
    """
    here = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "xpu": torch.xpu.device_count() if hasattr(torch, "xpu") and torch.xpu.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    if name == "auto":
        return torch.device(next(kind for kind, count in here.items() if count))
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in here or (device.index or 0) >= here[device.type]:
        found = ", ".join(kind if count == 1 else f"{kind}:0…{count - 1}" for kind, count in here.items() if count)
        raise InvalidOption(f"There is no device {name!r} on this machine; it has {found}.")
    return device


def pick_devices(names: str) -> list[torch.device]:
    """Several devices, with commas between; a number alone counts those of the accelerator: ``0,1``, ``cpu,cpu``.

    Raises:
        InvalidOption: one is unknown or not on this machine.
    """
    kind = pick_device().type
    return [pick_device(f"{kind}:{name}" if name.isdigit() else name) for name in names.replace(" ", "").split(",")]


def pick_dtype(name: str = "auto") -> torch.dtype | None:
    """A type by its short name; ``None`` for ``auto`` leaves the choice to the restorer and its device.

    Raises:
        InvalidOption: unknown name.
    """
    if name == "auto":
        return None
    if name not in DTYPES:
        raise InvalidOption(f"dtype is {name!r}; choose auto, {', '.join(DTYPES)}.")
    return DTYPES[name]


def default_dtype(device: torch.device | str) -> torch.dtype:
    """bf16, in which VividFace was released, where the device computes in it; fp32 elsewhere."""
    device = torch.device(device)
    if device.type == "cuda":
        # ROCm has no compute capability of NVIDIA's; all its cards that torch supports do bf16.
        if torch.version.hip or torch.cuda.get_device_capability(device) >= (8, 0):
            return torch.bfloat16
    elif device.type == "xpu" and torch.xpu.is_bf16_supported():
        return torch.bfloat16
    return torch.float32


Net = TypeVar("Net", bound=nn.Module)


def channels_last(net: Net) -> Net:
    """The same module with the channels of its 4D weights last in memory."""
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's signatures
    return net
