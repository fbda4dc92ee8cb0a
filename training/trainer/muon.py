"""Muon in single precision, for processors that only emulate bf16."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vividface_core.runtime.cpu_types import cpu_flags, is_emulated


def orthogonalized(update: Tensor, coefficients: Sequence[float], steps: int, eps: float) -> Tensor:
    """An update ``[rows, columns]`` with all singular values near 1: Newton–Schulz iterations of order five.

    The products are those of ``torch.optim.Muon``, in the type of ``update``.
    """
    a, b, c = coefficients
    tall = update.shape[0] > update.shape[1]
    x = update.mT if tall else update
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class SinglePrecisionMuon(torch.optim.Muon):
    """``torch.optim.Muon`` with its matrix products in the parameters' own type. torch's are in bf16, which takes six
    times as long as fp32 where it is emulated: more than the rest of a small network's step."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # torch's own returns the closure's loss
        """One step, with torch's own rate (``adjust_lr_fn`` of ``None``)."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        mean = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        update = gradient.lerp(mean, group["momentum"]) if group["nesterov"] else mean
        update = orthogonalized(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
        rows, columns = parameter.shape
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update, alpha=-group["lr"] * math.sqrt(max(1, rows / columns)))


def muon_class() -> type[torch.optim.Muon]:
    """torch's own, or on a machine without a GPU whose processor emulates bf16 the one in single precision."""
    emulated = not torch.cuda.is_available() and is_emulated(torch.bfloat16, cpu_flags())
    return SinglePrecisionMuon if emulated else torch.optim.Muon
