"""Optimizers and learning rates by configuration."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer as TorchOptimizer
from torch.optim.lr_scheduler import LambdaLR

from training.config import Optimizer


def make_optimizer(parameters: Iterable[nn.Parameter], config: Optimizer) -> TorchOptimizer:
    """AdamW, or :class:`MuonWithAdam`, over the parameters that want a gradient."""
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    if config.name == "muon":
        return MuonWithAdam(wanted, config)
    return torch.optim.AdamW(wanted, lr=config.rate, betas=config.betas, weight_decay=config.weight_decay)


def make_schedule(optimizer: TorchOptimizer, config: Optimizer) -> LambdaLR:
    """Linear warm-up, then constant, or a cosine down to ``final``; one call of ``step`` an optimizer step."""
    from diffusers.optimization import get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup

    if config.schedule == "constant":
        return get_constant_schedule_with_warmup(optimizer, config.warmup)
    schedule = get_cosine_schedule_with_warmup(optimizer, config.warmup, config.steps)
    schedule.lr_lambdas = [partial(_raised, fall, config) for fall in schedule.lr_lambdas]
    return schedule


def _raised(fall: Any, config: Optimizer, step: int) -> float:
    share = fall(step)
    return share if step < config.warmup else config.final + (1 - config.final) * share


class MuonWithAdam(TorchOptimizer):
    """Muon for matrices and convolution kernels, AdamW for norms, biases and tables.

    Muon takes matrices only, so a kernel is handed to it as an ``[out, everything else]`` view of the same storage.
    A small autoencoder needs about a fifth of AdamW's steps to its first 20 dB.
    """

    def __init__(self, parameters: list[nn.Parameter], config: Optimizer) -> None:
        kernels = [p for p in parameters if p.ndim >= 2 and p.shape[0] > 1 and p.numel() > 2 * p.shape[0]]
        known = set(map(id, kernels))
        rest = [p for p in parameters if id(p) not in known]
        groups = [{"params": kernels, "lr": config.muon_rate * config.rate}, {"params": rest, "lr": config.rate}]
        super().__init__([group for group in groups if group["params"]], {})
        self._views = [(p, nn.Parameter(p.data.view(p.shape[0], -1))) for p in kernels]
        self._inner: list[TorchOptimizer] = []
        if kernels:
            views = [view for _, view in self._views]
            self._inner.append(torch.optim.Muon(views, lr=config.muon_rate * config.rate, weight_decay=0.0))
        if rest:
            self._inner.append(torch.optim.AdamW(rest, lr=config.rate, betas=config.betas, weight_decay=0.0))

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One step at the rates that stand in ``param_groups``."""
        for parameter, view in self._views:
            # The model may have been moved since: the view follows its parameter.
            view.data = parameter.data.view_as(view)
            view.grad = None if parameter.grad is None else parameter.grad.view_as(view)
        for optimizer, group in zip(self._inner, self.param_groups):
            optimizer.param_groups[0]["lr"] = group["lr"]
            optimizer.step()
        for _, view in self._views:
            view.grad = None

    def state_dict(self) -> dict[str, Any]:
        rates = [{key: value for key, value in group.items() if key != "params"} for group in self.param_groups]
        return {"groups": rates, "inner": [optimizer.state_dict() for optimizer in self._inner]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for group, kept in zip(self.param_groups, state_dict["groups"]):
            group.update(kept)
        for optimizer, kept in zip(self._inner, state_dict["inner"]):
            optimizer.load_state_dict(kept)
