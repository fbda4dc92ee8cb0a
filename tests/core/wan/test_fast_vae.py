"""The fast streams against diffusers' own one-shot pass, and the pieces of their arithmetic against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tests.full_size import true_vae
from tests.tiny import tiny_modules
from vividface_core.restorers.one_step import OneStepRestorer
from vividface_core.restorers.one_step_options import OneStepExecution
from vividface_core.runtime.cpu_types import cpu_flags, is_emulated
from vividface_core.wan.empty_prompt import EmptyPrompt
from vividface_core.wan.fast_vae import layers, stages, winograd
from vividface_core.wan.fast_vae.streams import FastDecoder, FastEncoder, decoded, decoder_stream, encoder_stream
from vividface_core.wan.fast_vae.tiles import Region, tiles
from vividface_core.wan.vae import StreamingDecoder, StreamingEncoder
from vividface_core.weights import load_restorer


def wan21(base_dim: int = 16):
    from diffusers import AutoencoderKLWan

    torch.manual_seed(1)
    return AutoencoderKLWan(base_dim=base_dim, num_res_blocks=1).eval()


def wide_to_narrow():
    """Wan 2.2's blocks with shortcuts that join and part channels."""
    from diffusers import AutoencoderKLWan

    torch.manual_seed(4)
    return AutoencoderKLWan(
        base_dim=8,
        decoder_base_dim=16,
        z_dim=4,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=1,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        latents_mean=[0.3] * 4,
        latents_std=[1.7] * 4,
    ).eval()


VAES = {
    "wan 2.1": wan21,
    "tiny": lambda: tiny_modules()[0],
    "wan 2.2": wide_to_narrow,
    "nano": lambda: load_restorer("vividface-nano", plain=True).vae,
}


def statistics(vae):
    return (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))


def reference(vae, clip):
    """Normalised mode and its decoding, through diffusers' public methods alone."""
    mean, std = statistics(vae)
    latent = (vae.encode(clip.to(vae.dtype)).latent_dist.mode().float() - mean) / std
    return latent, vae.decode((latent * std + mean).to(vae.dtype)).sample.float()


def through(stream, x, pieces):
    return torch.cat([stream.push(part) for part in x.split(pieces, 2)], 2)


def off(got, want):
    """Largest difference as a share of the reference's range."""
    return ((got - want).abs().max() / (want.max() - want.min())).item()


def psnr(got, want):
    return -10 * math.log10(F.mse_loss(got, want).item() / (want.max() - want.min()).item() ** 2)


@pytest.fixture(scope="module", params=VAES)
def case(request):
    vae = VAES[request.param]()
    clip = torch.rand(1, 3, 17, 64, 96, generator=torch.Generator().manual_seed(5)) * 2 - 1
    with torch.inference_mode():
        return vae, clip, *reference(vae, clip)


@pytest.mark.parametrize(
    "pieces, latent_pieces",
    [
        ([17], None),
        ([1, 4, 4, 4, 4], [1] * 5),
        ([5, 12], [2, 3]),
        ([9, 8], [4, 1]),
    ],
)
@torch.inference_mode()
def test_any_pieces_equal_one_shot(case, pieces, latent_pieces):
    vae, clip, latent, frames = case
    assert off(through(FastEncoder(vae), clip, pieces), latent) < 1e-5
    if latent_pieces is None or sum(latent_pieces) != latent.shape[2]:
        latent_pieces = [latent.shape[2]] if latent_pieces is None else [1, 3, latent.shape[2] - 4]
    assert off(through(FastDecoder(vae), latent, latent_pieces).clamp(-1, 1), frames) < 1e-5


@pytest.mark.parametrize("side", [24, 40])
@torch.inference_mode()
def test_tiles_do_not_show(case, side):
    """Tiles of odd sizes, with neighbours on all sides; streams of one and of several frames."""
    vae, clip, latent, frames = case
    assert off(through(FastEncoder(vae, tile=side), clip, [1, 8, 8]), latent) < 1e-5
    got = through(FastDecoder(vae, tile=side), latent, [1, 2, latent.shape[2] - 3]).clamp(-1, 1)
    assert off(got, frames) < 1e-5


@torch.inference_mode()
def test_one_tile_after_the_other_through_all_frames(case):
    vae, clip, latent, frames = case
    shares = []

    def read(start, stop, region):
        return clip[:, :, start:stop, region.top : region.bottom, region.left : region.right]

    got = FastEncoder(vae, tile=40).by_tiles(read, clip.shape[2:], 8, shares.append)
    assert off(got, latent) < 1e-5 and shares == sorted(shares) and shares[-1] == 1
    picture, pieces = torch.full_like(frames, torch.nan), list(FastDecoder(vae, tile=40).by_tiles(latent, 2))
    for start, (top, bottom, left, right), part in pieces:
        picture[:, :, start : start + part.shape[2], top:bottom, left:right] = part.clamp(-1, 1)
    assert len({piece.region for piece in pieces}) > 1 and off(picture, frames) < 1e-5


