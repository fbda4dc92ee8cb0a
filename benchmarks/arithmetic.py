"""Multiplications and additions of the full model, counted by torch on tensors without contents."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from vividface_core.wan.vae import latent_frames, spatial_ratio

PEAK = {"H200": 790e12, "H100": 790e12, "A100": 312e12}
"""Operations a second that a device's tensor cores do in bf16 at best, by a part of its name."""


def operations(
    vae: torch.nn.Module, transformer: torch.nn.Module, frames: int, height: int, width: int
) -> dict[str, int]:
    """Of encoding, denoising and decoding one clip in diffusers' own modules; a multiply-add counts as two.

    Args:
        vae, transformer: on the meta device.
        frames: 4k + 1. height, width: multiples of 16.
    """
    cells = spatial_ratio(vae.config)
    clip = torch.empty(1, 3, frames, height, width, device="meta")
    latent = torch.empty(
        1, vae.config.z_dim, latent_frames(vae.config, frames), height // cells, width // cells, device="meta"
    )
    text = torch.empty(1, 512, transformer.config.text_dim, device="meta")
    moment = torch.empty(1, device="meta")
    return {
        "encode": _count(lambda: vae.encode(clip)),
        "denoise": _count(lambda: transformer(latent, timestep=moment, encoder_hidden_states=text)),
        "decode": _count(lambda: vae.decode(latent)),
    }


def ideal_seconds(count: int, device_name: str) -> float | None:
    """Time at the device's peak; ``None`` where that isn't known."""
    return next((count / rate for name, rate in PEAK.items() if name in device_name), None)


def _count(work: Callable[[], object]) -> int:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()
