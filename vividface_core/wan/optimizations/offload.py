"""Weights on a device for as long as a stage takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from vividface_core.wan.module_types import WanModule


@contextmanager
def onload(module: WanModule, device: torch.device) -> Iterator[None]:
    """The module's tensors on ``device``; afterwards it has its own again, and nothing was copied back."""
    slots: list[tuple[dict[str, Any], str]] = [
        (part, name) for sub in module.modules() for part in (sub._parameters, sub._buffers) for name in part
    ]
    own = [part[name] for part, name in slots]
    try:
        for (part, name), tensor in zip(slots, own):
            if tensor is not None:
                there = tensor.detach().to(device, non_blocking=True)
                part[name] = nn.Parameter(there, False) if isinstance(tensor, nn.Parameter) else there
        yield
    finally:
        for (part, name), tensor in zip(slots, own):
            part[name] = tensor
