"""DVFace: the one-step restorer, whose denoiser also gets face priors of the degraded clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vividface_core.dvface.fusion import Fusion
from vividface_core.dvface.priors import SEGMENT, PriorEncoder, priors_of
from vividface_core.errors import UnsupportedCheckpoint
from vividface_core.restorers.base import Progress, check_finite
from vividface_core.restorers.codebook import clip_bytes
from vividface_core.restorers.one_step import STAGE_SHARES, OneStepRestorer
from vividface_core.wan.injection import Injection
from vividface_core.wan.module_types import WanModule
from vividface_core.wan.vae import latent_frames, spatial_ratio, temporal_ratio

PRIOR_SHARE = 0.4
"""Part of the encoding's share of the progress that computing the priors gets."""


class DVFaceRestorer(OneStepRestorer):
    """A :class:`OneStepRestorer` with a prior encoder and a fusion in each block of the denoiser.

    The priors are computed once a window beside the encoder; the folded and the plain denoiser take what the fusion
    makes of them. With an untrained fusion it equals the one-step restorer exactly.
    """

    name: ClassVar[str] = "dvface"

    def __init__(self, *, priors: PriorEncoder, fusion: Fusion, **parts: Any) -> None:
        """
        Args:
            priors, fusion: which belong together and to the denoiser.
            parts: arguments of :class:`OneStepRestorer`.

        Raises:
            UnsupportedCheckpoint: they don't fit, or what :class:`OneStepRestorer` raises.
        """
        check_priors(priors, fusion, parts["vae"], parts["transformer"])
        # Before the rest: that places all modules.
        self.priors, self.fusion = priors.eval(), fusion.eval()
        super().__init__(**parts)

    @property
    def modules(self) -> dict[str, nn.Module]:
        return {**super().modules, "priors": nn.ModuleList([self.priors, self.fusion])}

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> DVFaceRestorer:
        if dtype is not None:
            self.priors.to(dtype)
            self.fusion.to(dtype)
        super().to(device, dtype)
        return self

    def _encode(self, clip: Tensor, report: Progress) -> Tensor:
        return super()._encode(clip, lambda share: report((1 - PRIOR_SHARE) * share))

    def _injections(self, clip: Tensor, report: Progress) -> Sequence[Injection]:
        if not self.fusion.config.takes_priors:
            return super()._injections(clip, report)
        frames, height, width = self._padded_size(clip)
        grid = self._tokens(height, width)
        with self._placed("priors", clip):
            read = self._reader(clip, next(self.priors.parameters()).device)
            done = STAGE_SHARES["encode"]
            priors = priors_of(
                self.priors,
                lambda start, stop: (read(start, stop) + 1) / 2,
                frames,
                grid,
                temporal_ratio(self.vae.config),
                lambda share: report(done * (1 - PRIOR_SHARE * (1 - share))),
            )
            check_finite(priors.spatial, "prior encoder")
            check_finite(priors.temporal, "prior encoder")
            return self.fusion(priors)

    def _tokens(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens of a padded frame."""
        patch = self.denoiser.config.patch_size
        return height // self._cell // patch[1], width // self._cell // patch[2]

    def _padded_sides(self, height: int, width: int) -> tuple[int, int]:
        return height + -height % self.size_multiple, width + -width % self.size_multiple

    def _work_bytes(self, frames: int, height: int, width: int) -> tuple[int, dict[str, int]]:
        shared, stages = super()._work_bytes(frames, height, width)
        config = self.fusion.config
        if not config.takes_priors:
            return shared, stages
        total, height, width = self.valid_lengths.at_least(frames), *self._padded_sides(height, width)
        segment = clip_bytes(self.priors, min(2 * SEGMENT, total + 1), height, width, self.dtype, self.device)
        rows, columns = self._tokens(height, width)
        # Priors, and of each block what stands between them and the tokens.
        kept = 2 + config.spatial * config.blocks * (1 + (config.query == "tokens"))
        kept *= latent_frames(self.vae.config, total) * rows * columns * config.channels * self.dtype.itemsize
        return shared + kept, {**stages, "priors": segment}


def check_priors(priors: PriorEncoder, fusion: Fusion, vae: WanModule, transformer: WanModule) -> None:
    """Raises UnsupportedCheckpoint unless the four belong together."""
    config, dit = fusion.config, transformer.config
    width = dit.num_attention_heads * dit.attention_head_dim
    if (config.blocks, config.width) != (dit.num_layers, width):
        raise UnsupportedCheckpoint(
            f"The fusion is for {config.blocks} blocks of width {config.width}; the denoiser has {dit.num_layers} of "
            f"width {width}."
        )
    if config.channels != priors.config["emb_dim"]:
        raise UnsupportedCheckpoint(
            f"The fusion takes priors of {config.channels} channels; the encoder makes {priors.config['emb_dim']}."
        )
    cell = [spatial_ratio(vae.config) * side for side in dit.patch_size[1:]]
    if any(side % priors.size_multiple for side in cell) or temporal_ratio(vae.config) % 2:
        raise UnsupportedCheckpoint(
            f"A token is {cell[0]}×{cell[1]} pixels and {temporal_ratio(vae.config)} frames; whole cells of the priors "
            f"({priors.size_multiple} pixels, 2 frames) don't fit in."
        )
