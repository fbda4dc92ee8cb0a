"""BFVR-STC's stage II: the codes of the sharp clip, as frozen stage I has them, are predicted from the degraded one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.config import Config, published
from training.data.batches import Source
from training.data.degraded_pixels import make_clips
from training.losses.codebook import lookup_loss
from training.stages.base import Batch, Stage
from training.stages.codebook import seeded
from training.stages.codebook_config import LookupLoss, LookupModel
from training.stages.codebook_usage import BothUsages, batch_figures, usage_figures
from vividface_core.bfvr_stc import CodeFormer3D, Prediction, VQAutoEncoder3D, checkpoint
from vividface_core.errors import InvalidOption


class Predicting(nn.Module):
    """The network up to the codes' scores: gradients are shared between processes when it is called."""

    def __init__(self, net: CodeFormer3D) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Prediction:
        """``[B, 3, T, H, W]``, 0…1."""
        return self.net.predict(x)


class LookupStage(Stage):
    """10·mean‖q − z‖² + w·(CE of the spatial codes + CE of the temporal codes); encoder and transformers learn."""

    model_section = LookupModel
    loss_section = LookupLoss

    def __init__(self, config: Config, parts: Any = None) -> None:
        super().__init__(config)
        found, _ = checkpoint.load(config.model.autoencoder, dtype=torch.float32)
        if isinstance(found, CodeFormer3D):
            raise InvalidOption(f"model.autoencoder {config.model.autoencoder} is stage II; stage I is needed.")
        # Only what the targets are made of.
        self._teacher = [nn.ModuleDict({"encoder": found.encoder, "quantize": found.quantize}).requires_grad_(False)]
        self.net = Predicting(_network(config.model, found, config.run.seed).train())
        self._usage = BothUsages(found.config["codebook_size"])

    def source(self, validation: bool) -> Source:
        return make_clips(self.config.data, validation=validation, seed=self.config.run.seed)

    def to(self, device: torch.device) -> None:
        self._teacher[0].to(device)

    def loss(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        weights = self.config.loss
        clean, degraded = ((batch[name] + 1) / 2 for name in ("clean", "degraded"))
        with torch.no_grad():
            teacher = self._teacher[0]
            target = teacher["quantize"](teacher["encoder"](clean))
        made = net(degraded)
        codes = (target.indices_s, target.indices_t)
        parts = lookup_loss(made.z, (made.logits_s, made.logits_t), target.z_q, codes, weights.feature, weights.codes)
        return {**parts, **batch_figures(*codes, made.logits_s.shape[-1])}

    @torch.no_grad()
    def show(self, batch: Batch) -> dict[str, Tensor]:
        degraded = batch["degraded"]
        net: Any = self.net
        made = net.net((degraded + 1) / 2)
        self._usage.update(made.indices_s, made.indices_t)
        return {"input": degraded, "output": 2 * made.out - 1, "truth": batch["clean"], "mask": batch["pixel_mask"]}

    def counts(self) -> dict[str, Tensor]:
        return self._usage.take()

    def figures(self, counts: dict[str, Tensor]) -> dict[str, float]:
        return usage_figures(counts)

    def save(self, folder: Path, net: Any, notes: dict[str, Any]) -> None:
        """A checkpoint that the restorer loads."""
        model = self.config.model
        checkpoint.save(
            folder,
            net.net,
            kind=model.kind,
            native_size=model.native_size,
            native_frames=model.native_frames,
            meta={"training": {**published(self.config), **notes}},
            dtype=torch.float32,
        )


def _network(model: LookupModel, autoencoder: VQAutoEncoder3D, seed: int) -> CodeFormer3D:
    """Stage II's network on top of stage I, which is frozen but for the encoder.

    Raises:
        InvalidOption: arguments that don't go together, or a base of other ones.
    """
    try:
        with seeded(seed):
            net = CodeFormer3D(**{**autoencoder.config, **model.network})
    except TypeError as error:
        raise InvalidOption(f"model.network: {error}") from error
    net.start_from(autoencoder)
    if model.base is not None:
        found, _ = checkpoint.load(model.base, dtype=torch.float32)
        try:
            # As published: what learns is taken over, stage I's frozen parts stay those of its checkpoint.
            learned = {name: found.state_dict()[name] for name, value in net.named_parameters() if value.requires_grad}
            net.load_state_dict(learned, strict=False)
        except (KeyError, RuntimeError) as error:
            raise InvalidOption(
                f"model.base {model.base} has other arguments than model.network: {found.config}."
            ) from error
    return net
