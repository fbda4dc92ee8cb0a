"""The checkpointed decoder gives the gradient of the plain one, in less memory."""

from __future__ import annotations

import pytest
import torch

from tests.memory import numbers_of
from tests.tiny import tiny_modules
from training.losses.decode_with_gradient import decode_with_gradient
from vividface_core.wan.vae import decode


@pytest.mark.parametrize("chunk", [1, 2])
@pytest.mark.parametrize("frames", [1, 2, 5, 7])
def test_value_and_gradient_equal_the_plain_decoder(frames, chunk):
    vae = tiny_modules()[0].requires_grad_(False)
    latent = torch.randn(1, 8, frames, 4, 6)
    weights = torch.randn(1, 3, 1 + 4 * (frames - 1), 32, 48)
    values, gradients = [], []
    for decoder in (lambda z: decode(vae, z, chunk=frames), lambda z: decode_with_gradient(vae, z, chunk)):
        z = latent.clone().requires_grad_()
        value = decoder(z)
        (value * weights).sum().backward()
        values.append(value.detach())
        gradients.append(z.grad)
    assert (values[0] - values[1]).abs().max() < 1e-5
    assert (gradients[0] - gradients[1]).abs().max() < 1e-4 * max(1, float(gradients[0].abs().max()))
    assert all(parameter.grad is None for parameter in vae.parameters())


def test_gradient_equals_finite_differences():
    vae = tiny_modules()[0].double()
    latent = torch.randn(1, 8, 3, 2, 2, dtype=torch.float64)

    def value(z):
        # The stream hands out fp32, too coarse for a difference quotient; its sum in fp64 is not.
        return decode_with_gradient(vae, z).double().square().mean()

    z = latent.clone().requires_grad_()
    value(z).backward()
    direction = torch.randn_like(latent)
    step = 1e-3
    with torch.no_grad():
        slope = (value(latent + step * direction) - value(latent - step * direction)) / (2 * step)
    assert float(slope) == pytest.approx(float((z.grad * direction).sum()), rel=2e-3)


MEASURE = """
import sys, torch
from training.losses.decode_with_gradient import decode_with_gradient
from vividface_core.runtime.memory import peak_memory
from vividface_core.wan.loading import load_vae
from vividface_core.wan.vae import decode
vae = load_vae(sys.argv[2]).requires_grad_(False)
way = {"plain": decode, "bounded": decode_with_gradient}[sys.argv[1]]
way(vae, torch.randn(1, 8, 2, 8, 8, requires_grad=True)).sum().backward()
peaks = []
for frames in (3, 9):
    way(vae, torch.randn(1, 8, frames, 12, 12, requires_grad=True)).square().sum().backward()
    peaks.append(peak_memory())
print(*peaks)
"""


def test_a_longer_clip_takes_little_more_memory(tiny_checkpoint):
    def more(way: str) -> int:
        short, long = numbers_of(MEASURE, way, tiny_checkpoint)
        return long - short

    plain, bounded = (more(way) for way in ("plain", "bounded"))
    assert bounded < 0.3 * plain, (bounded >> 20, plain >> 20)