@pytest.mark.parametrize("frames, height, width", [(9, 64, 80), (6, 70, 50), (1, 33, 90)])
def test_a_restorer_in_tiles_makes_the_same_pictures(frames, height, width):
    def restored(tile=None, **how):
        vae, transformer = tiny_modules(seed=3)
        prompt, execution = EmptyPrompt(torch.ones(1, 16)), OneStepExecution(**how)
        restorer = OneStepRestorer(vae, transformer, prompt, native_size=64, execution=execution)
        restorer.tile = tile
        return restorer.restore(clip, mask=mask, strength=0.75)

    torch.manual_seed(0)
    clip, mask = torch.rand(frames, 3, height, width), torch.rand(frames, 1, height, width)
    want = restored(plain=True)
    assert off(restored(), want) < 1e-4 and off(restored(tile=32), want) < 1e-4


def test_a_restorer_needs_less_step_by_step():
    vae, transformer = tiny_modules()
    restorer = OneStepRestorer(vae, transformer, EmptyPrompt(torch.ones(1, 16)), native_size=64)
    needs = [restorer.memory_for(33, 720, 1280)]
    while way := restorer.reduce_memory():
        assert "tiles" in way
        needs.append(restorer.memory_for(33, 720, 1280))
    assert len(needs) == 3 and needs == sorted(needs, reverse=True) and needs[-1] < 0.8 * needs[0]


@torch.inference_mode()
def test_tiles_see_no_more_than_they_must():
    vae = wan21()
    steps = stages.decoder_stages(vae.decoder)[1]
    # 100×100 cells of the latent, 800×800 pixels; the tile in their middle sees about 12 cells around its own.
    region = stages.required_regions(steps, Region(400, 480, 400, 480), 100, 100)[0]
    assert 50 - region.top <= 12 and region.bottom - 60 <= 12 and region.top > 0
    whole = stages.required_regions(steps, Region(0, 800, 0, 800), 100, 100)[0]
    assert whole == Region(0, 100, 0, 100)
    # 200×200 cells of a quarter of the picture's size, and 16 pixels around them.
    region = stages.required_regions(stages.encoder_stages(vae.encoder)[0], Region(80, 100, 80, 100), 800, 800)[0]
    assert 320 - region.top <= 16 and region.bottom - 400 <= 16


def test_tiles_cover_a_map_once():
    seen = torch.zeros(50, 71)
    for tile in tiles(50, 71, 16):
        assert tile.height <= 16 and tile.width <= 16
        seen[tile.top : tile.bottom, tile.left : tile.right] += 1
    assert (seen == 1).all()


@torch.inference_mode()
def test_large_maps_a_few_frames_at_a_time(case, monkeypatch):
    vae, clip, latent, frames = case
    monkeypatch.setattr(stages, "LARGE", 1000)
    assert off(through(FastEncoder(vae), clip, [17]), latent) < 1e-5
    assert off(through(FastDecoder(vae), latent, [latent.shape[2]]).clamp(-1, 1), frames) < 1e-5


@torch.inference_mode()
def test_the_released_configuration_in_fp32():
    vae = true_vae(torch.float32)
    assert sum(p.numel() for p in vae.parameters()) == 126_892_531
    clip = torch.rand(1, 3, 9, 32, 48) * 2 - 1
    latent, frames = reference(vae, clip)
    assert latent.std() > 0.1 and 0.1 < frames.std() < 0.9
    assert off(through(FastEncoder(vae), clip, [9]), latent) < 1e-5
    assert off(through(FastDecoder(vae), latent, [1, 2]).clamp(-1, 1), frames) < 1e-5


@pytest.mark.skipif(
    is_emulated(torch.bfloat16, cpu_flags()), reason="This CPU emulates bf16: one frame's convolutions take minutes"
)
@torch.inference_mode()
def test_the_released_configuration_in_bf16():
    vae = true_vae(torch.bfloat16)
    clip = torch.rand(1, 3, 5, 32, 48) * 2 - 1
    latent, frames = reference(vae, clip)
    assert psnr(FastEncoder(vae).push(clip), latent) > 45
    assert psnr(FastDecoder(vae).push(latent).clamp(-1, 1), frames) > 45


@torch.inference_mode()
def test_two_clips_at_once(case):
    vae, clip, latent, _ = case
    pair = torch.cat([clip[:, :, :5], clip[:, :, 5:10]])
    together = through(FastEncoder(vae), pair, [1, 4])
    assert off(together[:1], latent[:, :, : together.shape[2]]) < 1e-5
    assert off(together[1:], reference(vae, pair[1:])[0]) < 1e-5


@torch.inference_mode()
def test_a_stream_is_taken_up_where_another_stopped(case):
    vae, _, latent, frames = case
    first = FastDecoder(vae)
    start = first.push(latent[:, :, :2])
    for _ in range(2):  # the first one's memory isn't used up
        second = FastDecoder(vae)
        second.resume(first.memory)
        assert off(second.push(latent[:, :, 2:]).clamp(-1, 1), frames[:, :, start.shape[2] :]) < 1e-5


