"""The weights of Wan's autoencoder, 2.1's layout and the residual one of 2.2, in the places that diffusers gives them.

For inference: :mod:`vividface_core.wan.fast_vae.streams` computes from them. Class names are diffusers', since
messages, the fast steps and :class:`~vividface_core.wan.holders.Holder` go by them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.wan.holders import Holder, Model

LATENTS_MEAN = (
    -0.7571,
    -0.7089,
    -0.9113,
    0.1075,
    -0.1745,
    0.9653,
    -0.1517,
    1.5508,
    0.4134,
    -0.0715,
    0.5517,
    -0.3632,
    -0.1922,
    -0.9497,
    0.2503,
    -0.2921,
)
LATENTS_STD = (
    2.8184,
    1.4541,
    2.3275,
    2.6558,
    1.2196,
    1.7708,
    2.6052,
    2.0743,
    3.2687,
    2.1526,
    2.8652,
    1.5579,
    1.6382,
    1.1253,
    2.8251,
    1.9160,
)
"""Of each channel of Wan 2.1's latent."""


class AvgDown3D(Holder):
    """A shortcut without weights: groups of channels, cells and frames become their mean."""

    def __init__(self, in_channels: int, out_channels: int, factor_t: int, factor_s: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.factor_t, self.factor_s, self.factor = factor_t, factor_s, factor_t * factor_s**2
        self.group_size, rest = divmod(in_channels * self.factor, out_channels)
        if rest:
            raise ValueError(f"{in_channels} channels times {self.factor} don't divide into {out_channels}")


class DupUp3D(Holder):
    """A shortcut without weights: every value is repeated over the cells and frames that it stands for."""

    def __init__(self, in_channels: int, out_channels: int, factor_t: int, factor_s: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.factor_t, self.factor_s, self.factor = factor_t, factor_s, factor_t * factor_s**2
        self.repeats, rest = divmod(out_channels * self.factor, in_channels)
        if rest:
            raise ValueError(f"{out_channels} channels times {self.factor} don't divide into {in_channels}")


class WanCausalConv3d(nn.Conv3d):
    """A convolution that sees the past alone: what it remembers, or zeros, is put before the frames."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int, int],
        stride: int | tuple[int, int, int] = 1,
        padding: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, stride)
        time, height, width = padding
        self._padding = (width, width, height, height, 2 * time, 0)

    def forward(self, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
        around, before = self._padding[:4], self._padding[4]
        if cache_x is not None and before:
            x = torch.cat([cache_x.to(x.device), x], 2)
            before -= cache_x.shape[2]
        return super().forward(F.pad(x, (*around, before, 0)))


class WanRMS_norm(Holder):
    """gamma · x / rms(x) over the channels."""

    def __init__(self, channels: int, images: bool = True) -> None:
        super().__init__()
        self.channel_first, self.scale, self.bias = True, channels**0.5, 0.0
        self.gamma = nn.Parameter(torch.ones(channels, *([1] * (2 if images else 3))))


class WanUpsample(nn.Upsample):
    """Repetition, in fp32 where the type knows none of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).type_as(x)


class WanResample(Holder):
    """Half or twice the size (``…2d``), and of the frames (``…3d``)."""

    def __init__(self, channels: int, mode: str, out_channels: int | None = None) -> None:
        super().__init__()
        self.dim, self.mode = channels, mode
        if mode.startswith("upsample"):
            self.resample = nn.Sequential(
                WanUpsample(scale_factor=(2.0, 2.0), mode="nearest-exact"),
                nn.Conv2d(channels, out_channels or channels // 2, 3, padding=1),
            )
        else:
            self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, channels, 3, stride=2))
        if mode == "upsample3d":
            self.time_conv = WanCausalConv3d(channels, 2 * channels, (3, 1, 1), padding=(1, 0, 0))
        elif mode == "downsample3d":
            self.time_conv = WanCausalConv3d(channels, channels, (3, 1, 1), stride=(2, 1, 1))


