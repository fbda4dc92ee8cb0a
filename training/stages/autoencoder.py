"""Stage 0, for small models: train an ``AutoencoderKLWan`` itself. VividFace has Wan's, which stays frozen."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.config import Config, Loss, Model
from training.data.batches import Source
from training.data.echo import random_clips
from training.losses.discriminator import Discriminator
from training.losses.face_focused import absolute_error, edge_error, gaussian_divergence
from training.losses.perceptual import Perceptual, sample_frames
from training.stages.base import Batch, Stage
from training.stages.modules import check_model, make_vae
from training.stages.pca_init import init_from_pca
from vividface_core.io.atomic import write_json
from vividface_core.io.tensors import write_tensors
from vividface_core.wan.module_types import WanModule
from vividface_core.wan.vae import WHOLE, StreamingEncoder, after_first, decode

STATISTICS_CLIPS = 96


class Autoencoder(nn.Module):
    """Clip in, clip and posterior out; the latent is raw: its statistics are measured when training is over.

    Args:
        critic: a discriminator to train along; its loss is the last value that is returned.
    """

    def __init__(self, vae: WanModule, critic: Discriminator | None = None, loss: Loss | None = None) -> None:
        super().__init__()
        channels = vae.config.z_dim
        vae.register_to_config(latents_mean=[0.0] * channels, latents_std=[1.0] * channels)
        self.vae, self.critic, self._loss = vae, critic, loss

    def forward(self, clip: Tensor, uniform: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``[B, 3, T, H, W]`` in −1…1 to the reconstruction of its posterior's mean, that mean and the log-variance
        ``[B, C, T', h, w]``, and the critic's loss on the frames that ``uniform [B]`` chooses (0 without one)."""
        mean, log_variance = self.moments(clip)
        output = decode(self.vae, mean, WHOLE)
        if self.critic is None or self._loss is None or uniform is None:
            return output, mean, log_variance, output.new_zeros(())
        pair = [sample_frames(x, self._loss.perceptual_frames, uniform) for x in (clip, output)]
        return output, mean, log_variance, self.critic(*pair, self._loss.adversarial)

    def moments(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Raw posterior mean and log-variance, fp32."""
        stream = StreamingEncoder(self.vae)
        pairs = [stream.moments(part) for part in after_first(clip, WHOLE)]
        mean, log_variance = (torch.cat(values, 2).float() for values in zip(*pairs))
        return mean, log_variance.clamp(-30, 20)


class AutoencoderStage(Stage):
    """L1, its spatial differences, LPIPS or DISTS, a discriminator, and a light KL term."""

    model_section = Model

    @classmethod
    def check(cls, config: Config) -> None:
        super().check(config)
        check_model(config)
        if config.data.kind != "clips":
            raise ValueError("the autoencoder stage trains on data of kind 'clips'")

    def __init__(self, config: Config, parts: Any = None) -> None:
        super().__init__(config)
        vae = make_vae(config.model).train().requires_grad_(True)
        if config.model.principal_start:
            init_from_pca(vae, self._clean_clips(torch.device("cpu")))
        self.net = Autoencoder(vae, Discriminator() if config.loss.adversarial else None, config.loss)
        self._perceptual = Perceptual(config.loss)

    def source(self, validation: bool) -> Source:
        return random_clips(self.config.data, validation=validation, seed=self.config.run.seed, degrade=False)

    def to(self, device: torch.device) -> None:
        self._perceptual.to(device)

    def loss(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        weights, clean = self.config.loss, batch["clean"]
        output, mean, log_variance, critic = net(clean, batch["uniform"][:, 2])
        parts = {
            "absolute": absolute_error(output, clean),
            "edges": edge_error(output, clean),
            "kl": gaussian_divergence(mean, log_variance),
            **self._perceptual(output, clean, batch["uniform"][:, 1]),
        }
        scale = {
            "absolute": weights.absolute,
            "edges": weights.edges,
            "kl": weights.kl,
            "dists": weights.dists,
            "lpips": weights.lpips,
        }
        # The critic's weight is in the gradient that it hands on; its own heads learn at full rate.
        loss = sum(scale[name] * value for name, value in parts.items()) + critic
        return {"loss": loss, **parts, **({"critic": critic} if weights.adversarial else {})}

    @torch.no_grad()
    def show(self, batch: Batch) -> dict[str, Tensor]:
        clean = batch["clean"]
        return {"input": clean, "output": self.net(clean)[0], "truth": clean, "mask": torch.ones_like(clean[:, :1])}

    def save(self, folder: Path, net: Any, notes: dict[str, Any]) -> None:
        """``config.json`` with the measured latent statistics, and the weights, in diffusers' layout."""
        device = next(net.parameters()).device
        mean, std = latent_statistics(net, self._clean_clips(device))
        vae, target = net.vae, folder / "vae"
        target.mkdir(parents=True, exist_ok=True)
        state = {key: value.detach().float().cpu().contiguous() for key, value in vae.state_dict().items()}
        write_tensors(target / "diffusion_pytorch_model.safetensors", state, {"format": "pt"})
        config = json.loads(vae.to_json_string())
        config.update(latents_mean=mean.tolist(), latents_std=std.tolist())
        write_json(target / "config.json", config, indent=2)

    def _clean_clips(self, device: torch.device) -> Iterable[Tensor]:
        source = self.source(validation=False)
        for number in range(STATISTICS_CLIPS):
            yield source.sample(number, np.random.default_rng((7, number)))["clean"][None].to(device)


@torch.no_grad()
def latent_statistics(net: Autoencoder, clips: Iterable[Tensor], most: int = STATISTICS_CLIPS) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation ``[C]`` of each latent channel over ``clips`` ``[1, 3, T, H, W]``, summed in fp64."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for clip in islice(clips, most):
        values = net.moments(clip)[0].double().transpose(0, 1).flatten(1)
        count += values.shape[1]
        total, squares = total + values.sum(1), squares + values.square().sum(1)
    mean = total / count
    return mean.float().cpu(), (squares / count - mean.square()).clamp_min(1e-12).sqrt().float().cpu()
