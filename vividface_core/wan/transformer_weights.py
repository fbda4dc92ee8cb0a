"""The weights of Wan's denoiser, in the places that diffusers' ``WanTransformer3DModel`` gives them.

For inference: :mod:`vividface_core.wan.folded_transformer` computes from them; the modules have no forward of their own
but what the folding asks of them, the time's features and the rotations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vividface_core.wan.holders import Model

THETA = 10000.0
"""Longest period, in radians, of the rotations and of the time's features."""


class Rotations(nn.Module):
    """Rotary positions: a third of a head's channels each for time, rows and columns, the rest to time."""

    freqs_cos: Tensor
    freqs_sin: Tensor

    def __init__(self, head_width: int, patch_size: Sequence[int], longest: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        side = 2 * (head_width // 6)
        self._widths = [head_width - 2 * side, side, side]
        angles = torch.cat([_angles(width, longest) for width in self._widths], 1)
        self.register_buffer("freqs_cos", angles.cos().float(), persistent=False)
        self.register_buffer("freqs_sin", angles.sin().float(), persistent=False)

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines ``[1, T, 1, head width]`` of the tokens of ``[B, C, T', h, w]``, each number twice."""
        counts = [size // step for size, step in zip(latent.shape[2:], self.patch_size)]
        return self._spread(self.freqs_cos, counts), self._spread(self.freqs_sin, counts)

    def _spread(self, table: Tensor, counts: list[int]) -> Tensor:
        parts = []
        for axis, (part, count) in enumerate(zip(table.split(self._widths, 1), counts)):
            shape = [1, 1, 1, part.shape[1]]
            shape[axis] = count
            parts.append(part[:count].view(shape).expand(*counts, -1))
        return torch.cat(parts, -1).reshape(1, math.prod(counts), 1, -1)


def _angles(width: int, longest: int) -> Tensor:
    # As wide as the device's numbers go, as diffusers does: equal to the last bit.
    dtype = torch.float32 if torch.backends.mps.is_available() else torch.float64
    # Never without memory: torch imports its compiler to count on such a device, which takes a second.
    speeds = 1.0 / THETA ** (torch.arange(0, width, 2, dtype=dtype, device="cpu") / width)
    return torch.outer(torch.arange(longest, device="cpu"), speeds).repeat_interleave(2, 1)


class TimeFeatures(nn.Module):
    """Cosines and sines of times ``[N]``, with periods from 2π to 2π·10,000: ``[N, width]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, times: Tensor) -> Tensor:
        half = self.width // 2
        steps = torch.arange(half, dtype=torch.float32, device=times.device)
        angles = times[:, None].float() * torch.exp(-math.log(THETA) * steps / half)[None]
        features = torch.cat([angles.cos(), angles.sin()], -1)
        return nn.functional.pad(features, (0, self.width % 2))


class TwoLinear(nn.Module):
    """Two products; what lies between them is the reader's."""

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_width, out_width)
        self.linear_2 = nn.Linear(out_width, out_width)


class FeedForward(nn.Module):
    """Two products under diffusers' names: ``net.0.proj`` and ``net.2``."""

    def __init__(self, in_width: int, inner: int, out_width: int) -> None:
        super().__init__()
        first = nn.Module()
        first.proj = nn.Linear(in_width, inner)
        self.net = nn.ModuleList([first, nn.Identity(), nn.Linear(inner, out_width)])


class ImageEmbedder(nn.Module):
    """Of image-to-video denoisers; here so that such a file is recognised for what it is."""

    def __init__(self, in_width: int, out_width: int, positions: int | None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(in_width)
        self.ff = FeedForward(in_width, in_width, out_width)
        self.norm2 = nn.LayerNorm(out_width)
        self.pos_embed = None if positions is None else nn.Parameter(torch.zeros(1, positions, in_width))


class Conditions(nn.Module):
    """Time, text and, where there is one, image."""

    def __init__(
        self, width: int, time_width: int, text_width: int, image_width: int | None, positions: int | None
    ) -> None:
        super().__init__()
        self.timesteps_proj = TimeFeatures(time_width)
        self.time_embedder = TwoLinear(time_width, width)
        self.time_proj = nn.Linear(width, 6 * width)
        self.text_embedder = TwoLinear(text_width, width)
        self.image_embedder = None if image_width is None else ImageEmbedder(image_width, width, positions)


class Attention(nn.Module):
    """Projections and norms of one attention."""

    def __init__(self, width: int, heads: int, eps: float, image_width: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width), nn.Dropout(0.0)])
        self.norm_q, self.norm_k = (nn.RMSNorm(width, eps=eps) for _ in range(2))
        self.add_k_proj = self.add_v_proj = None
        if image_width is not None:
            self.add_k_proj, self.add_v_proj = (nn.Linear(image_width, width) for _ in range(2))
            self.norm_added_k = nn.RMSNorm(width, eps=eps)


class Block(nn.Module):
    """Self-attention, text and feed-forward net."""

    def __init__(
        self, width: int, inner: int, heads: int, text_norm: bool, eps: float, image_width: int | None
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps, elementwise_affine=False)
        self.attn1 = Attention(width, heads, eps)
        self.attn2 = Attention(width, heads, eps, image_width)
        self.norm2 = nn.LayerNorm(width, eps) if text_norm else nn.Identity()
        self.ffn = FeedForward(width, inner, width)
        self.norm3 = nn.LayerNorm(width, eps, elementwise_affine=False)
        self.scale_shift_table = nn.Parameter(torch.zeros(1, 6, width))


class WanTransformer3DModel(Model):
    """All weights of a denoiser; arguments are those of a ``config.json``."""

    _keep_in_fp32_modules = ("rope", "time_embedder", "scale_shift_table", "norm1", "norm2", "norm3")

    def __init__(
        self,
        patch_size: Sequence[int] = (1, 2, 2),
        num_attention_heads: int = 40,
        attention_head_dim: int = 128,
        in_channels: int = 16,
        out_channels: int | None = 16,
        text_dim: int = 4096,
        freq_dim: int = 256,
        ffn_dim: int = 13824,
        num_layers: int = 40,
        cross_attn_norm: bool = True,
        qk_norm: str | None = "rms_norm_across_heads",
        eps: float = 1e-6,
        image_dim: int | None = None,
        added_kv_proj_dim: int | None = None,
        rope_max_seq_len: int = 1024,
        pos_embed_seq_len: int | None = None,
    ) -> None:
        super().__init__()
        width = num_attention_heads * attention_head_dim
        self.rope = Rotations(attention_head_dim, patch_size, rope_max_seq_len)
        patch_t, patch_h, patch_w = patch_size
        patch = (patch_t, patch_h, patch_w)
        self.patch_embedding = nn.Conv3d(in_channels, width, patch, patch)
        self.condition_embedder = Conditions(width, freq_dim, text_dim, image_dim, pos_embed_seq_len)
        self.blocks = nn.ModuleList(
            Block(width, ffn_dim, num_attention_heads, cross_attn_norm, eps, added_kv_proj_dim)
            for _ in range(num_layers)
        )
        self.norm_out = nn.LayerNorm(width, eps, elementwise_affine=False)
        self.proj_out = nn.Linear(width, (out_channels or in_channels) * math.prod(patch_size))
        self.scale_shift_table = nn.Parameter(torch.zeros(1, 2, width))
