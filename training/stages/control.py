"""What the video restorer is compared with: an image restorer of its size, on the same samples and losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.config import Config, Model, published
from training.data.batches import Source
from training.data.sources import make_source
from training.losses.face_focused import switch_of, switched_error
from training.losses.perceptual import Perceptual
from training.stages.base import Batch, Stage
from training.stages.modules import Parts, check_model
from training.stages.nafnet import NafConfig, NafNet, save_nafnet
from training.stages.one_step import pixel_parts, weighted


class Framewise(nn.Module):
    """An image restorer over the frames of clips."""

    def __init__(self, net: NafNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, degraded: Tensor) -> Tensor:
        """``[B, 3, T, H, W]``, −1…1, to the same."""
        frames = degraded.transpose(1, 2)
        return self.net(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).transpose(1, 2)


class ControlStage(Stage):
    """Eq. 8 and the losses beside it, frame by frame; what concerns latents has no meaning here."""

    model_section = Model

    @classmethod
    def check(cls, config: Config) -> None:
        super().check(config)
        check_model(config, control=True)

    def __init__(self, config: Config, parts: Parts | None = None) -> None:
        super().__init__(config)
        self.net = Framewise(NafNet(NafConfig.from_dict(config.model.control, "model.control"))).train()
        self._perceptual = Perceptual(config.loss, parts.load_perceptual if parts else None)

    def source(self, validation: bool) -> Source:
        # Without latents any number of frames will do.
        return make_source(
            self.config.data,
            validation=validation,
            pixels=True,
            inputs=True,
            seed=self.config.run.seed,
            temporal_ratio=1,
        )

    def to(self, device: torch.device) -> None:
        self._perceptual.to(device)

    def loss(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        weights, clean, uniform = self.config.loss, batch["clean"], batch["uniform"]
        restored = net(batch["degraded"])
        switch = switch_of(uniform[:, 0], weights.face_probability)
        parts = {
            "error": switched_error(restored, clean, batch["pixel_mask"], switch, weights.normalisation),
            **self._perceptual(restored, clean, uniform[:, 1]),
            **pixel_parts(restored, clean, weights),
        }
        return weighted(parts, weights)

    @torch.no_grad()
    def show(self, batch: Batch) -> dict[str, Tensor]:
        degraded = batch["degraded"]
        return {"input": degraded, "output": self.net(degraded), "truth": batch["clean"], "mask": batch["pixel_mask"]}

    def save(self, folder: Path, net: Any, notes: dict[str, Any]) -> None:
        """A folder that ``training.evaluate --control`` takes."""
        save_nafnet(folder, net.net, {"training": {**published(self.config), **notes}})
