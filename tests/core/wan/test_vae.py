"""Streaming through the autoencoder equals diffusers' own one-shot pass."""

from __future__ import annotations

import pytest
import torch

from tests.tiny import tiny_modules
from vividface_core.wan.vae import (
    StreamingDecoder,
    StreamingEncoder,
    latent_frames,
    spatial_ratio,
    temporal_ratio,
)


def wan21(base_dim: int = 8):
    from diffusers import AutoencoderKLWan

    torch.manual_seed(1)
    return AutoencoderKLWan(base_dim=base_dim, num_res_blocks=1).eval()


def double_time():
    from diffusers import AutoencoderKLWan

    torch.manual_seed(2)
    return AutoencoderKLWan(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[True],
        is_residual=True,
        in_channels=48,
        out_channels=48,
        patch_size=4,
        latents_mean=[0.3] * 4,
        latents_std=[1.7] * 4,
        scale_factor_temporal=2,
    ).eval()


VAES = {"wan 2.1": wan21, "wan 2.2 style": lambda: tiny_modules()[0], "nano": double_time}


@pytest.fixture(scope="module", params=VAES)
def vae(request):
    return VAES[request.param]()


def reference(vae, clip):
    """Normalised mode and its decoding, through diffusers' public methods alone."""
    mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
    latent = (vae.encode(clip).latent_dist.mode() - mean) / std
    return latent, vae.decode(latent * std + mean).sample


@pytest.mark.parametrize("frames", [1, 5, 17])
@torch.inference_mode()
def test_streams_equal_one_shot(vae, frames):
    ratio = temporal_ratio(vae.config)
    clip = torch.rand(1, 3, frames, 32, 48) * 2 - 1
    if ratio == 2:
        # diffusers' own encode loop takes four frames at a time, whatever the ratio is; so can a stream.
        assert (frames - 1) % 4 == 0
    latent, decoded = reference(vae, clip)
    for pieces in ([frames], [1] + [4] * ((frames - 1) // 4), [min(frames, 5), *([frames - 5] if frames > 5 else [])]):
        encoder, decoder, at, latents, frames_out = StreamingEncoder(vae), StreamingDecoder(vae), 0, [], []
        for piece in pieces:
            latents.append(encoder.push(clip[:, :, at : at + piece]))
            frames_out.append(decoder.push(latents[-1]))
            at += piece
        assert (torch.cat(latents, 2) - latent).abs().max() < 1e-4
        # diffusers clamps what it decodes, a stream leaves that to its user.
        assert (torch.cat(frames_out, 2).clamp(-1, 1) - decoded).abs().max() < 1e-4
    assert latent.shape[2] == latent_frames(vae.config, frames)
    assert latent.shape[-1] * spatial_ratio(vae.config) == 48


@torch.inference_mode()
def test_two_streams_do_not_meet(vae):
    first, second = torch.rand(2, 1, 3, 9, 32, 32).mul(2).sub(1)
    alone = [StreamingEncoder(vae).push(clip) for clip in (first, second)]
    streams, parts = [StreamingEncoder(vae), StreamingEncoder(vae)], [[], []]
    for piece in (slice(0, 1), slice(1, 5), slice(5, 9)):
        for number, clip in enumerate((first, second)):
            parts[number].append(streams[number].push(clip[:, :, piece]))
    for got, want in zip(parts, alone):
        assert (torch.cat(got, 2) - want).abs().max() < 1e-4


def test_pieces_of_a_wrong_length_are_refused():
    encoder = StreamingEncoder(wan21())
    with pytest.raises(ValueError, match="multiple of 4"):
        encoder.push(torch.zeros(1, 3, 4, 32, 32))


def test_latents_are_normalised_by_the_published_statistics():
    vae = wan21()
    assert abs(vae.config.latents_mean[0] + 0.7571) < 1e-6 and abs(vae.config.latents_std[15] - 1.9160) < 1e-6
    clip = torch.zeros(1, 3, 1, 32, 32)
    with torch.inference_mode():
        raw = vae.encode(clip).latent_dist.mode()
        got = StreamingEncoder(vae).push(clip)
    assert (got[:, 0] * vae.config.latents_std[0] + vae.config.latents_mean[0] - raw[:, 0]).abs().max() < 1e-5