class WanResidualBlock(Holder):
    """Twice norm, SiLU and convolution, added to the input."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        self.in_dim, self.out_dim, self.nonlinearity = in_channels, out_channels, nn.SiLU()
        self.norm1 = WanRMS_norm(in_channels, images=False)
        self.conv1 = _convolution(in_channels, out_channels)
        self.norm2 = WanRMS_norm(out_channels, images=False)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = _convolution(out_channels, out_channels)
        same = in_channels == out_channels
        self.conv_shortcut = nn.Identity() if same else WanCausalConv3d(in_channels, out_channels, 1)


class WanAttentionBlock(Holder):
    """Self-attention with one head within each frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dim = channels
        self.norm = WanRMS_norm(channels)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)


class WanMidBlock(Holder):
    """Attention between two residual blocks."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.dim, self.gradient_checkpointing = channels, False
        self.attentions = nn.ModuleList([WanAttentionBlock(channels)])
        self.resnets = nn.ModuleList(WanResidualBlock(channels, channels, dropout) for _ in range(2))


class WanUpBlock(Holder):
    """Residual blocks, then twice the size (Wan 2.1)."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, dropout: float, mode: str | None) -> None:
        super().__init__()
        self.in_dim, self.out_dim, self.gradient_checkpointing = in_channels, out_channels, False
        self.resnets = _residuals(in_channels, out_channels, blocks + 1, dropout)
        self.upsamplers = None if mode is None else nn.ModuleList([WanResample(out_channels, mode)])


class WanResidualUpBlock(Holder):
    """The same with a shortcut around all of it (Wan 2.2)."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, dropout: float, mode: str | None) -> None:
        super().__init__()
        self.in_dim, self.out_dim, self.gradient_checkpointing = in_channels, out_channels, False
        self.avg_shortcut = self.upsampler = None
        if mode is not None:
            self.avg_shortcut = DupUp3D(in_channels, out_channels, 2 if mode == "upsample3d" else 1, 2)
        self.resnets = _residuals(in_channels, out_channels, blocks + 1, dropout)
        if mode is not None:
            self.upsampler = WanResample(out_channels, mode, out_channels)


class WanResidualDownBlock(Holder):
    """Residual blocks and half the size, with a shortcut around all of it (Wan 2.2)."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, dropout: float, mode: str | None) -> None:
        super().__init__()
        times, sides = 2 if mode == "downsample3d" else 1, 1 if mode is None else 2
        self.avg_shortcut = AvgDown3D(in_channels, out_channels, times, sides)
        self.resnets = _residuals(in_channels, out_channels, blocks, dropout)
        self.downsampler = None if mode is None else WanResample(out_channels, mode)


class WanEncoder3d(Holder):
    """Frames to the moments of the latent.

    Args:
        multipliers: channels of each level, in units of ``base``.
        blocks: residual blocks a level.
        scales: at which of 1, 1/2, 1/4 … there is attention (Wan 2.1's layout).
        slower: which halvings also halve the frames.
        residual: Wan 2.2's layout.
    """

    def __init__(
        self,
        in_channels: int,
        base: int,
        out_channels: int,
        multipliers: Sequence[int],
        blocks: int,
        scales: Sequence[float],
        slower: Sequence[bool],
        dropout: float,
        residual: bool,
    ) -> None:
        super().__init__()
        self.nonlinearity, self.gradient_checkpointing = nn.SiLU(), False
        widths = [base * times for times in (1, *multipliers)]
        self.conv_in = _convolution(in_channels, widths[0])
        self.down_blocks = nn.ModuleList()
        for level, (before, after) in enumerate(zip(widths, widths[1:])):
            mode = _mode("downsample", level, slower) if level < len(multipliers) - 1 else None
            if residual:
                self.down_blocks.append(WanResidualDownBlock(before, after, blocks, dropout, mode))
                continue
            for block in _residuals(before, after, blocks, dropout):
                self.down_blocks.append(block)
                if 0.5**level in scales:
                    self.down_blocks.append(WanAttentionBlock(after))
            if mode is not None:
                self.down_blocks.append(WanResample(after, mode))
        self.mid_block = WanMidBlock(widths[-1], dropout)
        self.norm_out = WanRMS_norm(widths[-1], images=False)
        self.conv_out = _convolution(widths[-1], out_channels)


