"""VividFace's two stages: the denoiser is trained in the latent space (Eq. 7), then through the decoder (Eq. 8)."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from training.config import Config, Loss, Model, published
from training.data.batches import Source
from training.data.masks import enlarged
from training.data.sources import make_source
from training.losses.face_focused import (
    absolute_error,
    edge_error,
    motion_error,
    psnr_error,
    switch_of,
    switched_error,
)
from training.losses.warped import warped_error
from training.stages.base import Batch, Stage
from training.stages.modules import Parts, check_model, make_modules, narrow_frozen
from vividface_core.faces.masks import latent_mask
from vividface_core.restorers.one_step_save import save_checkpoint_folder
from vividface_core.wan.conditional_decoder import ConditionalDecoder
from vividface_core.wan.empty_prompt import EmptyPrompt
from vividface_core.wan.module_types import WanModule
from vividface_core.wan.tiny_encoder import TinyEncoder
from vividface_core.wan.transformer import one_step_velocity
from vividface_core.wan.vae import WHOLE, decode, encode, spatial_ratio, temporal_ratio


class OneStep(nn.Module):
    """ẑ_h = (1 − A) ⊙ z_l − s·DiT(z_l, t*, "") (Eq. 3, in Wan's direction; A = 0 there), with the embedding of ""."""

    def __init__(self, transformer: WanModule, prompt: EmptyPrompt, config: Any, skip: Tensor | None = None) -> None:
        super().__init__()
        self.transformer = transformer
        self.rows = nn.Parameter(prompt.rows.clone(), requires_grad=config.learn_prompt)
        skip = torch.zeros(transformer.config.in_channels) if skip is None else skip.flatten()
        self.skip = nn.Parameter(skip.clone(), requires_grad=config.learn_skip)
        self._length, self._t_star, self._scale = prompt.length, config.t_star, config.velocity_scale

    @property
    def prompt(self) -> EmptyPrompt:
        """The embedding as it is now."""
        return EmptyPrompt(self.rows.detach().float().cpu(), self._length)

    def forward(self, low: Tensor) -> Tensor:
        """``[B, C, T', h, w]`` normalised latents, degraded to restored; fp32."""
        padded = nn.functional.pad(self.rows, (0, 0, 0, self._length - len(self.rows)))[None]
        velocity = one_step_velocity(self.transformer, low, padded, self._t_star)
        return low * (1 - self.skip.view(1, -1, 1, 1, 1)) - self._scale * velocity

    def card(self) -> dict[str, Any]:
        """What the checkpoint's card has to say about the step."""
        skip = self.skip.detach().float().cpu()
        return {"latent_skip": skip.tolist()} if skip.any() else {}


@torch.no_grad()
def decoder_gains(vae: WanModule, side: int = 8, step: float = 0.1) -> Tensor:
    """``[C]``: the squared pixel error that an error in each latent channel makes, relative to their mean.

    Measured by small random changes of one channel of a random latent of one frame.
    """
    rng = torch.Generator().manual_seed(0)
    parameter = next(vae.parameters())
    latent, change = (torch.randn(1, vae.config.z_dim, 1, side, side, generator=rng) for _ in range(2))
    latent, change = latent.to(parameter.device), step * change.to(parameter.device)
    plain = decode(vae, latent)
    moves: list[Tensor] = []
    for channel in range(latent.shape[1]):
        moved = latent.clone()
        moved[:, channel] += change[:, channel]
        moves.append((decode(vae, moved) - plain).square().mean())
    gains = torch.stack(moves).float().cpu()
    return gains / gains.mean()


def pixel_parts(restored: Tensor, clean: Tensor, weights: Loss) -> dict[str, Tensor]:
    """The losses beside Eq. 8's own, of ``[B, 3, T, H, W]``; what costs an optical flow only where it has a weight."""
    parts = {
        "psnr": psnr_error(restored, clean),
        "absolute": absolute_error(restored, clean),
        "edges": edge_error(restored, clean),
        "motion": motion_error(restored, clean),
    }
    return {**parts, "warped": warped_error(restored, clean)} if weights.warped else parts


def weighted(parts: dict[str, Tensor], weights: Loss) -> dict[str, Tensor]:
    """``loss``, the sum of the parts by the weights of their names, and the parts themselves."""
    scale = {name: getattr(weights, name) for name in parts}
    return {"loss": sum(scale[name] * value for name, value in parts.items() if scale[name]), **parts}


class Joint(nn.Module):
    """The whole restorer as one net, where the autoencoder is trained along."""

    def __init__(self, one_step: OneStep, vae: WanModule, *, encoder: bool) -> None:
        super().__init__()
        self.one_step, self.vae, self._encoder = one_step, vae, encoder
        trained = [vae.decoder, vae.post_quant_conv, *((vae.encoder, vae.quant_conv) if encoder else ())]
        for part in trained:
            part.train().requires_grad_(True)

    def forward(self, low: Tensor | None, degraded: Tensor | None) -> Tensor:
        """Degraded latents, or frames ``[B, 3, T, H, W]`` where there are none or the encoder is trained, to restored
        frames."""
        if degraded is not None and (low is None or self._encoder):
            with torch.set_grad_enabled(self._encoder and torch.is_grad_enabled()):
                low = encode(self.vae, degraded, WHOLE)
        assert low is not None  # either of them is given
        return decode(self.vae, self.one_step(low), WHOLE)


class Saved(NamedTuple):
    """The parts of a checkpoint."""

    one_step: OneStep
    vae: WanModule
    decoder: ConditionalDecoder | None
    encoder: TinyEncoder | None


class LatentStage(Stage):
    """Eq. 7: L(z_h, ẑ_h, M_l). The autoencoder only makes latents, and none where they are cached."""

    pixels = inputs = False
    """Whether clean frames and degraded ones are needed where latents are cached."""
    trains_vae = has_teacher = False
    """Whether the stage may train the autoencoder along, and whether it has the losses against a teacher."""
    model_section = Model

    @classmethod
    def check(cls, config: Config) -> None:
        super().check(config)
        check_model(config, trains_vae=cls.trains_vae, has_teacher=cls.has_teacher)

    def __init__(self, config: Config, parts: Parts | None = None) -> None:
        super().__init__(config)
        parts = parts or make_modules(config.model)
        self.vae, transformer, prompt = parts.vae, parts.transformer, parts.prompt
        self._base_decoder, self._encoder = parts.decoder, parts.encoder
        for net in (self._base_decoder, self._encoder):
            if net is not None:
                net.eval().requires_grad_(False)
        self._load_perceptual = parts.load_perceptual
        self.vae.eval().requires_grad_(False)
        transformer.train().requires_grad_(config.model.lora is None)
        if config.model.lora is not None:
            _add_lora(transformer, config)
        for module in (self.vae, transformer):
            narrow_frozen(module, config.model)
        if config.model.gradient_checkpointing:
            transformer.enable_gradient_checkpointing()
        self.net: nn.Module = OneStep(transformer, prompt, config.model, parts.latent_skip)
        self._one_step = self.net
        gains = decoder_gains(self.vae) if config.loss.channels == "decoded" else torch.ones(1)
        # Of the difference, which the loss squares: [1, C, 1, 1, 1].
        self._channel_weight = gains.sqrt().view(1, -1, 1, 1, 1)

    def source(self, validation: bool) -> Source:
        # Cached latents are the autoencoder's own; a base with a tiny encoder restores those of that one.
        inputs = self.inputs or self._encoder is not None
        return make_source(
            self.config.data,
            validation=validation,
            pixels=self.pixels or inputs,
            seed=self.config.run.seed,
            temporal_ratio=temporal_ratio(self.vae.config),
            inputs=inputs,
        )

    def to(self, device: torch.device) -> None:
        self.vae.to(device)
        if self._encoder is not None:
            self._encoder.to(device)

    def loss(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        low, high, mask = self._latents(batch)
        loss = self.config.loss
        switch = switch_of(batch["uniform"][:, 0], loss.latent_probability)
        weight = self._channel_weight.to(high)
        error, before = (
            switched_error(weight * latent, weight * high, mask, switch, loss.normalisation)
            for latent in (net(low), low)
        )
        return {"loss": error, "before": before}

    @torch.no_grad()
    def _latents(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Degraded and clean latents, and the mask on their grid."""
        if "low" in batch:
            return self._low(batch), batch["high"], batch["mask"]
        if self._encoder is None:
            low, high = encode(self.vae, torch.cat([batch["degraded"], batch["clean"]]), WHOLE).chunk(2)
        else:
            low, high = self._low(batch), encode(self.vae, batch["clean"], WHOLE)
        config = self.vae.config
        return low, high, latent_mask(batch["pixel_mask"], spatial_ratio(config), temporal_ratio(config))

    @torch.no_grad()
    def _low(self, batch: Batch) -> Tensor:
        """Degraded latents, of whatever makes them when the model is used."""
        if self._encoder is not None:
            return self._encoder(batch["degraded"])
        return batch["low"] if "low" in batch else encode(self.vae, batch["degraded"], WHOLE)

    @torch.no_grad()
    def show(self, batch: Batch) -> dict[str, Tensor]:
        low, high, mask = self._latents(batch)
        pictures = {"output": decode(self.vae, self._plain_net(low))}
        pictures["input"] = batch["degraded"] if "degraded" in batch else decode(self.vae, low)
        pictures["truth"] = batch["clean"] if "clean" in batch else decode(self.vae, high)
        shown = batch.get("pixel_mask")
        return {**pictures, "mask": enlarged(batch["mask"], pictures["truth"]) if shown is None else shown}

    def _plain_net(self, low: Tensor) -> Tensor:
        was = self._one_step.training
        self._one_step.eval()
        try:
            return self._one_step(low)
        finally:
            self._one_step.train(was)

    def save(self, folder: Path, net: nn.Module, notes: dict[str, Any]) -> None:
        """A checkpoint folder that the engine loads; adapters are merged into it and also kept on their own."""
        parts = self._parts_to_save(net)
        net = parts.one_step
        model, transformer = self.config.model, net.transformer
        merged = nullcontext(transformer) if model.lora is None else _Merged(transformer, folder)
        meta = {
            "name": self.config.run.output.name,
            "t_star": model.t_star,
            "velocity_scale": model.velocity_scale,
            "native_size": model.native_size,
            "native_frames": model.native_frames,
            "training": {**published(self.config), **notes},
            **net.card(),
        }
        with merged as whole:
            folder.parent.mkdir(parents=True, exist_ok=True)
            # Frozen weights in bf16 stay so: in fp32 they would only be larger.
            dtype = torch.float32 if model.frozen == "fp32" else None
            self._write(folder, whole, parts, meta, dtype)

    def _write(
        self, folder: Path, whole: nn.Module, parts: Saved, meta: dict[str, Any], dtype: torch.dtype | None
    ) -> None:
        """Write the checkpoint with ``whole`` as its denoiser."""
        prompt = parts.one_step.prompt
        save_checkpoint_folder(folder, parts.vae, whole, prompt, meta, dtype, parts.decoder, parts.encoder)

    def _parts_to_save(self, net: Any) -> Saved:
        """What a checkpoint holds, out of the trained net; what the base has besides stays."""
        if isinstance(net, Joint):
            return Saved(net.one_step, net.vae, None, self._encoder)
        return Saved(net, self.vae, self._base_decoder, self._encoder)


def _add_lora(transformer: WanModule, config: Config) -> None:
    from peft import LoraConfig

    lora = config.model.lora
    transformer.add_adapter(LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets)))


class _Merged:
    """The denoiser with its adapters merged in, while it is being written; they are also saved beside it."""

    def __init__(self, transformer: WanModule, folder: Path) -> None:
        self._transformer, self._folder = transformer, folder

    def __enter__(self) -> nn.Module:
        from diffusers import WanTransformer3DModel
        from peft.tuners.tuners_utils import BaseTunerLayer

        transformer = self._transformer
        transformer.save_lora_adapter(self._folder.with_name(self._folder.name + "-lora"))
        state = {}
        for name, module in transformer.named_modules():
            if isinstance(module, BaseTunerLayer):
                delta = module.get_delta_weight(module.active_adapters[0])
                state[f"{name}.weight"] = module.get_base_layer().weight.detach() + delta
                if module.get_base_layer().bias is not None:
                    state[f"{name}.bias"] = module.get_base_layer().bias.detach()
        for key, value in transformer.state_dict().items():
            if "lora_" not in key and "base_layer" not in key:
                state[key] = value
        whole = WanTransformer3DModel.from_config(transformer.config)
        whole.load_state_dict(state)
        return whole

    def __exit__(self, *_: object) -> None:
        return None
