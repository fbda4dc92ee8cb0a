"""DVFace's third stage: the denoiser and the fusion of its priors learn through the decoder.

Stages I and II are BFVR-STC's (``training.stages.codebook``, ``training.stages.lookup``) with ``attention = "frame"``
and ``spatial_branch = "convolution"`` in ``model.network``. The losses of this one aren't published; the configurations
take DOVE's, of the same group of authors: squared error, DISTS, and the error of frame differences, of weight 1 each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from training.config import Config, Model
from training.losses.decode_with_gradient import decode_with_gradient
from training.losses.face_focused import switch_of, switched_error
from training.losses.perceptual import Perceptual
from training.stages.base import Batch, Groups
from training.stages.modules import Parts
from training.stages.one_step import LatentStage, OneStep, Saved, pixel_parts, weighted
from vividface_core.bfvr_stc import checkpoint
from vividface_core.dvface import Fusion, FusionConfig, PriorEncoder, Priors, priors_of
from vividface_core.dvface.priors import load_from_stage_two
from vividface_core.errors import InvalidOption
from vividface_core.restorers.dvface import DVFaceRestorer, check_priors
from vividface_core.restorers.dvface_files import save_folder
from vividface_core.wan.injection import Injection, inject_before
from vividface_core.wan.module_types import WanModule
from vividface_core.wan.vae import WHOLE, decode, spatial_ratio, temporal_ratio
from vividface_core.weights import load_unchanged


class DVFaceModel(Model):
    """What stage ``fusion`` trains, on top of the one-step restorer's own entries.

    Attributes:
        priors: a checkpoint of stage II; empty: those of ``base``, which is a DVFace checkpoint then.
        fusion: arguments of :class:`~vividface_core.dvface.FusionConfig` that the rest doesn't decide: ``heads``,
            ``query``, ``temporal``, ``spatial``; for random first weights, which change nothing.
        denoiser: ``full``: the denoiser is trained too, or its adapters with ``lora``; ``frozen``: the fusion alone.
    """

    priors: Path | None = None
    fusion: dict[str, Any] = Field(default_factory=dict)
    denoiser: str = Field("full", pattern="^(full|frozen)$")


class Fused(nn.Module):
    """ẑ_h of degraded latents and the priors of the degraded frames."""

    def __init__(self, one_step: OneStep, fusion: Fusion) -> None:
        super().__init__()
        self.one_step, self.fusion = one_step, fusion
        self._injections: Sequence[Injection] = ()
        # For good: checkpointed blocks run again while gradients are computed, and need the same injections then.
        inject_before(one_step.transformer.blocks, lambda number: self._injections[number])

    def forward(self, low: Tensor, spatial: Tensor, temporal: Tensor) -> Tensor:
        """``[B, C, T', h, w]`` and priors ``[B, T', places, c]``."""
        self._injections = self.fusion(Priors(spatial, temporal))
        return self.one_step(low)


class FusionStage(LatentStage):
    """Squared error, DISTS and the error of frame differences of the decoded clip (named as DOVE's)."""

    pixels = inputs = True
    model_section = DVFaceModel

    def __init__(self, config: Config, parts: Parts | None = None) -> None:
        super().__init__(config, parts)
        model = config.model
        self.priors, fusion = _priors_and_fusion(model, self._one_step.transformer)
        check_priors(self.priors, fusion, self.vae, self._one_step.transformer)
        self.priors.eval().requires_grad_(False)
        self._one_step.transformer.requires_grad_(model.denoiser == "full" and model.lora is None)
        self._perceptual = Perceptual(config.loss, self._load_perceptual)
        self.net = Fused(self._one_step, fusion.train())

    def groups(self) -> Groups:
        return [([parameter for parameter in self.net.parameters() if parameter.requires_grad], 1.0)]

    def to(self, device: torch.device) -> None:
        super().to(device)
        self.priors.to(device)
        self._perceptual.to(device)
        if self._base_decoder is not None:
            self._base_decoder.to(device)

    @torch.no_grad()
    def _priors(self, degraded: Tensor) -> tuple[Tensor, Tensor]:
        """Of frames ``[B, 3, T, H, W]``, −1…1."""
        cell = spatial_ratio(self.vae.config)
        patch = self._one_step.transformer.config.patch_size
        grid = degraded.shape[3] // cell // patch[1], degraded.shape[4] // cell // patch[2]
        frames = (degraded + 1) / 2
        found = priors_of(
            self.priors, lambda a, b: frames[:, :, a:b], frames.shape[2], grid, temporal_ratio(self.vae.config)
        )
        return found.spatial, found.temporal

    def loss(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        weights, clean, uniform = self.config.loss, batch["clean"], batch["uniform"]
        restored = self._decode(net(self._low(batch), *self._priors(batch["degraded"])), batch["degraded"])
        switch = switch_of(uniform[:, 0], weights.face_probability)
        parts = {
            "error": switched_error(restored, clean, batch["pixel_mask"], switch, weights.normalisation),
            **self._perceptual(restored, clean, uniform[:, 1]),
            **pixel_parts(restored, clean, weights),
        }
        return weighted(parts, weights)

    def _decode(self, latents: Tensor, degraded: Tensor) -> Tensor:
        """By the autoencoder, and by the base's conditional decoder where it has one."""
        decoder = self._base_decoder
        if decoder is None and self.config.model.gradient_checkpointing:
            return decode_with_gradient(self.vae, latents)
        if decoder is None:
            return decode(self.vae, latents, WHOLE)
        own = decode(self.vae, latents, WHOLE) if decoder.config.refines else None
        return decoder(latents, degraded, decoded=own)

    @torch.no_grad()
    def show(self, batch: Batch) -> dict[str, Tensor]:
        was = self.net.training
        self.net.eval()
        try:
            latents = self.net(self._low(batch), *self._priors(batch["degraded"]))
        finally:
            self.net.train(was)
        output = self._decode(latents, batch["degraded"])
        return {"output": output, "input": batch["degraded"], "truth": batch["clean"], "mask": batch["pixel_mask"]}

    def _parts_to_save(self, net: Any) -> Saved:
        return Saved(net.one_step, self.vae, self._base_decoder, self._encoder)

    def save(self, folder: Path, net: Any, notes: dict[str, Any]) -> None:
        self._fusion_to_save = net.fusion
        super().save(folder, net, notes)

    def _write(self, folder: Path, whole: nn.Module, parts: Saved, meta: dict[str, Any], dtype: Any) -> None:
        save_folder(
            folder,
            {
                "vae": parts.vae,
                "transformer": whole,
                "prompt": parts.one_step.prompt,
                "decoder": parts.decoder,
                "encoder": parts.encoder,
            },
            self.priors,
            self._fusion_to_save,
            meta,
            dtype,
        )


def _priors_and_fusion(model: DVFaceModel, transformer: WanModule) -> tuple[PriorEncoder, Fusion]:
    """Out of a stage II checkpoint with a new fusion, or both out of a DVFace checkpoint.

    Raises:
        InvalidOption: neither is named, or the checkpoint is of another system.
    """
    if model.priors is not None:
        priors = load_from_stage_two(checkpoint.load(model.priors, dtype=torch.float32)[0])
        width = transformer.config.num_attention_heads * transformer.config.attention_head_dim
        shape = {"blocks": transformer.config.num_layers, "width": width, "channels": priors.config["emb_dim"]}
        return priors, Fusion(FusionConfig.from_dict({**shape, **model.fusion}, "model.fusion"))
    base = load_unchanged(model.base) if model.base else None
    if not isinstance(base, DVFaceRestorer) or model.fusion:
        raise InvalidOption(
            "Name a checkpoint of stage II in model.priors, or a DVFace checkpoint in model.base alone."
        )
    return base.priors, base.fusion
