"""Face masks on the latent grid (VividFace, Eq. 4–5)."""

from __future__ import annotations

import torch
from torch import Tensor


def latent_mask(mask: Tensor, spatial_ratio: int = 8, temporal_ratio: int = 4) -> Tensor:
    """Bring a pixel mask to the autoencoder's grid.

    In space the nearest pixel of every cell is taken (Eq. 4). In time the first frame stands alone, as in the causal
    autoencoder, and every later latent frame takes the maximum of the frames that it stands for (Eq. 5): a latent
    frame is face where any of its frames is.

    Args:
        mask: ``[B, 1, 1 + temporal_ratio·k, H, W]``, 1 = face; H and W multiples of ``spatial_ratio``.

    Returns:
        ``[B, 1, 1 + k, H / spatial_ratio, W / spatial_ratio]`` in the mask's type. It broadcasts over the latent's
        channels.

    Raises:
        ValueError: a size that the autoencoder could not take.
    """
    frames, height, width = mask.shape[2:]
    if (frames - 1) % temporal_ratio or height % spatial_ratio or width % spatial_ratio:
        raise ValueError(
            f"A mask of {frames} frames of {height}×{width} doesn't fit the latent grid: it takes 1 + "
            f"{temporal_ratio}·k frames and sides that are multiples of {spatial_ratio}."
        )
    cells = mask[..., ::spatial_ratio, ::spatial_ratio]
    groups = [cells[:, :, :1], *cells[:, :, 1:].split(temporal_ratio, 2)] if frames > 1 else [cells]
    return torch.cat([group.amax(2, keepdim=True) for group in groups], 2)


def enlarged(mask: Tensor, clip: Tensor) -> Tensor:
    """A latent mask ``[B, 1, T', h, w]`` on the pixels of ``clip`` ``[B, 3, T, H, W]``: each cell's whole block."""
    frames, height, width = clip.shape[2:]
    cell = height // mask.shape[3]
    if frames > 1:
        ratio = (frames - 1) // (mask.shape[2] - 1)
        mask = torch.cat([mask[:, :, :1], mask[:, :, 1:].repeat_interleave(ratio, 2)], 2)
    return mask.repeat_interleave(cell, 3).repeat_interleave(cell, 4)
