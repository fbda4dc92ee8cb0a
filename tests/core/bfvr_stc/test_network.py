"""The networks' parts against naive computations, and what they promise about clips of any length and size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.core.bfvr_stc.drawn import clip, draw, narrow_autoencoder, narrow_codeformer, released_shapes
from tests.memory import numbers_of
from vividface_core.bfvr_stc import CodeFormer3D, VQAutoEncoder3D, layers
from vividface_core.bfvr_stc.quantizer import nearest_codes
from vividface_core.bfvr_stc.state_dict import unused_shapes
from vividface_core.errors import InvalidOption


def values(net: nn.Module) -> int:
    return sum(value.numel() for value in net.state_dict().values())


@pytest.mark.parametrize("heads, depth, tensors, total", [(2, 9, 588, 71_069_955), (4, 6, 516, 67_907_331)])
def test_names_and_shapes_are_those_of_the_release(heads, depth, tensors, total):
    with torch.device("meta"):
        net = CodeFormer3D(n_head=heads, n_layers=depth)
    ours = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    wanted = {name: tuple(shape) for name, shape in released_shapes(depth).items()}
    assert {**ours, **unused_shapes(256)} == wanted
    assert not ours.keys() & unused_shapes(256).keys()
    assert len(wanted) == tensors
    assert values(net) + sum(torch.Size(shape).numel() for shape in unused_shapes(256).values()) == total


def test_stage_one_has_the_released_size():
    with torch.device("meta"):
        net = VQAutoEncoder3D()
    assert (len(net.state_dict()), values(net)) == (288, 39_321_091)
    parts = [values(getattr(net, part)) for part in ("encoder", "quantize", "generator")]
    assert parts == [18_144_928, 787_968, 20_388_195]


def materialised(query, key, value):
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    return scores.softmax(-1) @ value


@torch.no_grad()
def test_attention_over_the_clip_is_the_materialised_one():
    block, x = draw(layers.ClipAttention(64)), torch.randn(2, 64, 3, 4, 5)
    normed = nn.functional.group_norm(x, 32, block.norm.weight, block.norm.bias, 1e-6)
    tokens = [
        nn.functional.linear(normed.permute(0, 2, 3, 4, 1).reshape(2, 60, 64), part.weight[:, :, 0, 0, 0], part.bias)
        for part in (block.q, block.k, block.v)
    ]
    attended = nn.functional.linear(materialised(*tokens), block.proj_out.weight[:, :, 0, 0, 0], block.proj_out.bias)
    wanted = x + attended.reshape(2, 3, 4, 5, 64).permute(0, 4, 1, 2, 3)
    assert (block(x) - wanted).abs().max() < 1e-5


@torch.no_grad()
def test_temporal_attention_keeps_to_its_place():
    block, z = draw(layers.TemporalAttention(32)), torch.randn(2, 32, 4, 3, 5)
    normed = nn.functional.group_norm(z, 16, block.norm.weight, block.norm.bias, 1e-6)
    wanted = torch.empty_like(z)
    for row in range(3):
        for column in range(5):
            tokens = normed[:, :, :, row, column].transpose(1, 2)
            query, key, value = (
                nn.functional.linear(tokens, part.weight[:, :, 0, 0, 0], part.bias)
                for part in (block.q, block.k, block.v)
            )
            mixed = materialised(query, key, value)
            wanted[:, :, :, row, column] = nn.functional.linear(
                mixed, block.proj_out.weight[:, :, 0, 0, 0], block.proj_out.bias
            ).transpose(1, 2)
    assert (block(z) - wanted).abs().max() < 1e-5


@torch.no_grad()
def test_chunks_of_queries_and_sequences_change_nothing(monkeypatch):
    query, key, value = torch.randn(3, 5, 2, 50, 16).unbind(0)
    wanted = layers.attend(query, key, value)
    monkeypatch.setattr(layers, "_has_fused_kernel", lambda query: False)
    monkeypatch.setattr(layers, "QUERY_CHUNK", 7)
    monkeypatch.setattr(layers, "BATCH_CHUNK", 2)
    assert (layers.attend(query, key, value) - wanted).abs().max() < 1e-6


def test_attention_makes_no_map_of_tokens_by_tokens():
    # 8,192 tokens: such a map is 268 MB.
    program = """
import torch
from vividface_core.bfvr_stc.layers import ClipAttention
from vividface_core.runtime.memory import peak_memory
torch.set_num_threads(1)
block, x = ClipAttention(32), torch.randn(1, 32, 2, 64, 64)
with torch.no_grad():
    block(x[:, :, :1, :8])
    before = peak_memory()
    block(x)
