"""The autoencoder stage: it learns, a discriminator pulls the right way, and what it saves the engine loads."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from training.losses.discriminator import Discriminator
from training.train import main as train
from training.trainer.log import read_curve
from vividface_core.metrics.networks.perceptual import SmoothPool, VggStages
from vividface_core.wan.loading import load_vae
from vividface_core.wan.vae import decode, encode

CONFIG = """
stage = "autoencoder"
[run]
output = "{output}"
precision = "no"
log_every = 1
validate_every = 8
validation_clips = 2
trackers = []
[model]
principal_start = {principal}
[model.vae]
base_dim = 24
decoder_base_dim = 24
z_dim = 12
dim_mult = [1]
num_res_blocks = 1
temperal_downsample = []
is_residual = false
in_channels = 48
out_channels = 48
patch_size = 4
scale_factor_temporal = 1
scale_factor_spatial = 4
[data]
kind = "clips"
path = "{data}"
frames = 5
size = 32
workers = 0
[loss]
dists = 0.0
lpips = {lpips}
adversarial = {adversarial}
perceptual_frames = 1
absolute = 1.0
edges = 0.5
[optimizer]
name = "{optimizer}"
lr = {rate}
global_batch_size = 2
micro_batch_size = 2
steps = 8
warmup = 2
ema = 0.5
"""


def write(folder, material, **values):
    path = folder / "config.toml"
    defaults = {"principal": "false", "lpips": 0.0, "adversarial": 0.0, "optimizer": "muon", "rate": 2e-3}
    path.write_text(CONFIG.format(output=folder / "run", data=material, **{**defaults, **values}))
    return str(path)


def test_a_new_autoencoder_learns_and_is_loaded_with_its_statistics(material, tmp_path):
    assert train([write(tmp_path, material)]) == 0
    curve = [entry["loss"] for entry in read_curve(tmp_path / "run" / "log.jsonl") if "loss" in entry]
    assert np.mean(curve[-3:]) < 0.8 * np.mean(curve[:3])
    vae = load_vae(tmp_path / "run" / "model" / "vae")
    config = json.loads((tmp_path / "run" / "model" / "vae" / "config.json").read_text())
    assert len(config["latents_mean"]) == 12 and min(config["latents_std"]) > 0 and config["latents_std"] != [1.0] * 12
    with torch.inference_mode():
        latents = encode(vae, torch.rand(1, 3, 5, 32, 32) * 2 - 1)
        assert latents.shape == (1, 12, 5, 8, 8) and decode(vae, latents).shape == (1, 3, 5, 32, 32)


def test_a_principal_start_begins_where_others_end(material, tmp_path):
    assert train([write(tmp_path, material, principal="true", optimizer="adamw", rate=1e-6)]) == 0
    figures = [entry for entry in read_curve(tmp_path / "run" / "log.jsonl") if "psnr" in entry]
    assert figures[-1]["psnr"] > 25


def test_perceptual_and_adversarial_terms_are_trained_along(material, tmp_path):
    assert train([write(tmp_path, material, lpips=0.1, adversarial=0.05)]) == 0
    entries = [entry for entry in read_curve(tmp_path / "run" / "log.jsonl") if "loss" in entry]
    assert all(0 < entry["critic"] < 3 and entry["lpips"] > 0 for entry in entries)
    state = load_file(next((tmp_path / "run" / "states").glob("*/model.safetensors")))
    assert any(name.startswith("critic.heads") for name in state) and not any("features" in name for name in state)


@pytest.fixture
def critic():
    torch.manual_seed(1)
    return Discriminator(VggStages(SmoothPool()))


def test_the_critic_learns_to_tell_and_its_gradient_is_reversed(critic):
    real = torch.nn.functional.interpolate(torch.rand(4, 3, 8, 8), (32, 32), mode="bilinear")
    fake = torch.rand(4, 3, 32, 32)
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = critic(real, fake, 0.0)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    plain, reversed_ = (fake.clone().requires_grad_() for _ in range(2))
    critic(real, plain, -1.0).backward()
    critic(real, reversed_, 0.25).backward()
    assert plain.grad.abs().max() > 0 and torch.allclose(reversed_.grad, -0.25 * plain.grad, atol=1e-7)
    # A step along the negative gradient makes the reconstruction look more real to the critic.
    moved = fake - 20 * reversed_.grad / reversed_.grad.norm()
    assert critic(real, moved, 0.0) > critic(real, fake, 0.0)
