"""The quantizer: a spatial and a temporal codebook, whose entries are added."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from vividface_core.bfvr_stc.layers import TemporalAttention, conv3, frame_residual
from vividface_core.errors import InvalidOption

Fusion = Literal["addition", "convolution"]
FUSIONS = get_args(Fusion)

ROWS = 8192
"""Vectors whose distances to all codes are in memory at a time."""


class Quantized(NamedTuple):
    """Attributes:
    z_q: S[i] + T[j], or what else joins them, ``[B, C, t, h, w]``; its gradient reaches the codebooks, not the encoder.
    z_t: what the temporal codebook was asked for, TA(z) + R(z), ``[B, C, t, h, w]``.
    indices_s, indices_t: codes, int64 ``[B·t, h·w]``, sample by sample, frame by frame, row by row.
    """

    z_q: Tensor
    z_t: Tensor
    indices_s: Tensor
    indices_t: Tensor


class SpatialTemporalQuantizer(nn.Module):
    """Two codebooks of ``codebook_size`` × ``channels`` values; ``SA`` is the temporal attention TA.

    Args:
        fusion: how the two entries of a place become one vector: ``addition``, the method's, or ``convolution``, a
            3×3×3 convolution of both side by side, which starts as their sum, to compare with.
        convolved: whether the spatial codebook is asked for a convolved latent (convolution, activation, convolution,
            added to it), as in DVFace, instead of the latent itself, as in BFVR-STC.
    """

    def __init__(self, codebook_size: int, channels: int, fusion: Fusion = "addition", convolved: bool = False) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise InvalidOption(f"fusion is {fusion!r}; choose {' or '.join(FUSIONS)}.")
        if fusion == "convolution":
            self.fuse = conv3(2 * channels, channels)
            _start_as_sum(self.fuse)
        self.embedding_s = nn.Embedding(codebook_size, channels)
        self.embedding_t = nn.Embedding(codebook_size, channels)
        self.SA = TemporalAttention(channels)
        for embedding in (self.embedding_s, self.embedding_t):
            nn.init.uniform_(embedding.weight, -1 / codebook_size, 1 / codebook_size)
        if convolved:
            self.local = nn.Sequential(conv3(channels, channels), nn.SiLU(), conv3(channels, channels))

    def spatial_input(self, z: Tensor) -> Tensor:
        """What the spatial codebook is asked for, ``[B, C, t, h, w]``."""
        return z + self.local(z) if hasattr(self, "local") else z

    def forward(self, z: Tensor) -> Quantized:
        """Codes of a latent ``[B, C, t, h, w]``."""
        z_t = self.SA(z) + frame_residual(z)
        indices_s = nearest_codes(rows_of(self.spatial_input(z)), self.embedding_s.weight)
        indices_t = nearest_codes(rows_of(z_t), self.embedding_t.weight)
        batch, _, frames, height, width = z.shape
        places = (batch * frames, height * width)
        indices_s, indices_t = indices_s.view(places), indices_t.view(places)
        return Quantized(self.vectors(indices_s, indices_t, z.shape), z_t, indices_s, indices_t)

    def vectors(self, indices_s: Tensor, indices_t: Tensor, shape: torch.Size) -> Tensor:
        """S[i] + T[j] for codes ``[B·t, h·w]`` as a latent of ``shape`` ``[B, C, t, h, w]``."""
        batch, _, *places = shape
        s, t = self.embedding_s(indices_s), self.embedding_t(indices_t)
        joined = torch.cat([s, t], -1) if hasattr(self, "fuse") else s + t
        latent = joined.view(batch, *places, -1).permute(0, 4, 1, 2, 3).contiguous()
        return self.fuse(latent) if hasattr(self, "fuse") else latent


@torch.no_grad()
def _start_as_sum(conv: nn.Conv3d) -> None:
    conv.weight.zero_()
    conv.weight[:, :, 1, 1, 1] = torch.eye(conv.out_channels).repeat(1, 2)
    assert conv.bias is not None
    conv.bias.zero_()


def rows_of(z: Tensor) -> Tensor:
    """``[B, C, t, h, w]`` as ``[B·t·h·w, C]``."""
    return z.permute(0, 2, 3, 4, 1).reshape(-1, z.shape[1])


@torch.no_grad()
def nearest_codes(rows: Tensor, codebook: Tensor) -> Tensor:
    """The nearest of ``codebook [K, C]`` for each of ``rows [N, C]``, int64 ``[N]``.

    Compares ½‖e‖² − z·e: the share of ‖z‖², which is common to all codes, would only take digits away. Computed in
    double precision where the device has it: codes lie close together.
    """
    precision = torch.float32 if rows.device.type == "mps" else torch.float64
    codes = codebook.to(precision)
    half_squares = codes.square().sum(1) / 2
    with torch.autocast(rows.device.type, enabled=False):
        return torch.cat(
            [torch.addmm(half_squares, part.to(precision), codes.T, alpha=-1).argmin(1) for part in rows.split(ROWS)]
        )
