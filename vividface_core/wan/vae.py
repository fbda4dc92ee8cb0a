"""Wan's causal video autoencoder as a stream: any length of video in constant memory, exactly.

The autoencoder never looks ahead, and the only thing that it remembers of the past are the last frames before each
causal convolution. diffusers keeps this memory inside the module for the length of one call; here every stream owns
its own, so a clip may be pushed in pieces and several streams may share one set of weights.

Frames in this file are ``[B, 3, T, H, W]``, −1…1; latents are ``[B, C, T', H/8, W/8]``, normalised per channel.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from vividface_core.wan.module_types import WanModule

FRAME_CHUNK = 4
"""Frames that :class:`StreamingEncoder` is meant to take at a time after the first (or a multiple)."""
WHOLE = 1 << 20
"""As a chunk: everything after the first frame at once."""


def spatial_ratio(config: Any) -> int:
    """Pixels per latent cell and side: 8 for Wan 2.1."""
    return 2 ** (len(config.dim_mult) - 1) * (config.patch_size or 1)


def temporal_ratio(config: Any) -> int:
    """Frames per latent frame after the first: 4 for Wan 2.1."""
    return 2 ** sum(config.temperal_downsample[: len(config.dim_mult) - 1])


def latent_frames(config: Any, frames: int) -> int:
    """T' of ``frames`` video frames."""
    return 1 + math.ceil((frames - 1) / temporal_ratio(config))


class _Stream:
    """The causal memory of one pass through an encoder or decoder.

    Attributes:
        memory: the last frames before each causal convolution, as diffusers keeps them.
    """

    def __init__(self, vae: WanModule, net: WanModule) -> None:
        self._net = net
        self._config = vae.config
        # One slot a causal convolution would do; diffusers counts them by position, so spare slots stay empty.
        self.memory: list = [None] * sum(1 for _ in net.modules())
        self.started = False
        parameter = next(net.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype

    def resume(self, memory: list) -> None:
        """Go on after another stream's last push; ``memory`` is that stream's. It isn't changed."""
        self.memory, self.started = list(memory), True

    def _step(self, x: Tensor, **first: bool) -> Tensor:
        self.started = True
        return self._net(x, feat_cache=self.memory, feat_idx=[0], **first)

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the raw latent, ``[1, C, 1, 1, 1]`` fp32."""
        pair = (self._config.latents_mean, self._config.latents_std)
        mean, std = (torch.tensor(v, dtype=torch.float32, device=self.device).view(1, -1, 1, 1, 1) for v in pair)
        return mean, std


class StreamingEncoder(_Stream):
    """Frames in, normalised latents out: z = (posterior mean − mean) / std.

    The posterior is never sampled (VividFace takes its mean). The concatenated result equals that of one call over
    the whole clip.
    """

    def __init__(self, vae: WanModule) -> None:
        super().__init__(vae, vae.encoder)
        self._quant = vae.quant_conv

    def push(self, frames: Tensor) -> Tensor:
        """Encode the next frames.

        Args:
            frames: ``[B, 3, n, H, W]``, −1…1; H and W multiples of the spatial ratio; n a multiple of the temporal
                ratio, plus one in the first push.

        Returns:
            ``[B, C, n', h, w]`` fp32, normalised.

        Raises:
            ValueError: a frame count that does not end at a latent frame.
        """
        return self._normalised(self.moments(frames)[0])

    def _normalised(self, raw: Tensor) -> Tensor:
        mean, std = self._statistics()
        return (raw.float() - mean) / std

    def moments(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Raw mean and log-variance of the posterior of the next frames; arguments and errors as in :meth:`push`."""
        extra = 0 if self.started else 1
        if frames.shape[2] < 1 or (frames.shape[2] - extra) % temporal_ratio(self._config):
            raise ValueError(
                f"{frames.shape[2]} frames: a push takes a multiple of {temporal_ratio(self._config)}"
                + (", plus one at the start" if extra else "")
            )
        x = to_patches(frames.to(self.device, self.dtype), self._config.patch_size)
        moments = [self._quant(self._step(part)) for part in x.split([extra, x.shape[2] - extra], 2) if part.shape[2]]
        mean, log_variance = torch.cat(moments, 2).chunk(2, dim=1)
        return mean, log_variance


class StreamingDecoder(_Stream):
    """Normalised latents in, frames out. The concatenated result equals that of one call over the whole latent."""

    def __init__(self, vae: WanModule) -> None:
        super().__init__(vae, vae.decoder)
        self._quant = vae.post_quant_conv

    def push(self, latents: Tensor) -> Tensor:
        """Decode the next latent frames.

        Args:
            latents: ``[B, C, n, h, w]``, normalised, n ≥ 1.

        Returns:
            ``[B, 3, m, H, W]`` fp32 around −1…1, **not clamped**, so that a caller sees what went wrong and a loss
            keeps its gradient. m is n times the temporal ratio; the very first latent frame makes one frame.
        """
        if latents.shape[2] < 1:
            raise ValueError("a push takes at least one latent frame")
        x, frames = self._raw(latents), []
        if not self.started:
            frames.append(self._step(x[:, :, :1], first_chunk=True))
            x = x[:, :, 1:]
        if x.shape[2]:
            frames.append(self._step(x))
        return from_patches(torch.cat(frames, 2).float(), self._config.patch_size)

    def _raw(self, latents: Tensor) -> Tensor:
        """What the decoder's net takes."""
        mean, std = self._statistics()
        return self._quant((latents.to(self.device, torch.float32) * std + mean).to(self.dtype))


def encode(vae: WanModule, frames: Tensor, chunk: int = FRAME_CHUNK) -> Tensor:
    """Whole clip ``[B, 3, T, H, W]``, −1…1, to normalised latent, ``chunk`` frames at a time; T − 1 divides evenly."""
    stream = StreamingEncoder(vae)
    return torch.cat([stream.push(part) for part in after_first(frames, chunk)], 2)


def decode(vae: WanModule, latents: Tensor, chunk: int = 1) -> Tensor:
    """Whole normalised latent ``[B, C, T', h, w]`` to frames (not clamped), ``chunk`` latent frames at a time."""
    stream = StreamingDecoder(vae)
    return torch.cat([stream.push(part) for part in after_first(latents, chunk)], 2)


def after_first(x: Tensor, chunk: int) -> tuple[Tensor, ...]:
    """``x`` cut along time as streams take it: the first (latent) frame alone, then ``chunk`` at a time."""
    rest = x[:, :, 1:]
    return (x[:, :, :1], *(rest.split(chunk, 2) if rest.shape[2] else ()))


def to_patches(frames: Tensor, size: int | None) -> Tensor:
    """Each ``size``×``size`` block of pixels becomes channels (column before row, as Wan 2.2 was trained)."""
    if not size or size == 1:
        return frames
    return rearrange(frames, "b c t (h q) (w r) -> b (c r q) t h w", q=size, r=size)


def from_patches(x: Tensor, size: int | None) -> Tensor:
    """Undoes :func:`to_patches`."""
    if not size or size == 1:
        return x
    return rearrange(x, "b (c r q) t h w -> b c t (h q) (w r)", q=size, r=size)
