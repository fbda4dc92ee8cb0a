"""A tiny member of the Wan family for tests that need a restorer but not its quality."""

from __future__ import annotations

import os
from pathlib import Path

import torch

LATENTS = 8


def tiny_modules(seed: int = 0):
    """A random autoencoder (8× in space, 4× in time) and denoiser of a few hundred thousand parameters."""
    from diffusers import AutoencoderKLWan, WanTransformer3DModel

    torch.manual_seed(seed)
    vae = AutoencoderKLWan(
        base_dim=8,
        z_dim=LATENTS,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        latents_mean=[0.1] * LATENTS,
        latents_std=[0.9] * LATENTS,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_temporal=4,
        scale_factor_spatial=8,
    ).eval()
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=LATENTS,
        out_channels=LATENTS,
        text_dim=16,
        freq_dim=32,
        ffn_dim=64,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        eps=1e-6,
        rope_max_seq_len=1024,
    ).eval()
    return vae, transformer


def save_tiny_checkpoint(folder: Path, *, poison: bool = False) -> Path:
    """Write the tiny modules as a checkpoint folder; ``poison`` puts a NaN into the decoder's last bias."""
    from vividface_core.restorers.one_step_save import save_checkpoint_folder

    vae, transformer = tiny_modules()
    if poison:
        vae.decoder.conv_out.bias.data[0] = float("nan")
    meta = {"system": "vividface", "native_size": 64, "native_frames": 17, "t_star": 400, "velocity_scale": 1.0}
    save_checkpoint_folder(folder, vae, transformer, torch.randn(1, 16), meta, dtype=torch.float32)
    return folder


def wan_layout(heads: int = 2, inner: int = 320, **options):
    """A restorer with random weights in Wan 2.1's own layout, narrow.

    Args:
        heads, inner: attention heads of the denoiser, and width of its feed-forward net.
    """
    from diffusers import AutoencoderKLWan, WanTransformer3DModel

    from vividface_core.restorers.one_step import OneStepRestorer
    from vividface_core.restorers.one_step_options import OneStepExecution
    from vividface_core.wan.empty_prompt import EmptyPrompt

    torch.manual_seed(3)
    vae = AutoencoderKLWan(base_dim=8)
    transformer = WanTransformer3DModel(
        num_attention_heads=heads,
        attention_head_dim=128,
        in_channels=16,
        out_channels=16,
        text_dim=4096,
        freq_dim=256,
        ffn_dim=inner,
        num_layers=2,
    )
    for module in (vae, transformer):
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.data += 0.1 * torch.randn_like(parameter)
    prompt = EmptyPrompt(0.1 * torch.randn(1, 4096))
    meta = {"native_size": 64, "native_frames": 5}
    meta |= {name: options.pop(name) for name in [*meta] if name in options}
    execution = OneStepExecution(**{"dtype": torch.float32, **options})
    return OneStepRestorer(vae, transformer, prompt, execution=execution, **meta)


def dies(device) -> None:
    """Stands where a restorer is loaded; here, as other processes can't import a module of tests by its name."""
    os._exit(3)
