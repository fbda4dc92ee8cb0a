"""What VividFace is trained on: the switched face-focused losses (Eq. 6–8).

Latent and pixel loss have one form,

    L(ŷ, y, M) = b · ‖M ⊙ (ŷ − y)‖² + (1 − b) · ‖ŷ − y‖²,   b ~ Bernoulli(p),

with the face mask M on the latent grid (:func:`vividface_core.faces.masks.latent_mask`) or on the pixels.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Normalisation = Literal["literal", "mask"]


def switch_of(uniform: Tensor, probability: float) -> Tensor:
    """b of Eq. 6 for each sample from its draw ``uniform`` in 0…1: bool; True: only the face counts.

    Raises:
        ValueError: ``probability`` isn't in 0…1.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"p is {probability}; a probability lies in 0…1")
    return uniform < probability


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


def absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """L1, a mean over all elements, fp32."""
    return (output.float() - target.float()).abs().mean()


def edge_error(output: Tensor, target: Tensor) -> Tensor:
    """L1 between the differences of neighbouring pixels, the mean of both directions of ``[…, H, W]``."""
    output, target = output.float(), target.float()
    across, down = (absolute_error(output.diff(dim=axis), target.diff(dim=axis)) for axis in (-1, -2))
    return (across + down) / 2


PSNR_FLOOR = 2.5e-4
"""ε of :func:`psnr_error`: the squared error, of values in −1…1, at 42 dB. Below it there is little to gain."""


def psnr_error(output: Tensor, target: Tensor) -> Tensor:
    """10·log10(1 + MSE/ε), dB, of each sample ``[B, …]``, mean over the batch, fp32.

    A decibel counts the same in a sample that is nearly clean as in one that is badly degraded; by the squared error
    itself the worst samples of a batch are nearly all of it.
    """
    error = (output.float() - target.float()).square().flatten(1).mean(1)
    return 10 * (1 + error / PSNR_FLOOR).log10().mean()


def motion_error(output: Tensor, target: Tensor) -> Tensor:
    """L1 between the differences of neighbouring frames of ``[B, C, T, H, W]``; 0 for a single frame."""
    output, target = output.float(), target.float()
    if output.shape[2] < 2:
        return output.new_zeros(())
    return absolute_error(output.diff(dim=2), target.diff(dim=2))


def gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of N(mean, exp(log_variance)) from N(0, 1), nats an element."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
