"""Optimizers and learning rates by configuration."""

from __future__ import annotations

from collections.abc import Container
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer as TorchOptimizer
from torch.optim.lr_scheduler import LambdaLR

from training.config import Optimizer
from training.stages.base import Groups
from training.trainer.muon import muon_class


def make_optimizer(groups: Groups, config: Optimizer, net: nn.Module) -> TorchOptimizer:
    """AdamW, or :class:`MuonWithAdam`, over groups of parameters of ``net``."""
    if config.name == "muon":
        return MuonWithAdam(groups, config, net)
    rows = [{"params": parameters, "lr": share * config.lr} for parameters, share in groups]
    return torch.optim.AdamW(rows, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)


def make_schedule(optimizer: TorchOptimizer, config: Optimizer) -> LambdaLR:
    """Linear warm-up, then constant, a cosine down to ``final``, or steps; one call of ``step`` an optimizer step."""
    from diffusers.optimization import get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup

    if config.schedule == "constant":
        return get_constant_schedule_with_warmup(optimizer, config.warmup)
    if config.schedule == "steps":
        return LambdaLR(optimizer, partial(_stepped, config))
    schedule = get_cosine_schedule_with_warmup(optimizer, config.warmup, config.steps)
    schedule.lr_lambdas = [partial(_raised, fall, config) for fall in schedule.lr_lambdas]
    return schedule


def _raised(fall: Any, config: Optimizer, step: int) -> float:
    share = fall(step)
    return share if step < config.warmup else config.min_lr_ratio + (1 - config.min_lr_ratio) * share


def _stepped(config: Optimizer, step: int) -> float:
    if step < config.warmup:
        return step / config.warmup
    return config.gamma ** sum(step >= milestone for milestone in config.milestones)


def _is_kernel(parameter: nn.Parameter, tables: Container[int]) -> bool:
    if parameter.ndim < 2 or id(parameter) in tables:
        return False
    rows = parameter.shape[0]
    return rows > 1 and parameter.numel() > 2 * rows


class MuonWithAdam(TorchOptimizer):
    """Muon for matrices and convolution kernels, AdamW for norms, biases and tables.

    Muon takes matrices only, so a kernel is handed to it as an ``[out, everything else]`` view of the same storage.
    A small autoencoder needs about a fifth of AdamW's steps to its first 20 dB. The rows of an embedding, such as a
    codebook, are no kernel: Muon would move those that no sample asked for as far as the others.
    """

    def __init__(self, groups: Groups, config: Optimizer, net: nn.Module) -> None:
        tables = {id(module.weight) for module in net.modules() if isinstance(module, nn.Embedding)}
        rows: list[dict[str, Any]] = []
        for parameters, share in groups:
            kernels = [p for p in parameters if _is_kernel(p, tables)]
            rest = [p for p in parameters if not _is_kernel(p, tables)]
            rows.append({"params": kernels, "lr": share * config.muon_lr_scale * config.lr, "kernels": True})
            rows.append({"params": rest, "lr": share * config.lr, "kernels": False})
        super().__init__([row for row in rows if row["params"]], {})
        self._views: list[tuple[nn.Parameter, nn.Parameter]] = []
        self._inner = [self._of(group, config) for group in self.param_groups]

    def _of(self, group: dict[str, Any], config: Optimizer) -> TorchOptimizer:
        if not group["kernels"]:
            return torch.optim.AdamW(group["params"], lr=group["lr"], betas=config.betas, weight_decay=0.0)
        views = [(p, nn.Parameter(p.data.view(p.shape[0], -1))) for p in group["params"]]
        self._views += views
        return muon_class()([view for _, view in views], lr=group["lr"], weight_decay=0.0)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # torch's own returns the closure's loss
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
