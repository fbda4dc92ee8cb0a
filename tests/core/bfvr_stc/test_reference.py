"""The two networks against values that the published modules computed.

``vectors.safetensors`` holds some of the values of each tensor (:func:`some`); the whole ones are read where they are
at hand.
"""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from tests.core.bfvr_stc.drawn import HERE, clip, draw, narrow_autoencoder, narrow_codeformer, shared_vectors
from training.losses.codebook import codebook_loss, released_prior
from vividface_core.bfvr_stc import CodeFormer3D

TOLERANCE = 1e-4
FLOATS = ("out", "z", "logits_s", "logits_t")


def some(tensor: torch.Tensor) -> torch.Tensor:
    """About 256 values, evenly spread."""
    values = tensor.contiguous().flatten()
    return values[:: max(1, values.numel() // 256) | 1]


@pytest.fixture(scope="module")
def vectors() -> dict[str, torch.Tensor]:
    return load_file(HERE / "vectors.safetensors")


@torch.no_grad()
def test_stage_one(vectors):
    got = narrow_autoencoder()(clip(7, 64))
    for name in ("out", "z", "z_q"):
        assert (some(getattr(got, name)) - vectors[f"narrow1.{name}"]).abs().max() < TOLERANCE, name
    assert abs(codebook_loss(got.z, got.z_q) - vectors["narrow1.codebook_loss"]) < TOLERANCE


@torch.no_grad()
def test_stage_two(vectors):
    got = narrow_codeformer()(clip(7, 64))
    for name in FLOATS:
        assert (some(getattr(got, name)) - vectors[f"narrow2.{name}"]).abs().max() < TOLERANCE, name
    for branch in "st":
        assert torch.equal(some(getattr(got, f"indices_{branch}")), vectors[f"narrow2.indices_{branch}"])


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("key, heads, layers", [("heads2", 2, 9), ("heads4", 4, 6)])
def test_stage_two_at_the_released_width(vectors, key, heads, layers):
    net = draw(CodeFormer3D(n_head=heads, n_layers=layers, residual="released"))
    got = net(clip(4, 512))
    # Two codes of one place tie in the first case: either may be taken, and a patch of the picture differs.
    for name in FLOATS if key == "heads4" else FLOATS[1:]:
        assert (some(getattr(got, name)) - vectors[f"{key}.{name}"]).abs().max() < TOLERANCE, name
    for branch in "st":
        clear = vectors[f"{key}.margins_{branch}"] > TOLERANCE
        assert clear.float().mean() > 0.9
        got_indices, wanted = some(getattr(got, f"indices_{branch}")), vectors[f"{key}.indices_{branch}"]
        assert torch.equal(got_indices[clear], wanted[clear])


def whole(name: str) -> dict[str, torch.Tensor]:
    path = shared_vectors(name)
    if path is None:
        pytest.skip(f"{name} isn't at hand")
    return load_file(path)


@torch.no_grad()
def test_every_tensor_of_stage_one():
    wanted = whole("stage1_narrow.safetensors")
    net = narrow_autoencoder()
    got = net(wanted["x"])
    for name in ("out", "z", "z_q", "z_t"):
        assert (getattr(got, name) - wanted[name]).abs().max() < TOLERANCE, name
    for branch in "st":
        assert torch.equal(getattr(got, f"indices_{branch}"), wanted[f"indices_{branch}"])
    assert abs(codebook_loss(got.z, got.z_q) - wanted["loss_codebook"]) < TOLERANCE
    books = net.quantize.embedding_s.weight, net.quantize.embedding_t.weight
    prior = sum(released_prior(z.double(), book.double()) for z, book in zip((got.z, got.z_t), books))
    # The value is of the size of fp32's rounding.
    assert abs(0.1 * prior - wanted["loss_prior"]) < 1e-9


@torch.no_grad()
def test_every_tensor_of_stage_two():
    """These vectors' temporal scores come from a run in which a hook on ``t_ft_layers.0`` handed on the layer's input
    in place of its output (the published module without it gives those of ``vectors.safetensors``). The same hook is
    set here."""
    wanted = whole("stage2_narrow.safetensors")
    net = narrow_codeformer()
    without = net(wanted["x"])
    net.t_ft_layers[0].register_forward_hook(lambda layer, inputs, output: inputs[0])
    got = net(wanted["x"])
    for name in ("out", "z", "z_t", "logits_s", "logits_t"):
        assert (getattr(got, name) - wanted[name]).abs().max() < TOLERANCE, name
    for branch in "st":
        assert wanted[f"margin_{branch}"] > TOLERANCE
        assert torch.equal(getattr(got, f"indices_{branch}"), wanted[f"indices_{branch}"])
    assert (without.z_t - wanted["z_t"]).abs().max() < TOLERANCE
    assert (without.logits_t - wanted["logits_t"]).abs().max() > 1
