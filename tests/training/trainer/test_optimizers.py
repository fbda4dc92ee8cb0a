"""Which parameters Muon takes."""

from __future__ import annotations

import torch
from torch import nn

from training.config import Optimizer
from training.trainer.optimizers import make_optimizer


def test_codes_that_no_sample_asked_for_stay_where_they_are():
    # Orthogonalised, the update of a table would move all of its rows alike.
    torch.manual_seed(0)
    net = nn.ModuleDict({"codebook": nn.Embedding(64, 8), "kernel": nn.Linear(8, 8, bias=False)})
    optimizer = make_optimizer(
        [(list(net.parameters()), 1.0)], Optimizer(name="muon", lr=1e-2, weight_decay=0.0, steps=1), net
    )
    before = net["codebook"].weight.detach().clone()
    asked = torch.tensor([3, 5, 8])
    net["kernel"](net["codebook"](asked)).square().sum().backward()
    optimizer.step()
    moved = (net["codebook"].weight.detach() - before).abs().amax(1)
    others = torch.ones(64, dtype=torch.bool)
    others[asked] = False
    assert not moved[others].any() and moved[asked].min() > 5e-3
    # A kernel of the same group is Muon's: its step is orthogonal, so all its singular values are about one size.
    (taken,) = [group for group in optimizer.param_groups if group["kernels"]]
    assert [p.shape for p in taken["params"]] == [(8, 8)]
