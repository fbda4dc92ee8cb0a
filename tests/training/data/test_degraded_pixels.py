"""Clips of prepared shards for stages without latents: what a sample is, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.config import Data
from training.data.degraded_pixels import DegradedPixels, make_clips
from training.data.random_clips import relit
from training.data.shards import ShardWriter
from vividface_core.errors import UnsupportedCheckpoint


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Three clips of twelve frames, each of which is as bright as its number says."""
    folder = tmp_path_factory.mktemp("shards")
    levels = torch.arange(12, dtype=torch.uint8) * 10 + 20
    with ShardWriter(folder, {"clips": {"frames": 12}, "pixels": True}) as writer:
        for key in ("a", "b", "c"):
            pixels = levels[None, :, None, None].expand(3, 12, 32, 32).contiguous()
            writer.add(key, {"pixels": pixels, "pixel_mask": torch.ones(1, 12, 32, 32, dtype=torch.uint8)})
    return folder


def source(shards, **values):
    values = {"path": shards, "validation": shards, "frames": 4, "size": 16, "workers": 0, **values}
    return make_clips(Data(**values), validation=False, seed=0)


def brightness(clip):
    return ((clip.mean((0, 2, 3)) + 1) * 127.5).round()


def test_a_sample_is_consecutive_frames_from_a_random_place(shards):
    made = [source(shards, degradation="brightness_flicker").sample(n, np.random.default_rng(n)) for n in range(8)]
    assert {tuple(sample["clean"].shape) for sample in made} == {(3, 4, 16, 16)}
    clean = torch.stack([brightness(sample["clean"]) for sample in made])
    assert torch.equal(clean.diff(dim=1), torch.full((8, 3), 10.0)) and len(set(clean[:, 0].tolist())) > 2
    assert made[0]["pixel_mask"].shape == (1, 4, 16, 16)


def test_brightness_flicker_is_its_recipe(shards):
    flicker = source(shards, degradation="brightness_flicker", frames=12)
    ratios = torch.cat(
        [
            brightness(sample["degraded"]) / brightness(sample["clean"])
            for sample in (flicker.sample(n, np.random.default_rng(n)) for n in range(40))
        ]
    )
    touched = (ratios - 1).abs() > 0.02
    # 480 frames; those whose factor is within 0.02 of 1 aren't told apart.
    assert float(touched.float().mean()) == pytest.approx(0.3 * 0.96, abs=0.06)
    assert 0.48 < ratios.min() < 0.56 and 1.44 < ratios.max() < 1.52


def test_values_of_the_preset_can_be_changed(shards):
    steady = source(shards, degradation="brightness_flicker", degradation_values={"probability": 0.0})
    sample = steady.sample(0, np.random.default_rng(0))
    assert torch.equal(sample["clean"], sample["degraded"])
    with pytest.raises(ValueError, match="degradation: .*nonsense"):
        Data(path=shards, degradation="bfvr_stc", degradation_values={"nonsense": 1})
    with pytest.raises(ValueError, match="degradation: .*nothing"):
        Data(path=shards, degradation="nothing")


def test_light_that_is_switched_stays(shards):
    clip = torch.full((24, 3, 2, 2), 0.5)
    assert relit(clip, 0.0, np.random.default_rng(0)) is clip
    for seed in range(20):
        light = relit(clip, 1.0, np.random.default_rng(seed)).mean((1, 2, 3))
        steps = light.diff()
        assert (steps <= 1e-6).all() or (steps >= -1e-6).all()
        assert light.max() <= 0.5 + 1e-6 and light.min() >= 0.5 * 0.35 - 1e-6


def test_what_is_missing_is_said(shards, tmp_path):
    with pytest.raises(UnsupportedCheckpoint, match="12 frames; data.frames is 13"):
        source(shards, frames=13)
    with ShardWriter(tmp_path, {"clips": {"frames": 5}}) as writer:
        writer.add("a", {"high": torch.zeros(1)})
    with pytest.raises(UnsupportedCheckpoint, match="--pixels"):
        DegradedPixels(Data(path=tmp_path, validation=tmp_path), validation=False, seed=0)
