"""Masks against a plain loop, losses against hand-written formulas, gradients against finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from training.data.masks import enlarged
from training.losses.face_focused import (
    PSNR_FLOOR,
    edge_error,
    gaussian_divergence,
    psnr_error,
    switch_of,
    switched_error,
)
from vividface_core.faces.masks import latent_mask


def loop_mask(mask: torch.Tensor, space: int, time: int) -> torch.Tensor:
    batch, _, frames, height, width = mask.shape
    out = torch.zeros(batch, 1, 1 + (frames - 1) // time, height // space, width // space)
    for b in range(batch):
        for t in range(frames):
            for y in range(0, height, space):
                for x in range(0, width, space):
                    at = (b, 0, 0 if t == 0 else 1 + (t - 1) // time, y // space, x // space)
                    out[at] = max(float(out[at]), float(mask[b, 0, t, y, x]))
    return out


@pytest.mark.parametrize("frames, space, time", [(1, 8, 4), (5, 8, 4), (13, 8, 4), (9, 8, 2), (9, 4, 4)])
def test_masks_equal_a_plain_loop(frames, space, time):
    mask = (torch.rand(2, 1, frames, 32, 48) < 0.1).float()
    assert torch.equal(latent_mask(mask, space, time), loop_mask(mask, space, time))


def test_paper_sizes():
    assert latent_mask(torch.zeros(1, 1, 81, 64, 64)).shape == (1, 1, 21, 8, 8)
    assert latent_mask(torch.zeros(1, 1, 13, 64, 64)).shape == (1, 1, 4, 8, 8)


@pytest.mark.parametrize("shape", [(1, 1, 4, 32, 32), (1, 1, 5, 30, 32), (1, 1, 5, 32, 36)])
def test_masks_of_other_sizes_are_refused(shape):
    with pytest.raises(ValueError, match="latent grid"):
        latent_mask(torch.zeros(shape))


def example(batch=3):
    output, target = torch.randn(2, batch, 4, 3, 6, 5).double().unbind(0)
    mask = (torch.rand(batch, 1, 3, 6, 5) < 0.3).double()
    return output, target, mask


def test_each_sample_is_switched_on_its_own():
    output, target, mask = example()
    error = (output - target).float() ** 2
    got = switched_error(output, target, mask, torch.tensor([True, False, True]))
    wanted = ((mask[0] * error[0]).mean() + error[1].mean() + (mask[2] * error[2]).mean()) / 3
    assert torch.allclose(got, wanted.float())
    normalised = switched_error(output, target, mask, torch.ones(3, dtype=torch.bool), "mask")
    seen = [error[b][mask[b].expand(4, -1, -1, -1) > 0].mean() for b in range(3)]
    assert torch.allclose(normalised, torch.stack(seen).mean().float(), rtol=1e-5)


def test_a_sample_without_a_face_makes_no_nan():
    output, target, mask = example()
    for way in ("literal", "mask"):
        assert switched_error(output, target, mask * 0, torch.ones(3, dtype=torch.bool), way) == 0


@pytest.mark.parametrize("normalisation", ["literal", "mask"])
@pytest.mark.parametrize("focused", [True, False])
def test_gradients_equal_finite_differences(normalisation, focused):
    output, target, mask = example(2)
    switch = torch.tensor([focused, not focused])
    output = output.float().requires_grad_()
    switched_error(output, target, mask, switch, normalisation).backward()
    step, flat = 1e-2, output.detach().double().flatten()
    for at in torch.randperm(flat.numel())[:40]:
        values = []
        for sign in (1, -1):
            moved = flat.clone()
            moved[at] += sign * step
            values.append(float(switched_error(moved.view_as(output), target, mask, switch, normalisation).double()))
        slope = (values[0] - values[1]) / (2 * step)
        assert abs(slope - float(output.grad.flatten()[at])) < 2e-5


def test_the_switch_follows_its_probability():
    uniform = torch.rand(10_000, generator=torch.Generator().manual_seed(1))
    assert abs(float(switch_of(uniform, 0.3).float().mean()) - 0.3) < 0.02
    assert not switch_of(uniform, 0.0).any() and switch_of(uniform, 1.0).all()
    with pytest.raises(ValueError, match="probability"):
        switch_of(uniform, 1.5)


def test_edges_count_differences_only():
    target = torch.rand(1, 3, 2, 6, 7)
    assert float(edge_error(target + 0.25, target)) < 1e-6
    ramp = torch.arange(7.0).expand(1, 1, 1, 6, 7)
    assert float(edge_error(ramp, torch.zeros_like(ramp))) == pytest.approx(0.5)


def test_divergence_equals_torchs_own():
    mean, log_variance = torch.randn(2, 3, 4).unbind(0)
    unit = torch.distributions.Normal(torch.zeros(3, 4), torch.ones(3, 4))
    wanted = torch.distributions.kl_divergence(torch.distributions.Normal(mean, (log_variance / 2).exp()), unit).mean()
    assert torch.allclose(gaussian_divergence(mean, log_variance), wanted, atol=1e-6)


@pytest.mark.parametrize("frames, ratio", [(1, 4), (9, 4), (9, 2), (5, 1)])
def test_an_enlarged_latent_mask_comes_back(frames, ratio):
    mask = (torch.rand(2, 1, 1 + (frames - 1) // ratio, 4, 6) < 0.4).float()
    whole = enlarged(mask, torch.zeros(2, 3, frames, 32, 48))
    assert whole.shape == (2, 1, frames, 32, 48)
    assert torch.equal(latent_mask(whole, 8, ratio), mask)


def test_a_decibel_counts_the_same_in_every_sample():
    """Far above the floor a sample's share of the gradient is 1 / its error, and ten times the error is 10 dB more;
    far below it nothing is left to gain."""
    target = torch.zeros(2, 3, 2, 8, 8)
    errors = torch.tensor([0.1, 0.4]).view(2, 1, 1, 1, 1).expand_as(target).clone().requires_grad_()
    loss = psnr_error(errors, target)
    wanted = [10 * math.log10(1 + e**2 / PSNR_FLOOR) for e in (0.1, 0.4)]
    assert loss.item() == pytest.approx(sum(wanted) / 2, rel=1e-5)
    loss.backward()
    pull = [(errors.grad[n] * errors[n]).sum().item() for n in range(2)]
    assert pull[0] == pytest.approx(pull[1], rel=0.03), "one percent less error is worth as much in both"
    assert psnr_error(target, target) == 0 and psnr_error(target + 1e-3, target) < 0.02
