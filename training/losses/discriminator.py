"""A discriminator for autoencoders: small heads on the features of a frozen network.

Only the heads learn, so it neither overpowers a small autoencoder nor forgets. One backward pass trains both sides: the
gradient that goes on into the reconstruction is reversed, and weighed, on its way.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.assets import perceptual_weights
from vividface_core.metrics.networks.perceptual import VGG_STAGES, VggStages

STAGES = (1, 2, 3)
"""Of VGG's five: the first knows edges only, the last hardly what is sharp."""


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradient, None


class Discriminator(nn.Module):
    """Tells real pictures from reconstructed ones.

    Args:
        features: frozen; ``None``: VGG16's, from the package that carries them.
    """

    def __init__(self, features: VggStages | None = None) -> None:
        super().__init__()
        chosen: Any = features or perceptual_weights.load("lpips-vgg").features
        # Not a sub-module: its weights are neither trained nor saved.
        self._features = [chosen.requires_grad_(False).eval()]
        self.heads = nn.ModuleList(nn.Conv2d(VGG_STAGES[stage][-1], 1, 1) for stage in STAGES)

    def forward(self, real: Tensor, fake: Tensor, weight: float) -> Tensor:
        """Hinge loss of the heads on ``[N, 3, H, W]`` pictures, 0…1.

        Its gradient trains the heads to tell the two apart, and reaches ``fake`` reversed and times ``weight``.
        """
        scores = [self._scores(picture) for picture in (real, _Reverse.apply(fake, weight))]
        total: Any = sum(F.relu(1 - a).mean() + F.relu(1 + b).mean() for a, b in zip(*scores))
        return total / (2 * len(STAGES))

    def _scores(self, pictures: Tensor) -> list[Tensor]:
        (features,) = self._features
        features.to(pictures.device)
        maps = features(2 * pictures - 1)
        return [
            head(F.normalize(maps[stage], dim=1) * maps[stage].shape[1] ** 0.5)
            for stage, head in zip(STAGES, self.heads)
        ]
