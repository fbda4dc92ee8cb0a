"""Attention, normalization and motion residuals of BFVR-STC."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FUSED_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
QUERY_CHUNK = 2048
"""Queries at a time where no fused kernel is known: 49,152 keys × 2,048 queries are 0.4 GB in fp32, not 9.7 GB."""
BATCH_CHUNK = 32_768
"""Sequences at a time: CUDA kernels count them in 16 bits, and a large frame has more places than that."""


def group_norm(channels: int, groups: int = 32) -> nn.GroupNorm:
    """GroupNorm with ``groups`` groups, or the largest common divisor where the width is no multiple of it."""
    return nn.GroupNorm(math.gcd(groups, channels), channels, eps=1e-6)


def swish(x: Tensor) -> Tensor:
    """x·sigmoid(x), in place where no gradient is wanted: the maps are the largest thing in memory."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def conv3(in_channels: int, out_channels: int) -> nn.Conv3d:
    return nn.Conv3d(in_channels, out_channels, 3, padding=1)


def conv1(in_channels: int, out_channels: int) -> nn.Conv3d:
    return nn.Conv3d(in_channels, out_channels, 1)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(QKᵀ/√d)·V, ``[B, heads, tokens, d]`` each, without a map of tokens × tokens in memory.

    torch's kernels for CPU and CUDA are fused; elsewhere the queries pass in chunks, which gives the same rows.
    """
    # Only sequences whose last axis is contiguous get the fused kernel.
    query, key, value = (x.contiguous() for x in (query, key, value))
    parts = [_attend(*part) for part in zip(*(x.split(BATCH_CHUNK) for x in (query, key, value)))]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    if query.shape[2] <= QUERY_CHUNK or _has_fused_kernel(query):
        return F.scaled_dot_product_attention(query, key, value)
    chunks = query.split(QUERY_CHUNK, dim=2)
    return torch.cat([F.scaled_dot_product_attention(chunk, key, value) for chunk in chunks], 2)


def _has_fused_kernel(query: Tensor) -> bool:
    if query.device.type == "cuda" and not torch.version.hip:
        return query.dtype in FUSED_DTYPES and query.shape[-1] % 8 == 0
    return query.device.type == "cpu"


class ClipAttention(nn.Module):
    """Single-head self-attention, added to its input.

    Args:
        within_frames: over the h·w places of each latent frame alone, instead of all t·h·w of the clip.
    """

    def __init__(self, channels: int, within_frames: bool = False) -> None:
        super().__init__()
        self.within_frames = within_frames
        self.norm = group_norm(channels)
        self.q, self.k, self.v = (conv1(channels, channels) for _ in range(3))
        self.proj_out = conv1(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, t, h, w]`` in and out."""
        normed = self.norm(x)
        tokens = (self._sequences(layer(normed)) for layer in (self.q, self.k, self.v))
        attended = attend(*tokens)[:, 0].transpose(1, 2)
        if self.within_frames:
            attended = attended.unflatten(0, (len(x), -1)).transpose(1, 2)
        return x + self.proj_out(attended.reshape(x.shape))

    def _sequences(self, x: Tensor) -> Tensor:
        """``[B, 1, t·h·w, C]``, or ``[B·t, 1, h·w, C]``."""
        if self.within_frames:
            x = x.transpose(1, 2).flatten(0, 1)
        return x.flatten(2).transpose(1, 2)[:, None]


class TemporalAttention(nn.Module):
    """TA: single-head self-attention along time, at each place alone; nothing is added to it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, 16)
        self.q, self.k, self.v = (conv1(channels, channels) for _ in range(3))
        self.proj_out = conv1(channels, channels)

    def forward(self, z: Tensor) -> Tensor:
        """``[B, C, t, h, w]`` in and out."""
        batch, channels, frames, height, width = z.shape
        normed = self.norm(z)
        tokens = (
            layer(normed).permute(0, 3, 4, 2, 1).reshape(-1, 1, frames, channels) for layer in (self.q, self.k, self.v)
        )
        attended = attend(*tokens).reshape(batch, height, width, frames, channels)
        return self.proj_out(attended.permute(0, 4, 3, 1, 2).contiguous())


class LookupLayer(nn.Module):
    """A pre-norm transformer layer over the places of one latent frame; positions are added to queries and keys only.

    Parameters are named as ``torch.nn.MultiheadAttention``'s under ``self_attn``.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """``[B, places, width]`` in and out; ``position [places, width]``."""
        x = x + self._attend(self.norm1(x), position)
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))

    def _attend(self, x: Tensor, position: Tensor) -> Tensor:
        layer = self.self_attn
        weights = zip(layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3))
        placed = x + position
        heads = (
            F.linear(source, weight, bias).unflatten(-1, (layer.num_heads, -1)).transpose(1, 2)
            for source, (weight, bias) in zip((placed, placed, x), weights)
        )
        return layer.out_proj(attend(*heads).transpose(1, 2).flatten(2))


def frame_residual(z: Tensor) -> Tensor:
    """R: what each latent frame adds to the one before; zeros for the first. ``[B, C, t, h, w]`` in and out."""
    return torch.cat([torch.zeros_like(z[:, :, :1]), z.diff(dim=2)], 2)


def released_residual(z: Tensor) -> Tensor:
    """The residual as the released code forms it: not one of frames, but what its transformers were trained with.

    The values in the order (C, B, t, h, w) are cut into t equal runs, each run loses the one before it (the first
    becomes zeros), and the result is read in the order (t, B, h, w, C). With more than one sample the samples mix, so
    pass them one by one.
    """
    batch, channels, frames, height, width = z.shape
    runs = z.transpose(0, 1).reshape(frames, -1)
    runs = torch.cat([torch.zeros_like(runs[:1]), runs.diff(dim=0)])
    return runs.reshape(frames, batch, height, width, channels).permute(1, 4, 0, 2, 3)
