"""Tables ``model`` and ``loss`` of BFVR-STC's two stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from training.config import Section
from training.losses.frozen_backbone_discriminator import Resize


class AutoencoderModel(Section):
    """What stage I trains.

    Attributes:
        network: arguments of :class:`~vividface_core.bfvr_stc.VQAutoEncoder3D`.
        base: a checkpoint of stage I to go on from, with the arguments of ``network``; empty: random first weights.
        quantized: ``false``: the latent is decoded as it is, which is no stage of the paper: a small network that
            learns to see first and to quantize then needs a fraction of the steps.
        codebooks: how they start: ``uniform``, U(±1/codes), as released; ``latents``: at the centres of clusters of
            the latents that ``base`` makes of the training clips; ``base``: as ``base`` has them.
        codebook_lr_scale: the codebooks' learning rate over ``optimizer.lr``. A network that was trained without them
            has latents of several units, across which a rate for weights takes thousands of steps.
        restart_codes: after so many batches, codes that none of them used are moved onto latents of the last one
            (:class:`training.stages.codebook_restart.UnusedCodes`); 0: never, as published.
        native_size, native_frames: written into the checkpoint: what it is to be used at.
    """

    network: dict[str, Any] = {}
    base: Path | None = None
    quantized: bool = True
    codebooks: Literal["uniform", "latents", "base"] = "uniform"
    codebook_lr_scale: float = Field(1.0, gt=0)
    restart_codes: int = Field(0, ge=0)
    native_size: int = Field(256, ge=8)
    native_frames: int = Field(24, ge=2)


class LookupModel(Section):
    """What stage II trains.

    Attributes:
        autoencoder: the checkpoint of stage I; empty: that is in ``base``.
        network: arguments of :class:`~vividface_core.bfvr_stc.CodeFormer3D` beside stage I's.
        base: a checkpoint of stage II to go on from, as ``network`` describes it; empty: the transformers' weights are
            random, positions are zero.
        kind: of the checkpoint: ``restore``, ``deflicker_brightness`` or ``deflicker_pixel``.
        native_size, native_frames: written into the checkpoint: what it is to be used at.
    """

    autoencoder: Path
    network: dict[str, Any] = {}
    base: Path | None = None
    kind: Literal["restore", "deflicker_brightness", "deflicker_pixel"] = "restore"
    native_size: int = Field(512, ge=8)
    native_frames: int = Field(24, ge=2)


class AutoencoderLoss(Section):
    """Weights of stage I's losses.

    Attributes:
        absolute, squared: L1 and squared error of pixels, 0…1. The paper has L1 alone; a squared error begins better.
        lpips: of LPIPS with VGG16. perceptual_frames: frames of a clip, drawn at random, that LPIPS and the
            discriminator see; 0: all.
        codebook: of the codebook loss on the sum of both entries; ``codebook_weight`` is β, at the codebooks' side.
        branch_codebook: of the same loss between what a branch makes of the latent (TA(z) + R(z); DVFace's convolution
            of z) and its own entry alone, as a part of the codebook loss. 0, as published, leaves these layers to the
            prior, which is satisfied where they grow without bounds: far from all codes their shares are equal.
        prior: of the marginal prior of both codebooks, KL(P ‖ uniform). 0: none, and then the temporal attention,
            which has no other gradient, stays as it starts. prior_form: ``paper``, or ``released``: as the released
            code computes it, next to no gradient (there with the weight 0.1).
        prior_sharpness: power of 1/d in P; 1 as published. See :func:`training.losses.codebook.soft_assignment`.
        residual: of what changes from one latent frame to the next (ours; see
            :func:`training.losses.codebook.residual_share`).
        adversarial: of −D(output); 0: no discriminator. adversarial_from: the step from which the discriminator
            learns and counts; published: 2,002 of 250,000, with the weight 0.4.
        backbone: of the discriminator, frozen: see
            :func:`training.losses.frozen_backbone_discriminator.load_backbone`.
        backbone_size, backbone_resize, backbone_normalize: how it is shown frames; the released code takes ``nearest``
            and ``false``.
    """

    absolute: float = Field(1.0, ge=0)
    squared: float = Field(0.0, ge=0)
    lpips: float = Field(1.0, ge=0)
    perceptual_frames: int = Field(0, ge=0)
    codebook: float = Field(1.0, ge=0)
    codebook_weight: float = Field(0.25, ge=0)
    branch_codebook: float = Field(0.0, ge=0)
    prior: float = Field(1.0, ge=0)
    prior_form: Literal["paper", "released"] = "paper"
    prior_sharpness: float = Field(1.0, gt=0)
    residual: float = Field(0.0, ge=0)
    adversarial: float = Field(0.4, ge=0)
    adversarial_from: int = Field(2002, ge=1)
    backbone: str = "dinov2_vits14"
    backbone_size: int = Field(224, ge=0)
    backbone_resize: Resize = "bilinear"
    backbone_normalize: bool = True


class LookupLoss(Section):
    """Weights of stage II's losses: the latent's squared error to the sharp clip's codes, and the codes' cross
    entropies (published: 1 for restoration, 0.5 for de-flickering)."""

    feature: float = Field(10.0, ge=0)
    codes: float = Field(1.0, ge=0)