@torch.inference_mode()
def test_frames_leave_while_later_ones_wait(case):
    vae, _, latent, frames = case
    parts = decoded(FastDecoder(vae), latent, chunk=2)
    first = next(parts)
    assert first.frames.shape[2] == 1 and off(first.frames.clamp(-1, 1), frames[:, :, :1]) < 1e-4
    assert first.region == Region(0, 64, 0, 96) and 1 + sum(part.frames.shape[2] for part in parts) == frames.shape[2]


@torch.inference_mode()
def test_weights_are_followed():
    """Whoever casts or patches a weight between two pushes is heeded: nothing is kept that was made of it."""
    vae, other = wan21(), wan21()
    clip = torch.rand(1, 3, 5, 32, 32) * 2 - 1
    encoder = FastEncoder(vae)
    encoder.push(clip[:, :, :1])
    for one, two in zip(vae.parameters(), other.parameters()):
        one.data = two.data = two.data * 1.1
    got = encoder.push(clip[:, :, 1:])
    plain = StreamingEncoder(wan21())
    plain.push(clip[:, :, :1])
    resumed = StreamingEncoder(other)
    resumed.resume(plain.memory)
    assert off(got, resumed.push(clip[:, :, 1:])) < 1e-5


def test_who_needs_the_modules_own_forward_gets_the_plain_stream():
    vae = wan21()
    assert isinstance(encoder_stream(vae), StreamingEncoder) and not isinstance(encoder_stream(vae), FastEncoder)
    with torch.no_grad():
        assert isinstance(encoder_stream(vae), FastEncoder) and isinstance(decoder_stream(vae), FastDecoder)
        assert not isinstance(encoder_stream(vae, plain=True), FastEncoder)
        vae.enable_layerwise_casting(storage_dtype=torch.bfloat16, compute_dtype=torch.float32)
        assert type(decoder_stream(vae)) is StreamingDecoder
    vae.requires_grad_(False)


def test_gradients_reach_frames_through_the_chosen_stream():
    vae = wan21()
    clip = torch.rand(1, 3, 1, 32, 32, requires_grad=True)
    encoder_stream(vae).push(clip).sum().backward()
    assert clip.grad.abs().sum() > 0 and vae.encoder.conv_in.weight.grad is not None


@pytest.mark.parametrize("outputs", [2, 4])
def test_winograds_matrices_are_exact(outputs):
    """A solver's rounding would change from process to process, and with it the pictures' last bit."""
    a, g, b = (matrix.double() for matrix in winograd.matrices(outputs))
    assert all((matrix * 1024 == (matrix * 1024).round()).all() for matrix in (a, b))
    sums = torch.einsum("ik,kj,kl->ijl", a, g, b)
    wanted = torch.stack([torch.eye(outputs + 2, dtype=torch.float64)[i : i + 3] for i in range(outputs)])
    torch.testing.assert_close(sums, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("outputs", [2, 4])
def test_winograd_is_the_convolution(outputs):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(outputs + 2, 20, 13, 24), torch.randn(40, 24, 3, 3, 3) / 25, torch.randn(40)
    want = F.conv3d(x.double().permute(3, 0, 1, 2)[None], weight.double(), bias.double(), padding=(0, 1, 1))
    want = want[0].permute(1, 2, 3, 0)
    out = torch.ones(outputs, 20, 13, 40)
    padded, kernels = F.pad(x, (0, 0, 0, 0, 1, 1)), winograd.transform_kernel(weight, outputs)
    winograd.convolve(padded, kernels, bias, out, add=True)
    assert (out - 1 - want).abs().max() < 2e-5
    winograd.convolve(padded, kernels, bias, out, add=False)
    assert (out - want).abs().max() < 2e-5


def test_four_small_kernels_are_the_upsampled_convolution():
    torch.manual_seed(0)
    layer, x = torch.nn.Conv2d(12, 7, 3, padding=1), torch.randn(3, 9, 11, 12)
    with torch.inference_mode():
        want = layer(F.interpolate(x.permute(0, 3, 1, 2), scale_factor=2, mode="nearest-exact")).permute(0, 2, 3, 1)
        assert (layers.upsample(x, layer) - want).abs().max() < 1e-5


@torch.inference_mode()
def test_a_black_pixel_stays_finite():
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanRMS_norm

    layer = WanRMS_norm(16, images=False)
    x = torch.zeros(1, 2, 2, 16)
    x[0, 0, 0, 0] = 1e-6
    want = F.silu(layer(x.permute(3, 0, 1, 2)[None]))[0].permute(1, 2, 3, 0)
    out = torch.empty_like(x)
    layers.norm_silu(x, layer, out)
    assert torch.isfinite(out).all() and (out - want).abs().max() < 1e-5
