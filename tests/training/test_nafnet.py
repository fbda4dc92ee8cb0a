"""The honest control: its formulas, its size, and that it learns."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from training.evaluation.nafnet import PUBLISHED, NafBlock, Nafnet, NafnetSize, gflop, parameters

SMALL = NafnetSize(8, (1, 1), 1, (1, 1))


def test_the_published_size_has_the_published_figures():
    """Chen et al., table 6 of the paper and its code: 17.1 M parameters and 16 GMAC at 256²; 29.2 M for SIDD."""
    net = Nafnet(PUBLISHED)
    assert round(parameters(net) / 1e6, 1) == 17.1 and round(gflop(net) / 2) == 16
    assert round(parameters(Nafnet(NafnetSize(32, (2, 2, 4, 8), 12, (2, 2, 2, 2)))) / 1e6, 1) == 29.2


def test_operations_are_those_that_torch_counts():
    net = Nafnet(SMALL)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, 3, 64, 64))
    assert gflop(net, 64) == pytest.approx(counter.get_total_flops() / 1e9, rel=1e-6)


def test_a_block_is_its_formulas():
    torch.manual_seed(0)
    block, x = NafBlock(6), torch.randn(2, 6, 9, 7)
    assert torch.equal(block(x), x), "it begins as nothing: both scales are 0"
    for weight in block.parameters():
        torch.nn.init.normal_(weight, std=0.3)

    def norm(layer, y):
        return F.layer_norm(y.permute(0, 2, 3, 1), (6,), layer.weight, layer.bias, 1e-6).permute(0, 3, 1, 2)

    wide = F.conv2d(norm(block.norm, x), block.widen.weight, block.widen.bias)
    wide = F.conv2d(wide, block.spatial.weight, block.spatial.bias, padding=1, groups=12)
    gated = wide[:, :6] * wide[:, 6:]
    means = gated.flatten(2).mean(2)
    gated = gated * (means @ block.attend.weight[:, :, 0, 0].T + block.attend.bias)[:, :, None, None]
    y = x + block.scale * F.conv2d(gated, block.project.weight, block.project.bias)
    wide = F.conv2d(norm(block.norm_again, y), block.widen_again.weight, block.widen_again.bias)
    gated = wide[:, :6] * wide[:, 6:]
    wanted = y + block.scale_again * F.conv2d(gated, block.project_again.weight, block.project_again.bias)
    assert torch.allclose(block(x), wanted, atol=1e-4)


def test_any_size_comes_back_and_gradients_reach_every_weight():
    net = Nafnet(SMALL)
    for block in net.modules():
        if isinstance(block, NafBlock):
            torch.nn.init.ones_(block.scale), torch.nn.init.ones_(block.scale_again)
    out = net(torch.rand(2, 3, 31, 46))
    assert out.shape == (2, 3, 31, 46)
    out.square().mean().backward()
    assert all(weight.grad is not None and float(weight.grad.abs().sum()) > 0 for weight in net.parameters())
    with pytest.raises(ValueError, match="stages"):
        Nafnet(NafnetSize(8, (1, 1), 1, (1,)))


def test_it_learns_to_take_noise_out():
    torch.manual_seed(1)
    net = Nafnet(SMALL)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    losses = []
    for _ in range(100):
        clean = F.interpolate(torch.rand(4, 3, 4, 4), (32, 32), mode="bicubic").clamp(0, 1)
        noisy = clean + 0.1 * torch.randn_like(clean)
        loss = F.mse_loss(net(noisy), clean)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.5 * 0.01, "the noise's own mean square is 0.01"
