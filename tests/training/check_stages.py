"""What a stage computes on a device; run by ``tests/core/test_other_device.py``."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.other_device import DEVICE, other_device
from training.config import load_config
from training.stages.registry import make_stage

CONFIG = """
stage = "{stage}"
[run]
output = "unused"
[model]
base = "vividface-nano"
train_vae = "{trained}"
gradient_checkpointing = {checkpointing}
[data]
kind = "clips"
path = "{data}"
frames = 5
size = 64
"""
DECODER = "[model.decoder]\nwidths = [8, 12, 16]\ndown_blocks = [2, 2, 2]\nup_blocks = [2, 2, 2]\nhead = 8\n"
ENCODER = "[model.encoder]\nwidths = [8, 12, 16]\nblocks = [3, 3, 3]\nlatent_width = 16\nlatent_blocks = 3\n"
CONTROL = "[model.control]\nwidth = 8\nencoder = [2, 1]\nmiddle = 1\ndecoder = [1, 1]\n"
TAUGHT = "[loss]\nteacher = 1.0\n"


def gradients(config, batch: dict[str, Tensor], device: torch.device) -> tuple[float, list[Tensor]]:
    """The loss, and the gradient of each trained parameter."""
    torch.manual_seed(0)
    stage = make_stage(config)
    stage.net.to(device)
    stage.to(device)
    loss = stage.loss(stage.net, {name: value.to(device) for name, value in batch.items()})["loss"]
    loss.backward()
    found = [parameter.grad.cpu() for parameter in stage.net.parameters() if parameter.grad is not None]
    return float(loss.detach()), found


@pytest.mark.parametrize(
    "stage, trained, checkpointing, tables",
    [
        ("latent", "none", "false", ""),
        ("latent", "none", "true", ""),
        ("pixel", "none", "true", ""),
        ("pixel", "all", "false", ""),
        ("autoencoder", "none", "false", ""),
        ("decoder", "none", "false", DECODER + TAUGHT),
        ("pixel", "none", "false", DECODER),
        ("encoder", "none", "false", ENCODER),
        ("control", "none", "false", CONTROL),
    ],
)
def test_losses_and_gradients_on_a_device(stage, trained, checkpointing, tables, material, tmp_path):
    path = tmp_path / "config.toml"
    text = CONFIG.format(stage=stage, trained=trained, checkpointing=checkpointing, data=material)
    path.write_text(text + tables)
    config = load_config(path)
    random = torch.Generator().manual_seed(1)
    batch = {name: torch.rand(1, 3, 5, 64, 64, generator=random) * 2 - 1 for name in ("clean", "degraded")}
    mask = torch.rand(1, 1, 5, 64, 64, generator=random) > 0.5
    batch |= {"pixel_mask": mask.to(torch.uint8), "uniform": torch.rand(1, 4, generator=random)}
    wanted_loss, wanted = gradients(config, batch, torch.device("cpu"))
    with other_device():
        loss, found = gradients(config, batch, DEVICE)
    assert loss == pytest.approx(wanted_loss, rel=1e-5) and len(found) == len(wanted) > 50
    whole = float(torch.stack([part.norm() for part in wanted]).norm())
    for one, other in zip(found, wanted):
        # As a whole: rounding turns a few signs and maxima over, and single values with them.
        assert float((one - other).norm()) <= 1e-2 * float(other.norm()) + 1e-3 * whole
