"""Muon in single precision beside torch's and beside a singular value decomposition."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.trainer import muon
from training.trainer.muon import SinglePrecisionMuon, muon_class, orthogonalized


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (16, 16)])
def test_only_the_singular_values_of_an_update_change(shape):
    update = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    left, _, right = torch.linalg.svd(update, full_matrices=False)
    turned = left.T @ orthogonalized(update, (3.4445, -4.775, 2.0315), 5, 1e-7) @ right.T
    values = turned.diagonal()
    assert (turned - values.diag()).abs().max() < 1e-4
    assert 0.3 < values.min() and values.max() < 1.3


@pytest.mark.parametrize("shape", [(24, 90), (90, 24)])
def test_it_follows_torchs_own(shape):
    generator = torch.Generator().manual_seed(2)
    goal, first = (torch.randn(shape, generator=generator) for _ in range(2))
    ends = []
    for kind in (torch.optim.Muon, SinglePrecisionMuon):
        weight = nn.Parameter(first.clone())
        optimizer = kind([weight], lr=0.1, weight_decay=0.05)
        for _ in range(15):
            optimizer.zero_grad()
            (weight - goal).square().mean().backward()
            optimizer.step()
        ends.append(weight.detach())
    moved = [end - first for end in ends]
    assert (moved[0] - moved[1]).norm() < 0.02 * moved[0].norm()


def test_a_state_goes_on_in_either(monkeypatch):
    weight = nn.Parameter(torch.ones(3, 5))
    states = []
    for flags in ({"avx2"}, {"avx512_bf16"}):
        monkeypatch.setattr(muon, "cpu_flags", lambda flags=flags: flags)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        optimizer = muon_class()([weight], lr=0.1)
        weight.grad = torch.randn(3, 5, generator=torch.Generator().manual_seed(3))
        optimizer.step()
        states.append((type(optimizer), optimizer.state_dict()))
    (one, kept), (other, also) = states
    assert (one, other) == (SinglePrecisionMuon, torch.optim.Muon)
    other([weight], lr=0.1).load_state_dict(kept)
    one([weight], lr=0.1).load_state_dict(also)
    assert kept["state"][0].keys() == also["state"][0].keys()
