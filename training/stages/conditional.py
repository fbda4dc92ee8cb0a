"""Training of a decoder that sees the input: alone, then together with the denoiser. The encoder stays frozen."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from training.config import Config, Model
from training.data.masks import enlarged
from training.losses.face_focused import switch_of, switched_error
from training.losses.perceptual import Perceptual
from training.stages.base import Batch
from training.stages.modules import Parts, grown_decoder, narrow_frozen, new_decoder
from training.stages.one_step import LatentStage, OneStep, Saved, pixel_parts, weighted
from vividface_core.errors import InvalidOption
from vividface_core.restorers.one_step_files import DECODER
from vividface_core.wan.conditional_decoder import ConditionalDecoder
from vividface_core.wan.module_types import WanModule
from vividface_core.wan.vae import WHOLE, decode
from vividface_core.weights import where


def has_decoder(model: Model) -> bool:
    """Whether a run trains a conditional decoder: a new one, or that of its base."""
    return model.decoder is not None or bool(model.base) and (where(model.base) / DECODER).is_dir()


class Conditional(nn.Module):
    """The one step, and the decoder that sees the degraded frames."""

    def __init__(
        self, one_step: OneStep, decoder: ConditionalDecoder, vae: WanModule, *, train_step: bool, train_own: bool
    ) -> None:
        super().__init__()
        self.one_step, self.decoder, self._train_step = one_step, decoder, train_step
        # A sub-module only where it learns.
        self._vae = [vae]
        if train_own:
            self.own = nn.ModuleList([vae.decoder, vae.post_quant_conv])
            self.own.train().requires_grad_(True)
        decoder.train()
        if not train_step:
            one_step.requires_grad_(False)

    def forward(
        self, low: Tensor, degraded: Tensor, high: Tensor | None = None, given: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Restored frames, restored latents, and the latents that were decoded.

        Args:
            low: ``[B, C, T', h, w]`` degraded latents.
            degraded: ``[B, 3, T, H, W]``, −1…1; zeros where the input is withheld.
            high: clean latents. given: ``[B]`` bool, the samples that are decoded from them.
        """
        with torch.set_grad_enabled(self._train_step and torch.is_grad_enabled()):
            latent = self.one_step(low)
        chosen = latent
        if high is not None and given is not None:
            chosen = torch.where(given.view(-1, 1, 1, 1, 1), high, latent)
        own = None
        if self.decoder.config.refines:
            own = decode(self._vae[0], chosen, WHOLE)
        return self.decoder(chosen, degraded, decoded=own), latent, chosen


class _ConditionalStage(LatentStage):
    """What both have in common."""

    pixels = inputs = True
    trains_step: bool

    def __init__(self, config: Config, parts: Parts | None = None) -> None:
        super().__init__(config, parts)
        decoder, arguments = self._base_decoder, config.model.decoder
        if config.model.grow_decoder:
            model = config.model
            decoder = grown_decoder(decoder, arguments or {}, model.restart_blocks, model.train_new)
        elif arguments is not None:
            decoder = new_decoder(arguments, self.vae)
        if decoder is None:
            raise InvalidOption("This stage trains a conditional decoder: give model.decoder, or a base that has one.")
        if not config.model.train_new:
            decoder.requires_grad_(True)
        # A loaded one lies channels last, which Muon's views of the kernels can't follow.
        decoder.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # missing in torch's stubs
        self._perceptual = Perceptual(config.loss, self._load_perceptual)
        train_own = config.model.train_vae == "decoder"
        if train_own and not (self.trains_step and decoder.config.refines):
            raise InvalidOption("model.train_vae is for the pixel stage of a conditional decoder that refines.")
        self.net = Conditional(self._one_step, decoder, self.vae, train_step=self.trains_step, train_own=train_own)
        narrow_frozen(self._one_step.transformer, config.model)

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        step = [parameter for parameter in self._one_step.parameters() if parameter.requires_grad]
        net: Any = self.net
        decoder = [parameter for parameter in net.decoder.parameters() if parameter.requires_grad]
        rest = [(step, 1.0)] if step else []
        own = [parameter for parameter in self.vae.decoder.parameters() if parameter.requires_grad]
        own += [parameter for parameter in self.vae.post_quant_conv.parameters() if parameter.requires_grad]
        rest += [(own, self.config.optimizer.vae_lr_scale)] if own else []
        return [(decoder, self.config.optimizer.decoder_rate), *rest]

    def to(self, device: torch.device) -> None:
        super().to(device)
        self._perceptual.to(device)

    def loss(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        weights, clean = self.config.loss, batch["clean"]
        # To encode the clean clip too takes a tenth of a step, and few runs look at its latent.
        wanted = weights.latent if self.trains_step else weights.clean_latents
        low, high, mask = self._latents(batch) if wanted else (self._low(batch), None, None)
        uniform = batch["uniform"]
        withheld = (uniform[:, 3] < weights.input_dropout).view(-1, 1, 1, 1, 1)
        given = None if self.trains_step else uniform[:, 2] < weights.clean_latents
        restored, latent, decoded = net(low, batch["degraded"].masked_fill(withheld, 0), high, given)
        switch = switch_of(uniform[:, 0], weights.face_probability)
        parts = {
            "error": switched_error(restored, clean, batch["pixel_mask"], switch, weights.normalisation),
            **self._perceptual(restored, clean, uniform[:, 1]),
            **pixel_parts(restored, clean, weights),
            **self._teacher_parts(restored, decoded, uniform[:, 1]),
        }
        if self.trains_step and high is not None and mask is not None:
            weight = self._channel_weight.to(high)
            switch = switch_of(uniform[:, 0], weights.latent_probability)
            parts["latent"] = switched_error(weight * latent, weight * high, mask, switch, weights.normalisation)
        return weighted(parts, weights)

    def _teacher_parts(self, restored: Tensor, latent: Tensor, uniform: Tensor) -> dict[str, Tensor]:
        """Distances to what the autoencoder's own decoder makes of the same latent, where they have a weight."""
        weights, parts = self.config.loss, {}
        if weights.teacher or weights.teacher_lpips:
            with torch.no_grad():
                teacher = decode(self.vae, latent).clamp(-1, 1)
            parts["teacher"] = (restored.float() - teacher).square().mean()
        if weights.teacher_lpips:
            parts["teacher_lpips"] = self._perceptual.distance("lpips", restored, teacher, uniform)
        return parts

    @torch.no_grad()
    def show(self, batch: Batch) -> dict[str, Tensor]:
        low, high, mask = self._latents(batch)
        truth = batch["clean"] if "clean" in batch else decode(self.vae, high)
        pixel_mask = batch.get("pixel_mask")
        return {
            "output": self.net(low, batch["degraded"])[0],
            "input": batch["degraded"],
            "truth": truth,
            "mask": enlarged(mask, truth) if pixel_mask is None else pixel_mask,
        }

    def _parts_to_save(self, net: Any) -> Saved:
        return Saved(net.one_step, self.vae, net.decoder, self._encoder)


class DecoderStage(_ConditionalStage):
    """A decoder for a given denoiser and autoencoder, both frozen: from clean latents and from the denoiser's own."""

    trains_step = False
    has_teacher = True


class ConditionalPixelStage(_ConditionalStage):
    """Eq. 8 through the conditional decoder: denoiser and decoder learn together, Eq. 7 may stay beside it."""

    trains_step = True
