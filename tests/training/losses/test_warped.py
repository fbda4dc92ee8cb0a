"""The flicker loss on a picture that moves by known steps."""

from __future__ import annotations

import pytest
import torch
from skimage import data as pictures

from training.losses.warped import warped_error


@pytest.fixture(scope="module")
def moving():
    """``[1, 3, 5, 128, 128]``: a window that goes two pixels to the right in each frame."""
    face = torch.from_numpy(pictures.astronaut()).permute(2, 0, 1).float() / 127.5 - 1
    return torch.stack([face[:, 60:188, 140 + 2 * t : 268 + 2 * t] for t in range(5)], 1)[None]


def test_an_error_that_moves_along_costs_little_and_one_that_flickers_costs_all(moving):
    stain = torch.zeros_like(moving[:, :, 0])
    stain[..., 40:80, 50:90] = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 48, 48) - 0.5, 9, 1)
    along = torch.stack([stain.roll(-2 * t, -1) for t in range(5)], 2)
    flicker = torch.stack([stain * (1 if t % 2 else -1) for t in range(5)], 2)
    costs = [float(warped_error(moving + error, moving)) for error in (along, flicker)]
    assert costs[0] < 0.2 * costs[1], costs
    assert costs[1] == pytest.approx(2 * float(stain.abs().mean()), rel=0.4)


def test_a_constant_error_and_a_single_frame_cost_nothing_and_gradients_are_finite(moving):
    assert float(warped_error(moving + 0.2, moving)) < 1e-5
    assert float(warped_error(moving[:, :, :1] + 0.2, moving[:, :, :1])) == 0
    output = (moving + 0.05 * torch.randn_like(moving)).requires_grad_()
    warped_error(output, moving).backward()
    assert torch.isfinite(output.grad).all() and output.grad.abs().max() > 0
