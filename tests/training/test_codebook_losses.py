"""BFVR-STC's losses against their formulas written out, and the adversarial gradient against finite differences."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from training.losses.codebook import (
    CodeUsage,
    codebook_loss,
    lookup_loss,
    marginal_prior,
    released_prior,
    residual_share,
    soft_assignment,
)
from training.losses.frozen_backbone_discriminator import (
    FrozenBackboneDiscriminator,
    frames_of,
    load_backbone,
    pooled,
)
from vividface_core.bfvr_stc import VQAutoEncoder3D
from vividface_core.errors import InvalidOption, MissingDependency, MissingWeights


def latent(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def prior_by_hand(z: torch.Tensor, codebook: torch.Tensor) -> float:
    codes, shares, count = len(codebook), [0.0] * len(codebook), 0
    for row in z.permute(0, 2, 3, 4, 1).reshape(-1, z.shape[1]).tolist():
        weights = [1 / sum((a - b) ** 2 for a, b in zip(row, code)) for code in codebook.tolist()]
        count += 1
        shares = [share + weight / sum(weights) for share, weight in zip(shares, weights)]
    return sum(share / count * math.log(share / count * codes) for share in shares)


def test_the_prior_is_its_formula():
    z, codebook = latent(2, 5, 2, 3, 2), latent(7, 5)
    assert abs(float(marginal_prior(z, codebook)) - prior_by_hand(z, codebook)) < 1e-12


def test_the_prior_is_zero_for_equal_shares_and_log_k_for_one_code():
    codebook = torch.eye(6, dtype=torch.float64)
    assert float(marginal_prior(torch.zeros(1, 6, 1, 2, 2, dtype=torch.float64), codebook)) == pytest.approx(0)
    on_one = codebook[2].view(1, 6, 1, 1, 1).expand(1, 6, 2, 2, 2)
    # The code itself is 10⁶ times nearer than the others, not infinitely.
    assert float(marginal_prior(on_one, codebook)) == pytest.approx(math.log(6), abs=1e-3)
    assert torch.isfinite(marginal_prior(on_one.float(), codebook.float()))


def test_the_priors_gradient():
    z, codebook = latent(1, 4, 2, 2, 2).requires_grad_(), latent(5, 4).requires_grad_()
    assert torch.autograd.gradcheck(marginal_prior, (z, codebook))
    assert torch.autograd.gradcheck(lambda z, book: marginal_prior(z, book, 4.0), (z, codebook))


def test_the_released_prior_has_next_to_no_gradient():
    z, codebook = latent(1, 32, 2, 4, 4), latent(64, 32).requires_grad_()
    p = soft_assignment(z.permute(0, 2, 3, 4, 1).reshape(-1, 32), codebook)
    with pytest.warns(UserWarning, match="batchmean"):
        wanted = torch.nn.KLDivLoss()(p.log_softmax(0), torch.full_like(p, 1 / 64).softmax(0))
    assert abs(released_prior(z, codebook) - wanted) < 1e-15
    ours, released = (
        torch.autograd.grad(loss(z, codebook), codebook)[0].norm() for loss in (marginal_prior, released_prior)
    )
    assert 0 < released < ours / 1000


def test_the_codebook_loss_is_on_the_sum_and_weighs_the_codebook():
    z, z_q = latent(1, 3, 2, 2, 2).requires_grad_(), latent(1, 3, 2, 2, 2).requires_grad_()
    loss = codebook_loss(z, z_q)
    error = (z_q - z).detach().float()
    assert float(loss) == pytest.approx(1.25 * float(error.square().mean()), rel=1e-6)
    gradients = torch.autograd.grad(loss, (z, z_q))
    assert torch.allclose(gradients[0].float(), -2 * error / error.numel())
    assert torch.allclose(gradients[1].float(), 0.25 * 2 * error / error.numel())


def test_the_residual_is_the_share_of_a_latent_that_changes():
    z = latent(2, 3, 4, 2, 2)
    steps = [(z[:, :, frame] - z[:, :, frame - 1]).square().mean() for frame in (1, 2, 3)]
    assert float(residual_share(z)) == pytest.approx(float(sum(steps) / 3 / z.var()), rel=1e-5)
    assert float(residual_share(5 * z)) == pytest.approx(float(residual_share(z)), rel=1e-5), "no matter its scale"
    assert float(residual_share(z[:, :, :1].expand(-1, -1, 4, -1, -1))) == 0
    assert 1.8 < float(residual_share(latent(1, 64, 8, 8, 8))) < 2.2


def test_stage_two_is_feature_and_code_loss():
    z, target = torch.randn(2, 4, 2, 3, 3).requires_grad_(), torch.randn(2, 4, 2, 3, 3).requires_grad_()
    logits = tuple(torch.randn(4, 9, 6).requires_grad_() for _ in range(2))
    codes = tuple(torch.randint(6, (4, 9)) for _ in range(2))
    got = lookup_loss(z, logits, target, codes, code_weight=0.5)
    entropy = [
        -sum(scores[i, j].log_softmax(0)[chosen[i, j]] for i in range(4) for j in range(9)) / 36
        for scores, chosen in zip(logits, codes)
    ]
    wanted = 10 * (target - z).square().mean() + 0.5 * sum(entropy)
    assert float(got["loss"]) == pytest.approx(float(wanted), rel=1e-5)
    assert float(got["right_t"]) == pytest.approx(float((logits[1].argmax(-1) == codes[1]).float().mean()))
    got["loss"].backward()
    assert target.grad is None and z.grad.abs().max() > 0 and logits[1].grad.abs().max() > 0


def test_usage_and_perplexity():
    usage = CodeUsage(8)
    assert (usage.usage(), usage.perplexity()) == (0, 0)
    usage.update(torch.tensor([[0, 1], [2, 3]]))
    assert usage.usage() == 0.5 and usage.perplexity() == pytest.approx(4)
    usage.update(torch.tensor([0] * 12))
    assert usage.perplexity() == pytest.approx(math.exp(-13 / 16 * math.log(13 / 16) + 3 / 16 * math.log(16)))


@pytest.fixture
def dino(tmp_path):
    """A DINOv2 with two small random layers, on disk as transformers stores it."""
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14)
    model = Dinov2Model(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(tmp_path / "dino")
    return tmp_path / "dino"


def test_the_adversarial_gradient_reaches_the_generator(dino):
    net = VQAutoEncoder3D(8, (1, 1), 8, 16).double()
    critic = FrozenBackboneDiscriminator(*load_backbone(str(dino)), size=28).double()
    x = torch.rand(1, 3, 4, 16, 16, dtype=torch.float64)
    parameters = list(net.generator.parameters())
    gradients = torch.autograd.grad(critic.generator_loss(net(x).out), parameters)
    directions = [torch.randn_like(parameter) for parameter in parameters]
    slope = sum(float((gradient * direction).sum()) for gradient, direction in zip(gradients, directions))

    @torch.no_grad()
    def at(step: float) -> float:
        for parameter, direction in zip(parameters, directions):
            parameter += step * direction
        loss = float(critic.generator_loss(net(x).out))
        for parameter, direction in zip(parameters, directions):
            parameter -= step * direction
        return loss

    measured = (at(1e-5) - at(-1e-5)) / 2e-5
    assert abs(slope) > 1e-3
    assert slope == pytest.approx(measured, rel=1e-4)


def test_each_side_trains_its_own(dino):
    critic = FrozenBackboneDiscriminator(*load_backbone(str(dino)), size=28)
    real, fake = torch.rand(1, 3, 2, 30, 40), torch.rand(1, 3, 2, 30, 40).requires_grad_()
    loss = critic.discriminator_loss(real, fake)
    scores = [critic(frames_of(clip)) for clip in (real, fake)]
    assert scores[0].shape == (6,)
    assert float(loss) == pytest.approx(float(F.relu(1 - scores[0]).mean() + F.relu(1 + scores[1]).mean()), rel=1e-5)
    loss.backward()
    assert fake.grad is None and all(head.weight.grad.abs().max() > 0 for head in critic.heads)
    critic.zero_grad(set_to_none=True)
    loss = critic.generator_loss(fake)
    assert float(loss) == pytest.approx(-float(scores[1].mean()), rel=1e-5)
    loss.backward()
    assert fake.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in [*critic.parameters(), *critic.backbone.parameters()])


def test_the_heads_alone_are_saved_and_the_backbone_follows(dino):
    critic = FrozenBackboneDiscriminator(*load_backbone(str(dino)))
    assert set(critic.state_dict()) == {f"heads.{i}.{kind}" for i in range(3) for kind in ("weight", "bias")}
    critic.double()
    assert all(parameter.dtype == torch.float64 for parameter in critic.backbone.parameters())
    assert critic.train().backbone.training is False


def test_the_class_token_is_dinos():
    from transformers import Dinov2Config, Dinov2Model

    model = Dinov2Model(
        Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
    ).eval()
    picture = torch.rand(1, 3, 28, 28)
    assert torch.equal(pooled(model(picture)), model(picture).pooler_output)


def test_any_backbone_will_do():
    maps = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, 2), torch.nn.Tanh())
    critic = FrozenBackboneDiscriminator(maps, 5, size=None, normalize=False)
    pictures = torch.rand(2, 3, 9, 9)
    assert torch.allclose(critic.describe(pictures), maps(pictures).mean((2, 3)))
    assert pooled([torch.zeros(2, 4, 3, 3), torch.ones(2, 6, 1, 1)]).shape == (2, 6)
    with pytest.raises(InvalidOption, match="neither"):
        pooled(torch.zeros(3))


def test_absent_backbones_are_one_sentence(monkeypatch, tmp_path):
    with pytest.raises(MissingWeights, match="vgg16"):
        load_backbone(str(tmp_path / "nothing"))
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(MissingDependency, match="pip install timm"):
        load_backbone("timm/vit_small_patch14_dinov2")
