"""Latent masks to look at."""

from __future__ import annotations

import torch
from torch import Tensor


def enlarged(mask: Tensor, clip: Tensor) -> Tensor:
    """A latent mask ``[B, 1, T', h, w]`` on the pixels of ``clip`` ``[B, 3, T, H, W]``: each cell's whole block."""
    frames, height, width = clip.shape[2:]
    cell = height // mask.shape[3]
    if frames > 1:
        ratio = (frames - 1) // (mask.shape[2] - 1)
        mask = torch.cat([mask[:, :, :1], mask[:, :, 1:].repeat_interleave(ratio, 2)], 2)
    return mask.repeat_interleave(cell, 3).repeat_interleave(cell, 4)
