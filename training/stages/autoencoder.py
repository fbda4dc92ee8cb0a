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

from training.data.random_clips import RandomClips
from training.objectives.losses import absolute_error, edge_error, gaussian_divergence
from training.objectives.perceptual import Perceptual
from training.stages.base import Batch, Stage
from training.stages.parts import make_vae
from training.stages.principal import start_from_principal
from vividface_core.wan.tensor_files import write_tensors
from vividface_core.wan.vae import StreamingDecoder, StreamingEncoder, after_first, temporal_ratio

STATISTICS_CLIPS = 96


class Autoencoder(nn.Module):
    """Clip in, clip and posterior out; the latent is raw: its statistics are measured when training is over."""

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        channels = vae.config.z_dim
        vae.register_to_config(latents_mean=[0.0] * channels, latents_std=[1.0] * channels)
        self.vae = vae

    def forward(self, clip: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """``[B, 3, T, H, W]`` in −1…1 to its reconstruction, posterior mean and log-variance ``[B, C, T', h, w]``.

        The reconstruction is of the mean, moved by ``noise`` (unit, of the latent's shape) standard deviations.
        """
        mean, log_variance = self.moments(clip)
        latent = mean if noise is None else mean + noise * (0.5 * log_variance).exp()
        stream = StreamingDecoder(self.vae)
        return torch.cat([stream.push(part) for part in after_first(latent, 64)], 2), mean, log_variance

    def moments(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Raw posterior mean and log-variance, fp32."""
        stream = StreamingEncoder(self.vae)
        pairs = [stream.moments(part) for part in after_first(clip, 64 * temporal_ratio(self.vae.config))]
        mean, log_variance = (torch.cat(values, 2).float() for values in zip(*pairs))
        return mean, log_variance.clamp(-30, 20)


class AutoencoderStage(Stage):
    """L1, its spatial differences, LPIPS or DISTS, and a light KL term."""

    def __init__(self, config) -> None:
        super().__init__(config)
        vae = make_vae(config.model).train().requires_grad_(True)
        if config.model.principal_start:
            start_from_principal(vae, self._clean_clips(torch.device("cpu")))
        self.net = Autoencoder(vae)
        self._perceptual = Perceptual(config.loss)

    def source(self, validation: bool) -> RandomClips:
        return RandomClips(self.config.data, validation=validation, degrade=False)

    def to(self, device: torch.device) -> None:
        self._perceptual.to(device)

    def loss(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        weights, clean = self.config.loss, batch["clean"]
        output, mean, log_variance = net(clean)
        parts = {
            "absolute": absolute_error(output, clean),
            "edges": edge_error(output, clean),
            "kl": gaussian_divergence(mean, log_variance),
            **self._perceptual(output, clean, batch["chance"][:, 1]),
        }
        scale = {"absolute": weights.absolute, "edges": weights.edges, "kl": weights.kl, "dists": weights.dists,
                 "lpips": weights.lpips}  # fmt: skip
        return {"loss": sum(scale[name] * value for name, value in parts.items()), **parts}

    @torch.no_grad()
    def show(self, batch: Batch) -> dict[str, Tensor]:
        clean = batch["clean"]
        return {"input": clean, "output": self.net(clean)[0], "truth": clean, "mask": torch.ones_like(clean[:, :1])}

    def save(self, folder: Path, net: nn.Module, notes: dict[str, Any]) -> None:
        """``config.json`` with the measured latent statistics, and the weights, in diffusers' layout."""
        device = next(net.parameters()).device
        mean, std = latent_statistics(net, self._clean_clips(device))
        vae, target = net.vae, folder / "vae"
        target.mkdir(parents=True, exist_ok=True)
        state = {key: value.detach().float().cpu().contiguous() for key, value in vae.state_dict().items()}
        write_tensors(target / "diffusion_pytorch_model.safetensors", state, {"format": "pt"})
        config = json.loads(vae.to_json_string())
        config.update(latents_mean=mean.tolist(), latents_std=std.tolist())
        partial = target / ".config.json.partial"
        partial.write_text(json.dumps(config, indent=2) + "\n")
        partial.replace(target / "config.json")

    def _clean_clips(self, device: torch.device) -> Iterable[Tensor]:
        source = self.source(validation=False)
        for number in range(STATISTICS_CLIPS):
            yield source.sample(number, np.random.default_rng((7, number)))["clean"][None].to(device)


@torch.no_grad()
def latent_statistics(net: Autoencoder, clips: Iterable[Tensor], most: int = STATISTICS_CLIPS) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation ``[C]`` of each latent channel over ``clips`` ``[1, 3, T, H, W]``, summed in fp64."""
    count, total, squares = 0, 0.0, 0.0
    for clip in islice(clips, most):
        values = net.moments(clip)[0].double().transpose(0, 1).flatten(1)
        count += values.shape[1]
        total, squares = total + values.sum(1), squares + values.square().sum(1)
    mean = total / count
    return mean.float().cpu(), (squares / count - mean.square()).clamp_min(1e-12).sqrt().float().cpu()
