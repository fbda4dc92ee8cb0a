"""Weights on a device for as long as a stage takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from vividface_core.wan.module_types import WanModule


@contextmanager
def onload(
    module: WanModule, device: torch.device, wanted: Callable[[nn.Module], bool] = lambda part: True
) -> Iterator[None]:
    """The module's tensors on ``device``; afterwards it has its own again, and nothing was copied back.

    Args:
        wanted: of which of its parts.
    """
    parts = [part for sub in module.modules() if wanted(sub) for part in (sub._parameters, sub._buffers)]
    slots = [(part, name) for part in parts for name in part]
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
