"""Encoder and generator of the 3D-VQGAN as sequences of blocks, in the order and under the names of the release."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.bfvr_stc.layers import ClipAttention, conv1, conv3, group_norm, swish

OnBlock = Callable[[int], None]
"""Called with 1, 2, … as the blocks finish. May raise to stop."""


class ResBlock(nn.Module):
    """Two normalized 3×3×3 convolutions beside a shortcut, which is 1×1×1 where the width changes."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = group_norm(in_channels), conv3(in_channels, out_channels)
        self.norm2, self.conv2 = group_norm(out_channels), conv3(out_channels, out_channels)
        if in_channels != out_channels:
            self.conv_out = conv1(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(swish(self.norm1(x)))
        hidden = self.conv2(swish(self.norm2(hidden)))
        shortcut = self.conv_out(x) if hasattr(self, "conv_out") else x
        return hidden + shortcut if torch.is_grad_enabled() else hidden.add_(shortcut)


class Downsample(nn.Module):
    """Halves height and width, and time too if ``temporal``.

    In space and time together it is not centred: zeros stand at the end of each axis only, so an odd last frame is
    seen by the latent frame before it and gets none of its own.
    """

    def __init__(self, channels: int, temporal: bool) -> None:
        super().__init__()
        self.temporal = temporal
        if temporal:
            self.conv = nn.Conv3d(channels, channels, 3, stride=2)
        else:
            self.conv = nn.Conv3d(channels, channels, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1, 0, 1)) if self.temporal else x)


class Upsample(nn.Module):
    """Doubles height and width, and time too if ``temporal``: nearest, then a 3×3×3 convolution."""

    def __init__(self, channels: int, temporal: bool) -> None:
        super().__init__()
        self.scale = (2 if temporal else 1, 2, 2)
        self.conv = conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=self.scale, mode="nearest"))


def attended_levels(levels: int, resolution: int, attn_resolutions: Sequence[int]) -> list[bool]:
    """Which levels have attention: those whose side is in ``attn_resolutions`` for an input of ``resolution``.

    The side is that of the training pictures' 256, whatever the input is.
    """
    return [resolution >> level in attn_resolutions for level in range(levels)]


class Encoder(nn.Module):
    """Clip to latent: half the frames, 1/2^(levels − 1) of height and width."""

    def __init__(
        self,
        nf: int,
        ch_mult: Sequence[int],
        emb_dim: int,
        res_blocks: int,
        attended: Sequence[bool],
        within_frames: bool = False,
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = [conv3(3, nf)]
        width = nf
        for level, (multiplier, attention) in enumerate(zip(ch_mult, attended)):
            for _ in range(res_blocks):
                blocks.append(ResBlock(width, nf * multiplier))
                width = nf * multiplier
                if attention:
                    blocks.append(ClipAttention(width, within_frames))
            if level < len(ch_mult) - 1:
                blocks.append(Downsample(width, temporal=level == 0))
        blocks += [ResBlock(width, width), ClipAttention(width, within_frames), ResBlock(width, width)]
        blocks += [group_norm(width), conv3(width, emb_dim)]
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, on_block: OnBlock | None = None) -> Tensor:
        """``[B, 3, T, H, W]`` to ``[B, emb_dim, T // 2, h, w]``."""
        return _through(self.blocks, x, on_block)


class Generator(nn.Module):
    """Latent to clip. The step to full size and frame rate comes last, at the narrowest width."""

    def __init__(
        self,
        nf: int,
        ch_mult: Sequence[int],
        emb_dim: int,
        res_blocks: int,
        attended: Sequence[bool],
        within_frames: bool = False,
    ) -> None:
        super().__init__()
        width, last = nf * ch_mult[-1], len(ch_mult) - 1
        blocks = [conv3(emb_dim, width), ResBlock(width, width)]
        blocks += [ClipAttention(width, within_frames), ResBlock(width, width)]
        for level in reversed(range(len(ch_mult))):
            # The step up comes after level last − 1 first: that level still has the size of the last one.
            attention = attended[min(level + 1, last)]
            for _ in range(res_blocks):
                blocks.append(ResBlock(width, nf * ch_mult[level]))
                width = nf * ch_mult[level]
                if attention:
                    blocks.append(ClipAttention(width, within_frames))
            if level < last:
                blocks.append(Upsample(width, temporal=level == 0))
        blocks += [group_norm(width), conv3(width, 3)]
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, on_block: OnBlock | None = None) -> Tensor:
        """``[B, emb_dim, t, h, w]`` to ``[B, 3, 2 t, H, W]``, 0…1."""
        return _through(self.blocks, x, on_block).sigmoid()


def _through(blocks: Iterable[nn.Module], x: Tensor, on_block: OnBlock | None) -> Tensor:
    for number, block in enumerate(blocks, start=1):
        x = block(x)
        if on_block is not None:
            on_block(number)
    return x
