"""The paper's second stage: a clip is compared with the truth as pixels, through the decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.config import Config
from training.losses.decode_with_gradient import decode_with_gradient
from training.losses.face_focused import switch_of, switched_error
from training.losses.perceptual import Perceptual
from training.stages.base import Batch, Groups, Stage
from training.stages.conditional import ConditionalPixelStage, has_decoder
from training.stages.modules import Parts
from training.stages.one_step import Joint, LatentStage, pixel_parts, weighted
from vividface_core.errors import InvalidOption
from vividface_core.wan.vae import WHOLE, decode


class PixelStage(LatentStage):
    """Eq. 8: L(x_h, x̂_h, M_p) + λ·DISTS(x_h, x̂_h), through the decoder, frozen unless ``train_vae`` says otherwise."""

    pixels = trains_vae = True

    @classmethod
    def variant(cls, config: Config, parts: Parts | None = None) -> type[Stage]:
        conditional = has_decoder(config.model) if parts is None else bool(config.model.decoder or parts.decoder)
        return ConditionalPixelStage if conditional else cls

    def __init__(self, config: Config, parts: Parts | None = None) -> None:
        super().__init__(config, parts)
        self._perceptual = Perceptual(config.loss, self._load_perceptual)
        if config.model.train_vae != "none":
            if self._encoder is not None:
                raise InvalidOption("model.train_vae trains the autoencoder, which the base's tiny encoder replaces.")
            self.net = Joint(self._one_step, self.vae, encoder=config.model.train_vae == "all")

    def groups(self) -> Groups:
        vae = [parameter for parameter in self.vae.parameters() if parameter.requires_grad]
        rest = [parameter for parameter in self._one_step.parameters() if parameter.requires_grad]
        return [(rest, 1.0), *([(vae, self.config.optimizer.vae_lr_scale)] if vae else [])]

    def to(self, device: torch.device) -> None:
        super().to(device)
        self._perceptual.to(device)

    def loss(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        weights, clean, mask = self.config.loss, batch["clean"], batch["pixel_mask"]
        if self.config.model.train_vae == "none":
            restored = self._decode(net(self._low(batch)))
        else:
            restored = net(batch.get("low"), batch.get("degraded"))
        switch = switch_of(batch["uniform"][:, 0], weights.face_probability)
        parts = {
            "error": switched_error(restored, clean, mask, switch, weights.normalisation),
            **self._perceptual(restored, clean, batch["uniform"][:, 1]),
            **pixel_parts(restored, clean, weights),
        }
        return weighted(parts, weights)

    def _decode(self, latents: Tensor) -> Tensor:
        if self.config.model.gradient_checkpointing:
            return decode_with_gradient(self.vae, latents)
        return decode(self.vae, latents, WHOLE)
