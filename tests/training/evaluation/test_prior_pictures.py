"""The picture of what the codebooks say of a clip."""

from __future__ import annotations

import numpy as np
import torch

from training.evaluation.prior_pictures import MOMENTS, colors, looked_up, nearest, sheet
from vividface_core.bfvr_stc import CodeFormer3D

SHAPE = {"nf": 4, "ch_mult": (1, 1, 1, 2), "emb_dim": 8, "codebook_size": 16, "res_blocks": 1}


def network() -> CodeFormer3D:
    torch.manual_seed(0)
    return CodeFormer3D(**SHAPE, n_head=2, n_layers=1, img_size=32).eval()


def test_codes_are_those_of_the_network():
    net, clip = network(), torch.rand(8, 3, 32, 48)
    found, wanted = looked_up(net, clip), net(clip.transpose(0, 1)[None])
    assert found.spatial.shape == (4, 4, 6) and torch.equal(found.spatial.flatten(1), wanted.indices_s)
    assert torch.equal(found.temporal.flatten(1), wanted.indices_t)
    torch.testing.assert_close(found.decoded, wanted.out[0].transpose(0, 1).clamp(0, 1))
    z = net.encode(clip.transpose(0, 1)[None])
    book, places = net.quantize.embedding_s.weight, z[0].permute(1, 2, 3, 0)
    by_hand = (places[..., None, :] - book).square().sum(-1).argmin(-1)
    assert torch.equal(nearest(net, net, clip).spatial, by_hand)


def test_near_codes_have_near_colors():
    line = torch.linspace(0, 1, 10)[:, None] * torch.tensor([[1.0, 2.0, 0.0, -1.0]])
    main = colors(line)[:, 0]
    steps = main.diff()
    assert torch.allclose(steps.abs(), torch.full_like(steps, 1 / 9)) and (steps.sign() == steps[0].sign()).all()


def test_the_sheet_shows_maps_between_input_and_truth():
    net, low, truth = network(), torch.rand(8, 3, 32, 32), torch.rand(8, 3, 32, 32)
    picture = np.asarray(sheet(net, low, truth, net))
    assert picture.shape == (6 * 32, MOMENTS * 32, 3)
    assert np.array_equal(picture[:32, :32], (low[0] * 255).round().byte().permute(1, 2, 0).numpy())
    assert np.array_equal(picture[-32:, -32:], (truth[6] * 255).round().byte().permute(1, 2, 0).numpy())
    cells = picture[32:64, :32].reshape(4, 8, 4, 8, 3)
    assert (cells == cells[:, :1, :, :1]).all(), "a code is one colour over its cell"
    codes = looked_up(net, low).spatial[0]
    same = codes.flatten()[:, None] == codes.flatten()
    shown = cells[:, 0, :, 0].reshape(16, 3)
    assert ((shown[:, None] == shown).all(-1) == same.numpy()).all(), "as many colours as codes"
    assert np.asarray(sheet(net, low, truth, None)).shape[0] == 5 * 32
