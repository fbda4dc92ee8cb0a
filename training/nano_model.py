"""The two modules of vividface-nano and their training-time forward passes.

Both are ordinary diffusers classes with small configs, so the restorer runs them exactly as it runs Wan 2.1:
an ``AutoencoderKLWan`` (8× in space, 2× in time, patchified input and residual shortcuts as in Wan 2.2's) and a
``WanTransformer3DModel``.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from diffusers.models.autoencoders.autoencoder_kl_wan import WanResidualBlock, patchify, unpatchify
from torch import Tensor

TIMESTEP = 400.0
LATENT_CHANNELS = 32
TEXT_WIDTH = 64
PROMPT_LENGTH = 512


def make_autoencoder() -> AutoencoderKLWan:
    """A 2.7 M autoencoder; mean 0 and std 1 are placeholders until :func:`training.train_nano` measures them."""
    vae = AutoencoderKLWan(
        base_dim=64,
        decoder_base_dim=64,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[True],
        latents_mean=[0.0] * LATENT_CHANNELS,
        latents_std=[1.0] * LATENT_CHANNELS,
        is_residual=True,
        in_channels=48,
        out_channels=48,
        patch_size=4,
        scale_factor_temporal=2,
        scale_factor_spatial=8,
    )
    for module in vae.modules():
        if isinstance(module, WanResidualBlock):
            # Blocks that start as the identity make the net linear at first: it finds the principal structure fast.
            torch.nn.init.zeros_(module.conv2.weight)
            torch.nn.init.zeros_(module.conv2.bias)
    return vae


def make_transformer() -> WanTransformer3DModel:
    """A 4.9 M denoiser whose last layer starts at zero, so that training starts from the identity."""
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=3,
        attention_head_dim=64,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        text_dim=TEXT_WIDTH,
        freq_dim=64,
        ffn_dim=768,
        num_layers=8,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        eps=1e-6,
        rope_max_seq_len=1024,
    )
    torch.nn.init.zeros_(transformer.proj_out.weight)
    torch.nn.init.zeros_(transformer.proj_out.bias)
    return transformer


def encode(vae: AutoencoderKLWan, clip: Tensor) -> Tensor:
    """Raw posterior mean ``[B, C, T', H/8, W/8]`` and log-variance of ``clip`` ``[B, 3, 4k+1, H, W]``, −1…1.

    The first frame passes alone, all others in one causal chunk: the same result as the module's own loop of four
    frames at a time, in fewer calls.
    """
    clip = patchify(clip, vae.config.patch_size)
    cache: list = [None] * vae._cached_conv_counts["encoder"]
    parts = []
    for chunk in (clip[:, :, :1], clip[:, :, 1:]):
        if chunk.shape[2]:
            parts.append(vae.encoder(chunk, feat_cache=cache, feat_idx=[0]))
    return vae.quant_conv(torch.cat(parts, 2))


def decode(vae: AutoencoderKLWan, latent: Tensor) -> Tensor:
    """Clip ``[B, 3, 4k+1, H, W]`` around −1…1 of raw ``latent``; not clamped, because a clamp has no gradient."""
    latent = vae.post_quant_conv(latent)
    cache: list = [None] * vae._cached_conv_counts["decoder"]
    parts = [vae.decoder(latent[:, :, :1], feat_cache=cache, feat_idx=[0], first_chunk=True)]
    if latent.shape[2] > 1:
        parts.append(vae.decoder(latent[:, :, 1:], feat_cache=cache, feat_idx=[0]))
    return unpatchify(torch.cat(parts, 2), vae.config.patch_size)


def velocity(transformer: WanTransformer3DModel, latent: Tensor, prompt: Tensor) -> Tensor:
    """One denoiser pass at t* = 400 on normalised ``latent``; ``prompt`` is ``[512, text width]``."""
    batch = latent.shape[0]
    return transformer(
        latent,
        timestep=torch.full((batch,), TIMESTEP, device=latent.device),
        encoder_hidden_states=prompt.expand(batch, *prompt.shape),
        return_dict=False,
    )[0]