print(peak_memory() - before)
"""
    (taken,) = numbers_of(program)
    assert taken < 100e6, taken


@torch.no_grad()
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_a_lookup_layer_is_torchs_attention_with_positions_on_queries_and_keys(heads):
    layer, x, position = draw(layers.LookupLayer(32, heads)), torch.randn(2, 9, 32), torch.randn(9, 32)
    peer = nn.MultiheadAttention(32, heads, batch_first=True)
    peer.load_state_dict(layer.self_attn.state_dict())
    normed = layer.norm1(x)
    wanted = x + peer(normed + position, normed + position, normed, need_weights=False)[0]
    hidden = nn.functional.gelu(layer.linear1(layer.norm2(wanted)))
    wanted = wanted + layer.linear2(hidden)
    assert (layer(x, position) - wanted).abs().max() < 1e-5


def test_the_released_residual_is_the_flat_difference():
    z = torch.randn(1, 5, 3, 2, 4)
    flat, runs = z.permute(1, 0, 2, 3, 4).flatten().tolist(), []
    length = len(flat) // 3
    for number in range(3):
        run = flat[number * length : (number + 1) * length]
        before = flat[(number - 1) * length : number * length] if number else run
        runs += [a - b for a, b in zip(run, before)]
    wanted = torch.tensor(runs).view(3, 1, 2, 4, 5)
    got = layers.released_residual(z)
    for frame, row, column, channel in torch.cartesian_prod(*map(torch.arange, (3, 2, 4, 5))).tolist():
        assert got[0, channel, frame, row, column] == wanted[frame, 0, row, column, channel]


def test_the_residual_of_frames():
    z = torch.randn(2, 5, 3, 2, 4)
    got = layers.frame_residual(z)
    assert not got[:, :, 0].any()
    for frame in (1, 2):
        assert torch.equal(got[:, :, frame], z[:, :, frame] - z[:, :, frame - 1])


def test_the_nearest_code_is_exact_far_from_the_origin():
    # In fp32 the common term, 160,000 here, rounds away what tells the codes apart.
    odd = torch.arange(32) % 2
    codebook = 0.01 * torch.randn(64, 32) * (1 - odd)
    rows = torch.randn(200, 32) + 100 * odd
    wanted = (rows.double()[:, None] - codebook.double()).square().sum(2).argmin(1)
    squares = rows.square().sum(1, keepdim=True) - 2 * rows @ codebook.T + codebook.square().sum(1)
    assert not torch.equal(squares.argmin(1), wanted)
    assert torch.equal(nearest_codes(rows, codebook), wanted)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nearest_codes(rows, codebook), wanted)


@torch.no_grad()
def test_a_batch_equals_its_samples():
    net, samples = narrow_autoencoder(), [clip(6, 32, seed) for seed in (1, 2)]
    together, alone = net(torch.cat(samples)), [net(sample) for sample in samples]
    for name in together._fields:
        assert (getattr(together, name) - torch.cat([getattr(one, name) for one in alone])).abs().max() < 1e-4, name


@torch.no_grad()
@pytest.mark.parametrize("residual", ["released", "frames"])
def test_a_batch_of_stage_two_equals_its_samples(residual):
    net, samples = narrow_codeformer(residual), [clip(6, 64, seed) for seed in (1, 2)]
    together, alone = net(torch.cat(samples)), [net(sample) for sample in samples]
    for name in together._fields:
        assert (getattr(together, name) - torch.cat([getattr(one, name) for one in alone])).abs().max() < 1e-4, name


@torch.no_grad()
def test_the_two_residuals_differ_in_the_temporal_branch_alone():
    released, frames = narrow_codeformer("released")(clip(6, 64)), narrow_codeformer("frames")(clip(6, 64))
    assert torch.equal(released.logits_s, frames.logits_s)
    assert (released.logits_t - frames.logits_t).abs().max() > 0.1


@torch.no_grad()
def test_codes_and_decoding_give_what_the_whole_pass_gives():
    net, x = narrow_codeformer(), torch.cat([clip(4, 64, seed) for seed in (1, 2)])
    whole = net(x)
    z = net.encode(x)
    indices = net.codes(z)
    assert torch.equal(indices[0], whole.indices_s) and torch.equal(indices[1], whole.indices_t)
    assert torch.equal(net.decode(*indices, z.shape), whole.out)


@torch.no_grad()
@pytest.mark.parametrize("frames, left", [(2, 2), (3, 2), (7, 6)])
def test_an_odd_last_frame_has_none_of_its_own(frames, left):
    net, x = narrow_autoencoder(), clip(frames, 32)
    out = net(x).out
    assert out.shape == (1, 3, left, 32, 32)
    if frames % 2:
        x[:, :, -1] = 1 - x[:, :, -1]
        assert not torch.equal(net(x).out, out)


@pytest.mark.parametrize("net", [narrow_autoencoder, narrow_codeformer])
def test_clips_that_do_not_fit_are_refused(net):
    net = net()
    for shape, told in (
        ((1, 3, 1, 32, 32), "at least 2 frames"),
        ((1, 3, 4, 32, 36), "36×32"),
        ((1, 3, 4, 30, 32), "multiples of 8"),
        ((3, 4, 32, 32), "3, frames"),
        ((1, 4, 4, 32, 32), "3, frames"),
    ):
        with pytest.raises(InvalidOption, match=told):
            net(torch.zeros(shape))


@torch.no_grad()
def test_other_sizes_interpolate_the_positions():
    net = narrow_codeformer()
    assert net.position_table("s", 8, 8) is net.position_emb_s
    assert net.fits_table(64, 64) and not net.fits_table(64, 72)
    net.position_emb_s.copy_((torch.arange(8.0)[:, None] + torch.arange(8.0)).reshape(64, 1).expand(64, 64))
    wide = net.position_table("s", 8, 16).reshape(8, 16, 64)[..., 0]
    # A plane stays one: rows are as they were, columns half as steep (bicubic bends at the border).
    assert (wide.diff(dim=0) - 1).abs().max() < 1e-5
    assert (wide[:, 4:12].diff(dim=1) - 0.5).abs().max() < 1e-3
    assert net(clip(4, 64)[..., :40, :48]).out.shape == (1, 3, 4, 40, 48)


@torch.no_grad()
def test_half_precision_is_near():
    wide, half = narrow_codeformer("frames"), narrow_codeformer("frames").bfloat16()
    x = clip(4, 64)
    z, other = wide.encode(x), half.encode(x.bfloat16())
    assert other.dtype == torch.bfloat16
    assert (z - other.float()).abs().mean() < 0.05 * z.abs().mean()
    assert torch.isfinite(half(x.bfloat16()).out).all()


@pytest.mark.parametrize("nf, ch_mult, emb_dim", [(16, (1, 2), 24), (8, (1, 2, 3), 40), (32, (1, 1, 2, 2, 2), 32)])
def test_any_width_and_depth(nf, ch_mult, emb_dim):
    net = CodeFormer3D(nf, ch_mult, emb_dim, 16, n_head=2, n_layers=1, img_size=16)
    side = net.size_multiple * 2
    out = net(clip(5, side)).out
    assert out.shape == (1, 3, 4, side, side) and 0 <= out.min() and out.max() <= 1


def test_arguments_that_do_not_go_together_are_refused():
    for options, told in (
        ({"n_head": 3}, "heads"),
        ({"img_size": 500}, "multiple of 8"),
        ({"residual": "right"}, "released"),
        ({"ch_mult": (1,)}, "two levels"),
    ):
        with pytest.raises(InvalidOption, match=told):
            CodeFormer3D(**options)


def test_straight_through_gradient():
    net, x = narrow_autoencoder(), clip(4, 32)
    net(x).out.square().mean().backward()
    assert net.encoder.blocks[0].weight.grad.abs().max() > 0
    assert net.quantize.embedding_s.weight.grad is None
    z = net.encode(x)
    q = net.quantize(z)
    (gradient,) = torch.autograd.grad(q.z_q.square().sum() / 2, net.quantize.embedding_t.weight)
    wanted = torch.zeros(64, 64).index_add_(0, q.indices_t.flatten(), q.z_q.permute(0, 2, 3, 4, 1).reshape(-1, 64))
    assert torch.allclose(gradient, wanted, atol=1e-4)


def test_stage_two_starts_from_stage_one():
    stage_one = narrow_autoencoder()
    net = CodeFormer3D(**{**stage_one.config, "n_head": 2, "n_layers": 1, "img_size": 64})
    net.start_from(stage_one)
    for name, value in stage_one.state_dict().items():
        assert torch.equal(net.state_dict()[name], value)
    frozen = {name.split(".")[0] for name, parameter in net.named_parameters() if not parameter.requires_grad}
    assert frozen == {"quantize", "generator"}
    net.predict(clip(4, 64)).logits_t.square().mean().backward()
    assert net.encoder.blocks[0].weight.grad.abs().max() > 0
    assert net.position_emb_t.grad.abs().max() > 0
    with pytest.raises(InvalidOption, match="other shapes"):
        CodeFormer3D(32, (1, 1), 64, 64, n_head=2, n_layers=1, img_size=64).start_from(stage_one)
