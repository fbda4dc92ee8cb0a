"""A small encoder into the latent space of a large autoencoder, whose own encoder taught it.

Frames pass some levels of residual blocks at 1/2, 1/4 … of their side; then the frames of each latent frame are
joined, the first frame of a clip standing for a whole group, and a few more blocks see latent frames. A linear path
from the pixels of a latent cell goes beside all of it: most of a good code is linear in them.

Everything is causal, by the shifted channels of :class:`~vividface_core.wan.conditional_decoder.Block`; they are all
that a stream remembers. It runs over whole frames, never in tiles: with Wan's shape its largest maps are those of 64
channels at a quarter of the pixels, a fifth of what the autoencoder's own encoder holds, and a restorer that is short
of memory gives it fewer frames at a time.

Frames are ``[B, 3, T, H, W]``, −1…1; latents ``[B, C, T', H/s, W/s]``, normalised.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.errors import UnsupportedCheckpoint
from vividface_core.wan.conditional_decoder import check_fits
from vividface_core.wan.decoder_blocks import SHIFTED, Block, Memory, levels, run_blocks


@dataclass(frozen=True)
class EncoderConfig:
    """The shape of a :class:`TinyEncoder`.

    Attributes:
        latent_channels: C.
        temporal_ratio: frames per latent frame after the first.
        widths: channels of the levels at 1/2, 1/4 … of the frame's side; the last one is the latent's grid.
        blocks: residual blocks of each level.
        latent_width, latent_blocks: channels and residual blocks over latent frames.
    """

    latent_channels: int
    temporal_ratio: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    latent_width: int
    latent_blocks: int = 1

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: Any = "The encoder") -> EncoderConfig:
        """Raises UnsupportedCheckpoint for unknown, missing or ill-typed entries."""
        try:
            entries: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            config = cls(**entries)
            counts = [config.latent_channels, config.temporal_ratio, config.latent_width, *config.widths]
            blocks = [config.latent_blocks, *config.blocks]
            fits = all(type(n) is int and n > 0 for n in counts) and all(type(n) is int and n >= 0 for n in blocks)
            shifted = [*config.widths, config.latent_width]
            fits = fits and len(config.widths) == len(config.blocks) > 0 and not any(w % SHIFTED for w in shifted)
        except TypeError as error:
            raise UnsupportedCheckpoint(f"{source}: this is no tiny encoder's config ({error}).") from error
        if not fits:
            raise UnsupportedCheckpoint(
                f"{source}: a tiny encoder needs positive numbers, as many blocks as widths, and widths that are "
                f"multiples of {SHIFTED}; this is {values}."
            )
        return config

    def to_dict(self) -> dict[str, Any]:
        """JSON values that :meth:`from_dict` takes back."""
        return asdict(self)

    @property
    def spatial_ratio(self) -> int:
        """Pixels per latent cell and side."""
        return 2 ** len(self.widths)

    def check_fits(self, vae_config: Any) -> None:
        """Raises UnsupportedCheckpoint unless the encoder makes this autoencoder's latents."""
        check_fits(self, vae_config, "tiny encoder")


