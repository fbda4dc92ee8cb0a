"""A tiny encoder learns the latents that the frozen autoencoder's own encoder makes: distillation, nothing else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from training.config import Config
from training.stages.base import Batch
from training.stages.modules import Parts, narrow_frozen, new_encoder
from training.stages.one_step import LatentStage, Saved
from vividface_core.errors import InvalidOption
from vividface_core.wan.vae import decode


class EncoderStage(LatentStage):
    """Squared error of the normalised latents of degraded and of clean clips, one as heavy as the other.

    Denoiser and decoder, which were trained on the teacher's latents, only go along into the checkpoint.
    """

    pixels = inputs = True

    def __init__(self, config: Config, parts: Parts | None = None) -> None:
        super().__init__(config, parts)
        encoder = self._encoder if config.model.encoder is None else new_encoder(config.model.encoder, self.vae)
        if encoder is None:
            raise InvalidOption("This stage trains a tiny encoder: give model.encoder, or a base that has one.")
        # The latents to learn are the autoencoder's own, also where the base has a tiny encoder already.
        self._encoder = None
        self._one_step.requires_grad_(False)
        narrow_frozen(self._one_step.transformer, config.model)
        self.net = encoder.train().requires_grad_(True)

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        return [(list(self.net.parameters()), 1.0)]

    def loss(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        low, high, _ = self._latents(batch)
        weight = self._channel_weight.to(high)
        made = net(torch.cat([batch["degraded"], batch["clean"]]))
        errors = [(weight * (ours - theirs)).square().mean() for ours, theirs in zip(made.chunk(2), (low, high))]
        return {"loss": sum(errors) / 2, "degraded": errors[0], "clean": errors[1]}

    @torch.no_grad()
    def show(self, batch: Batch) -> dict[str, Tensor]:
        """Decoded by the autoencoder: the teacher's latents of the clean clip as input, the encoder's as output."""
        clean = batch["clean"]
        pictures = [decode(self.vae, latents) for latents in (self._latents(batch)[1], self.net(clean))]
        return {"input": pictures[0], "output": pictures[1], "truth": clean, "mask": batch["pixel_mask"]}

    def _parts_to_save(self, net: Any) -> Saved:
        return Saved(self._one_step, self.vae, self._base_decoder, net)