class WanDecoder3d(Holder):
    """The latent to frames; arguments as :class:`WanEncoder3d`'s, the levels from large to small."""

    def __init__(
        self,
        in_channels: int,
        base: int,
        out_channels: int,
        multipliers: Sequence[int],
        blocks: int,
        faster: Sequence[bool],
        dropout: float,
        residual: bool,
    ) -> None:
        super().__init__()
        self.nonlinearity, self.gradient_checkpointing = nn.SiLU(), False
        widths = [base * times for times in (multipliers[-1], *reversed(multipliers))]
        self.conv_in = _convolution(in_channels, widths[0])
        self.mid_block = WanMidBlock(widths[0], dropout)
        self.up_blocks = nn.ModuleList()
        for level, (before, after) in enumerate(zip(widths, widths[1:])):
            mode = _mode("upsample", level, faster) if level < len(multipliers) - 1 else None
            if residual:
                self.up_blocks.append(WanResidualUpBlock(before, after, blocks, dropout, mode))
            else:
                # An enlargement of Wan 2.1's halves the channels too.
                self.up_blocks.append(WanUpBlock(before // 2 if level else before, after, blocks, dropout, mode))
        self.norm_out = WanRMS_norm(widths[-1], images=False)
        self.conv_out = _convolution(widths[-1], out_channels)


class AutoencoderKLWan(Model):
    """Encoder, decoder and what lies between them; arguments are those of a ``config.json``."""

    def __init__(
        self,
        base_dim: int = 96,
        decoder_base_dim: int | None = None,
        z_dim: int = 16,
        dim_mult: Sequence[int] = (1, 2, 4, 4),
        num_res_blocks: int = 2,
        attn_scales: Sequence[float] = (),
        temperal_downsample: Sequence[bool] = (False, True, True),
        dropout: float = 0.0,
        latents_mean: Sequence[float] = LATENTS_MEAN,
        latents_std: Sequence[float] = LATENTS_STD,
        is_residual: bool = False,
        in_channels: int = 3,
        out_channels: int = 3,
        patch_size: int | None = None,
        scale_factor_temporal: int | None = 4,
        scale_factor_spatial: int | None = 8,
    ) -> None:
        super().__init__()
        self.encoder = WanEncoder3d(
            in_channels,
            base_dim,
            2 * z_dim,
            dim_mult,
            num_res_blocks,
            attn_scales,
            temperal_downsample,
            dropout,
            is_residual,
        )
        self.quant_conv = WanCausalConv3d(2 * z_dim, 2 * z_dim, 1)
        self.post_quant_conv = WanCausalConv3d(z_dim, z_dim, 1)
        self.decoder = WanDecoder3d(
            z_dim,
            decoder_base_dim or base_dim,
            out_channels,
            dim_mult,
            num_res_blocks,
            temperal_downsample[::-1],
            dropout,
            is_residual,
        )


def _convolution(in_channels: int, out_channels: int) -> WanCausalConv3d:
    return WanCausalConv3d(in_channels, out_channels, 3, padding=(1, 1, 1))


def _residuals(in_channels: int, out_channels: int, count: int, dropout: float) -> nn.ModuleList:
    widths = [in_channels, *[out_channels] * count]
    return nn.ModuleList(WanResidualBlock(before, after, dropout) for before, after in zip(widths, widths[1:]))


def _mode(kind: str, level: int, in_time: Sequence[bool]) -> str:
    return f"{kind}{'3d' if in_time[level] else '2d'}"
