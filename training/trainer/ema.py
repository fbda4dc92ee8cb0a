"""Averaged weights (EMA) of a net that may be sharded over processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


class EmaWeights:
    """diffusers' ``EMAModel`` over the trained parameters of ``net``, in fp32, whatever the net computes in.

    Args:
        decay: reached gradually: early averages forget the first weights soon.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self._trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
        self._ema = EMAModel(self._trained, decay=decay, use_ema_warmup=True, power=0.75)
        # In bf16 the small steps of a slow average would be rounded away.
        self._ema.to(dtype=torch.float32)

    def step(self) -> None:
        """Take the weights as they are now into the average."""
        self._ema.step(self._trained)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The net with its averaged weights, then with its own again."""
        self._ema.store(self._trained)
        self._ema.copy_to(self._trained)
        try:
            yield
        finally:
            self._ema.restore(self._trained)

    def state_dict(self) -> dict[str, Any]:
        """Whole tensors, also where each process holds a part; then every process must call this."""
        state = self._ema.state_dict()
        return {**state, "shadow_params": [_whole(value) for value in state["shadow_params"]]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load; each process takes its part."""
        parts = [_like(value, mine) for value, mine in zip(state["shadow_params"], self._ema.shadow_params)]
        self._ema.load_state_dict({**state, "shadow_params": parts})


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor().cpu() if isinstance(value, DTensor) else value


def _like(value: Tensor, mine: Tensor) -> Tensor:
    value = value.to(mine.device)
    return distribute_tensor(value, mine.device_mesh, mine.placements) if isinstance(mine, DTensor) else value
