"""What VividFace is trained on: the switched face-focused losses (Eq. 6–8).

Latent and pixel loss have one form,

    L(ŷ, y, M) = b · ‖M ⊙ (ŷ − y)‖² + (1 − b) · ‖ŷ − y‖²,   b ~ Bernoulli(p),

with the face mask M on the latent grid (:func:`training.masks.latent_mask`) or on the pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

FACE_PROBABILITY = 0.5
"""p of Eq. 6, the best value of the paper's ablation."""
DISTS_WEIGHT = 0.1
"""λ of Eq. 8."""

Normalisation = Literal["literal", "mask"]


def draw_switch(
    samples: int, probability: float = FACE_PROBABILITY, generator: torch.Generator | None = None
) -> Tensor:
    """b of Eq. 6 for each sample: ``[samples]`` bool on the CPU; True: only the face counts.

    Raises:
        ValueError: ``probability`` isn't in 0…1.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"p is {probability}; a probability lies in 0…1")
    return torch.rand(samples, generator=generator) < probability


def switched_error(
    output: Tensor, target: Tensor, mask: Tensor, switch: Tensor, normalisation: Normalisation = "literal"
) -> Tensor:
    """Eq. 6: the mean squared error of each sample, of its face alone where ``switch`` is set; mean over the batch.

    Args:
        output, target: ``[B, C, T, H, W]``.
        mask: ``[B, 1, T, H, W]``, 1 = face.
        switch: ``[B]`` bool.
        normalisation: ``literal``: a mean over all elements, as the equation stands, so that a small face weighs
            little; ``mask``: over the masked elements alone.

    Returns:
        A scalar in float32.
    """
    error = (output.float() - target.float()).square()
    mask = mask.to(error)
    whole = error.flatten(1).mean(1)
    face = (mask.square() * error).flatten(1).mean(1)
    if normalisation == "mask":
        # A sample without a face has nothing to normalise by; its loss is 0 either way.
        face = face / mask.flatten(1).mean(1).clamp_min(1e-6)
    return torch.where(switch.to(error.device), face, whole).mean()


@dataclass(frozen=True)
class FaceFocusedLoss:
    """Both stages' losses.

    Attributes:
        probability: p of Eq. 6.
        normalisation: see :func:`switched_error`.
        perceptual: DISTS or another distance of pictures ``[N, 3, H, W]`` in 0…1 to ``[N]``; ``None`` leaves the
            second term of Eq. 8 away.
        perceptual_weight: λ of Eq. 8.
    """

    probability: float = FACE_PROBABILITY
    normalisation: Normalisation = "literal"
    perceptual: Callable[[Tensor, Tensor], Tensor] | None = None
    perceptual_weight: float = DISTS_WEIGHT

    def latent(
        self, restored: Tensor, clean: Tensor, mask: Tensor, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Eq. 7 on latents ``[B, C, T', h, w]`` with the latent mask. Returns ``loss`` and its parts."""
        switch = draw_switch(len(clean), self.probability, generator)
        return {"loss": switched_error(restored, clean, mask, switch, self.normalisation)}

    def pixel(
        self, restored: Tensor, clean: Tensor, mask: Tensor, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Eq. 8 on clips ``[B, 3, T, H, W]``, −1…1, with the pixel mask. Returns ``loss`` and its parts."""
        switch = draw_switch(len(clean), self.probability, generator)
        parts = {"error": switched_error(restored, clean, mask, switch, self.normalisation)}
        loss = parts["error"]
        if self.perceptual is not None and self.perceptual_weight:
            pictures = [(x.float().transpose(1, 2).flatten(0, 1) + 1) / 2 for x in (restored, clean)]
            parts["perceptual"] = self.perceptual(*pictures).mean()
            loss = loss + self.perceptual_weight * parts["perceptual"]
        return {"loss": loss, **parts}