class TinyEncoder(nn.Module):
    """See the module's docstring."""

    _keep_in_fp32_modules: tuple[str, ...] = ()

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config, widths, ratio = config, config.widths, config.temporal_ratio
        self.frames_in = nn.Conv2d(12, widths[0], 3, padding=1)
        self.levels = levels(widths, config.blocks)
        self.smaller = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(widths, widths[1:]))
        self.join = nn.Conv2d(widths[-1] * ratio, config.latent_width, 1)
        wide = config.latent_width
        self.latent_blocks = nn.ModuleList(Block(wide, shifted=True) for _ in range(config.latent_blocks))
        self.latent_out = nn.Conv2d(config.latent_width, config.latent_channels, 3, padding=1)
        self.linear = nn.Conv2d(3 * ratio * config.spatial_ratio**2, config.latent_channels, 1)

    def forward(self, frames: Tensor, memory: Memory | None = None) -> Tensor:
        """Encode a clip, or the next piece of a stream.

        Args:
            frames: ``[B, 3, n, H, W]``, −1…1; H and W multiples of the spatial ratio; n a multiple of the temporal
                ratio, plus one in the first piece.
            memory: of the pieces before; changed. ``None``: a whole clip.

        Returns:
            ``[B, C, n', H/s, W/s]`` fp32, normalised.

        Raises:
            ValueError: a frame count that does not end at a latent frame.
        """
        memory = {} if memory is None else memory
        batch, first = frames.shape[0], "started" not in memory
        if frames.shape[2] < 1 or (frames.shape[2] - first) % self.config.temporal_ratio:
            raise ValueError(
                f"{frames.shape[2]} frames: a push takes a multiple of {self.config.temporal_ratio}"
                + (", plus one at the start" if first else "")
            )
        memory["started"] = frames.new_empty(0)
        weight = self.frames_in.weight
        pictures = frames.transpose(1, 2).flatten(0, 1).to(weight.device, weight.dtype)
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        x = self._levels(pictures, batch, memory)
        x = self.join(self._groups(x, batch, first))
        x = self.latent_out(F.relu(run_blocks(self.latent_blocks, x, batch, memory)))
        cells = F.pixel_unshuffle(pictures, self.config.spatial_ratio)
        x = x + self.linear(self._groups(cells, batch, first))
        return x.float().unflatten(0, (batch, -1)).transpose(1, 2)

    def _levels(self, pictures: Tensor, batch: int, memory: Memory) -> Tensor:
        """``[B·n, 3, H, W]`` to ``[B·n, width, h, w]``."""
        x = self.frames_in(F.pixel_unshuffle(pictures, 2))
        for level, blocks in enumerate(self.levels):
            x = run_blocks(blocks, self.smaller[level - 1](F.relu(x)) if level else x, batch, memory)
        return x

    def _groups(self, x: Tensor, batch: int, first: bool) -> Tensor:
        """Frames ``[B·n, C, h, w]`` as latent frames ``[B·n', ratio·C, h, w]``; a first frame fills its group."""
        x, ratio = x.unflatten(0, (batch, -1)), self.config.temporal_ratio
        if first and ratio > 1:
            x = torch.cat([x[:, :1].expand(-1, ratio - 1, -1, -1, -1), x], 1)
        return x.flatten(0, 1).unflatten(0, (-1, ratio)).flatten(1, 2)


class TinyStream:
    """One clip on its way through a :class:`TinyEncoder`, used as
    :class:`~vividface_core.wan.vae.StreamingEncoder` is."""

    def __init__(self, encoder: TinyEncoder) -> None:
        self._encoder = encoder
        self._memory: Memory = {}
        self.device = next(encoder.parameters()).device

    def push(self, frames: Tensor) -> Tensor:
        """Encode the next frames; see :meth:`TinyEncoder.forward`."""
        return self._encoder(frames, self._memory)


def operations(config: EncoderConfig, frames: int, height: int, width: int) -> int:
    """Floating-point operations (two a multiplication with its sum) of encoding a clip, by its convolutions."""
    a_frame = height * width // 4 * 2 * 9 * 12 * config.widths[0]
    for level, wide in enumerate(config.widths):
        area = height * width // 4 ** (level + 1)
        a_frame += area * 2 * 9 * wide * wide * 2 * config.blocks[level]
        if level:
            a_frame += area * 2 * 9 * config.widths[level - 1] * wide
    cells, wide, ratio = height * width // config.spatial_ratio**2, config.latent_width, config.temporal_ratio
    a_latent = ratio * config.widths[-1] * wide + 18 * config.latent_blocks * wide * wide
    a_latent += config.latent_channels * (9 * wide + 3 * ratio * config.spatial_ratio**2)
    return frames * a_frame + (1 + (frames - 1) // ratio) * cells * 2 * a_latent
