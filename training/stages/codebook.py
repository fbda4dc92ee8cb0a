"""BFVR-STC's stage I: the 3D-VQGAN learns to reproduce sharp clips through its two codebooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from training.config import Config, Loss, published
from training.data.batches import Source
from training.data.degraded_pixels import make_clips
from training.losses.codebook import codebook_loss, marginal_prior, released_prior, residual_share
from training.losses.frozen_backbone_discriminator import FrozenBackboneDiscriminator, load_backbone
from training.losses.perceptual import Perceptual, sample_frames
from training.stages.base import MAIN, Batch, Groups, Stage
from training.stages.codebook_config import AutoencoderLoss, AutoencoderModel
from training.stages.codebook_restart import UnusedCodes
from training.stages.codebook_start import start_codebooks
from training.stages.codebook_usage import BothUsages, batch_figures, usage_figures
from vividface_core.bfvr_stc import CodeFormer3D, VQAutoEncoder3D, checkpoint
from vividface_core.bfvr_stc.autoencoder import Reconstruction
from vividface_core.bfvr_stc.quantizer import rows_of
from vividface_core.errors import InvalidOption

CRITIC = "critic"
START_CLIPS = 96
"""Clips whose latents the codebooks start from."""


class Reproduced(NamedTuple):
    """Attributes:
    out: ``[B, 3, T, H, W]``, 0…1.
    codebook, prior: losses; 0 where nothing is quantized.
    residual: see :func:`training.losses.codebook.residual_share`; 0 without its weight.
    indices_s, indices_t: codes ``[B·t, h·w]``.
    """

    out: Tensor
    codebook: Tensor
    prior: Tensor
    residual: Tensor
    indices_s: Tensor
    indices_t: Tensor


class Quantizing(nn.Module):
    """The network with the losses of its codebooks: gradients are shared between processes when it is called."""

    def __init__(self, net: VQAutoEncoder3D, loss: AutoencoderLoss, quantized: bool, restart_after: int = 0) -> None:
        super().__init__()
        self.net, self._loss, self._quantized = net, loss, quantized
        self.unused = UnusedCodes(net.quantize, restart_after) if restart_after else None
        net.requires_grad_(True)
        # Without these terms nothing of them has a gradient.
        net.quantize.requires_grad_(quantized)
        net.quantize.SA.requires_grad_(quantized and (loss.prior > 0 or loss.branch_codebook > 0))
        if hasattr(net.quantize, "local"):
            net.quantize.local.requires_grad_(quantized and (loss.prior > 0 or loss.branch_codebook > 0))

    def forward(self, x: Tensor) -> Reproduced:
        """``[B, 3, T, H, W]``, 0…1."""
        net = self.net
        if not self._quantized:
            z = net.encode(x)
            with torch.no_grad():
                quantized = net.quantize(z)
            zero = z.new_zeros(())
            residual = self._residual(z)
            return Reproduced(net.generator(z), zero, zero, residual, quantized.indices_s, quantized.indices_t)
        unused = self.unused if torch.is_grad_enabled() else None
        if unused is not None:
            unused.restart(net.quantize)
        made = net(x)
        asked = net.quantize.spatial_input(made.z)
        if unused is not None:
            unused.note(asked, made.z_t, made.indices_s, made.indices_t)
        codes = codebook_loss(made.z, made.z_q, self._loss.codebook_weight) + self._branches(made, asked)
        prior = self._prior(asked, made.z_t)
        return Reproduced(made.out, codes, prior, self._residual(made.z), made.indices_s, made.indices_t)

    def _branches(self, made: Reconstruction, asked_s: Tensor) -> Tensor | float:
        """The codebook loss of what each branch makes of the latent and its own entry."""
        if not self._loss.branch_codebook:
            return 0.0
        quantize, weight = self.net.quantize, self._loss.codebook_weight
        pairs = [(made.z_t, quantize.embedding_t(made.indices_t))]
        if hasattr(quantize, "local"):
            pairs.append((asked_s, quantize.embedding_s(made.indices_s)))
        losses = [codebook_loss(rows_of(asked), given.flatten(0, 1), weight) for asked, given in pairs]
        return self._loss.branch_codebook * torch.stack(losses).sum()

    def _residual(self, z: Tensor) -> Tensor:
        return residual_share(z) if self._loss.residual else z.new_zeros(())

    def _prior(self, asked_s: Tensor, z_t: Tensor) -> Tensor:
        if not self._loss.prior:
            return z_t.new_zeros(())
        quantize, pairs = self.net.quantize, []
        for source, embedding in ((asked_s, quantize.embedding_s), (z_t, quantize.embedding_t)):
            if self._loss.prior_form == "released":
                pairs.append(released_prior(source, embedding.weight))
            else:
                pairs.append(marginal_prior(source, embedding.weight, self._loss.prior_sharpness))
        return pairs[0] + pairs[1]


class Critic(nn.Module):
    """The discriminator with its own loss, called as a whole for the same reason."""

    def __init__(self, net: FrozenBackboneDiscriminator) -> None:
        super().__init__()
        self.net = net

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """Hinge loss on frames ``[N, 3, H, W]``, 0…1."""
        return self.net.discriminator_loss(real, fake)


class CodebookStage(Stage):
    """L1, LPIPS, codebook loss, marginal prior, and a hinge discriminator on frozen features, in turns.

    The discriminator learns from the generator's outputs of the same step, as they were before the step.
    """

    model_section = AutoencoderModel
    loss_section = AutoencoderLoss

    @classmethod
    def check(cls, config: Config) -> None:
        super().check(config)
        model: AutoencoderModel = config.model
        if model.codebooks != "uniform" and model.base is None:
            raise ValueError(f"model.codebooks {model.codebooks!r} needs a model.base")
        if config.loss.adversarial and config.run.compile:
            raise ValueError("run.compile and a discriminator don't go together in this stage")

    def __init__(self, config: Config, parts: Any = None) -> None:
        super().__init__(config)
        loss, model = config.loss, config.model
        net = _network(model, config.run.seed)
        self._net = net
        self.net = Quantizing(net.train(), loss, model.quantized, model.restart_codes)
        if model.codebooks == "latents":
            start_codebooks(net, self._clean_clips(), config.run.seed)
        self._perceptual = Perceptual(Loss(dists=0, lpips=loss.lpips, perceptual_frames=loss.perceptual_frames))
        self._critic = _critic(loss, config.run.seed) if loss.adversarial else None
        self._criticised, self._made = False, list[tuple[Tensor, Tensor]]()
        self._codes = net.config["codebook_size"]
        self._usage = BothUsages(self._codes)

    @property
    def nets(self) -> dict[str, nn.Module]:
        return {MAIN: self.net} if self._critic is None else {MAIN: self.net, CRITIC: self._critic}

    def groups(self) -> Groups:
        """The codebooks learn at a rate of their own."""
        quantize = self._net.quantize
        codebooks = [
            parameter for table in (quantize.embedding_s, quantize.embedding_t) for parameter in table.parameters()
        ]
        apart = {id(weight) for weight in codebooks}
        rest = [p for p in self.net.parameters() if p.requires_grad and id(p) not in apart]
        learning = [weight for weight in codebooks if weight.requires_grad]
        return [(rest, 1.0), *([(learning, self.config.model.codebook_lr_scale)] if learning else [])]

    def optimizers(self) -> dict[str, Groups]:
        critic = {} if self._critic is None else {CRITIC: [(list(self._critic.parameters()), 1.0)]}
        return {MAIN: self.groups(), **critic}

    def source(self, validation: bool) -> Source:
        return make_clips(self.config.data, validation=validation, seed=self.config.run.seed, degrade=False)

    def to(self, device: torch.device) -> None:
        self._perceptual.to(device)

    def begin_step(self, step: int) -> None:
        self._criticised = self._critic is not None and step >= self.config.loss.adversarial_from
        self._made.clear()

    def loss(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return self.turn_loss(MAIN, {**self.nets, MAIN: net}, batch)

    def turn_loss(self, turn: str, nets: dict[str, nn.Module], batch: Batch) -> dict[str, Tensor]:
        return self._generator_loss(nets, batch) if turn == MAIN else self._critic_loss(nets[CRITIC])

    def _generator_loss(self, nets: dict[str, nn.Module], batch: Batch) -> dict[str, Tensor]:
        weights, clean, uniform = self.config.loss, batch["clean"], batch["uniform"]
        truth = (clean + 1) / 2
        made = nets[MAIN](truth)
        parts = {
            "absolute": (made.out - truth).abs().mean(),
            "squared": (made.out - truth).square().mean(),
            **self._perceptual(2 * made.out - 1, clean, uniform[:, 1]),
            "codebook": made.codebook,
            "prior": made.prior,
            "residual": made.residual,
        }
        if self._criticised:
            frames = [sample_frames(2 * x - 1, weights.perceptual_frames, uniform[:, 2]) for x in (truth, made.out)]
            critic: Any = nets[CRITIC]
            parts["adversarial"] = critic.net.generator_loss(frames[1])
            self._made.append((frames[0], frames[1].detach()))
        loss = sum(getattr(weights, name) * value for name, value in parts.items())
        return {"loss": loss, **parts, **batch_figures(made.indices_s, made.indices_t, self._codes)}

    def _critic_loss(self, critic: nn.Module) -> dict[str, Tensor]:
        if not self._criticised:
            nothing: Any = 0 * sum(parameter.sum() for parameter in critic.parameters())
            return {"loss": nothing}
        return {"loss": critic(*self._made.pop(0))}

    @torch.no_grad()
    def show(self, batch: Batch) -> dict[str, Tensor]:
        clean = batch["clean"]
        made = self.net((clean + 1) / 2)
        self._usage.update(made.indices_s, made.indices_t)
        return {"input": clean, "output": 2 * made.out - 1, "truth": clean, "mask": torch.ones_like(clean[:, :1])}

    def counts(self) -> dict[str, Tensor]:
        return self._usage.take()

    def figures(self, counts: dict[str, Tensor]) -> dict[str, float]:
        return usage_figures(counts)

    def save(self, folder: Path, net: Any, notes: dict[str, Any]) -> None:
        """A checkpoint of kind ``autoencoder``."""
        model = self.config.model
        checkpoint.save(
            folder,
            net.net,
            native_size=model.native_size,
            native_frames=model.native_frames,
            meta={"training": {**published(self.config), **notes}},
            dtype=torch.float32,
        )

    def _clean_clips(self) -> Iterator[Tensor]:
        source = self.source(validation=False)
        for number in range(START_CLIPS):
            sample = source.sample(number, np.random.default_rng((11, self.config.run.seed, number)))
            yield (sample["clean"][None] + 1) / 2


def _network(model: AutoencoderModel, seed: int) -> VQAutoEncoder3D:
    """Stage I's network in fp32, at random or out of ``model.base``.

    Raises:
        InvalidOption: the base is no stage I, or of another shape than ``model.network`` says.
    """
    with seeded(seed):
        net = VQAutoEncoder3D(**model.network)
    if model.base is None:
        return net
    found, _ = checkpoint.load(model.base, dtype=torch.float32)
    if isinstance(found, CodeFormer3D):
        raise InvalidOption(f"model.base {model.base} is stage II; stage I goes on from a stage I.")
    own = () if model.codebooks == "base" else ("quantize.embedding_", "quantize.fuse.")
    state = {name: value for name, value in net.state_dict().items() if name.startswith(own)}
    try:
        net.load_state_dict({**found.state_dict(), **state})
    except RuntimeError as error:
        raise InvalidOption(
            f"model.base {model.base} has other arguments than model.network: {found.config}."
        ) from error
    return net


def _critic(loss: AutoencoderLoss, seed: int) -> Critic:
    backbone, features = load_backbone(loss.backbone)
    with seeded(seed):
        return Critic(
            FrozenBackboneDiscriminator(
                backbone,
                features,
                size=loss.backbone_size or None,
                resize=loss.backbone_resize,
                normalize=loss.backbone_normalize,
            )
        )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random first weights that are the same in every run of a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
