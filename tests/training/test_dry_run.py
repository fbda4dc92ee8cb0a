"""What a step takes is counted without values, and equals what it takes with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from training.config import load_config
from training.dry_run import LiveBytes, cost_of, main, make_batch, measure, shapes_of
from training.stages.registry import make_stage
from vividface_core.errors import InvalidOption
from vividface_core.wan.conditional_decoder import ConditionalDecoder, DecoderConfig, operations
from vividface_core.wan.optimizations.memory_estimate import tiny_encoder_bytes
from vividface_core.wan.tiny_encoder import EncoderConfig, TinyEncoder

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
SMALL = """
[run]
output = "unused"
precision = "no"
[model]
gradient_checkpointing = false
[model.vae]
base_dim = 8
z_dim = 8
dim_mult = [1, 2, 2]
num_res_blocks = 1
temperal_downsample = [true, true]
is_residual = true
in_channels = 12
out_channels = 12
patch_size = 2
scale_factor_temporal = 4
scale_factor_spatial = 8
[model.transformer]
patch_size = [1, 2, 2]
num_attention_heads = 2
attention_head_dim = 32
text_dim = 16
freq_dim = 32
ffn_dim = 64
num_layers = 2
[model.decoder]
widths = [8, 12, 16]
down_blocks = [1, 1, 1]
up_blocks = [1, 1, 1]
head = 8
[data]
path = "unused"
frames = 9
size = 64
[loss]
dists = 0.0
latent = 0.1
"""


def test_live_bytes_are_those_of_the_tensors_that_live():
    x = torch.ones(1000, 250)
    with LiveBytes() as live:
        y = x * 2
        assert live.now == live.peak == 1_000_000, "what was there before doesn't count"
        y.add_(1)
        y.view(250, 1000)
        assert live.now == 1_000_000, "neither do views and operations in place"
        z = y + 1
        del y, z
        assert live.now == 0 and live.peak == 2_000_000


@pytest.mark.parametrize("stage", ["pixel", "decoder"])
def test_a_step_without_values_takes_what_one_with_values_takes(stage, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(f'stage = "{stage}"\n' + SMALL)
    config = load_config(path)
    real = make_stage(config)
    wanted = cost_of(real, make_batch(config, real))
    found = measure(config, shapes_of(config.model, tmp_path))
    assert (found.parameters, found.trained, found.weights, found.batch) == (
        wanted.parameters,
        wanted.trained,
        wanted.weights,
        wanted.batch,
    )
    assert (found.forward, found.backward) == (wanted.forward, wanted.backward)
    assert found.step == pytest.approx(wanted.step, rel=0.03)


@pytest.fixture(scope="module")
def decoder_cost():
    config = load_config(CONFIGS / "vividface-1.3b-decoder.toml")
    return config, measure(config, shapes_of(config.model, CONFIGS))


def test_the_decoder_stage_at_its_true_shapes_fits_a_gpu_of_24(decoder_cost):
    config, cost = decoder_cost
    shape = DecoderConfig.from_dict({"latent_channels": 16, "temporal_ratio": 4, **config.model.decoder})
    with torch.device("meta"):
        assert cost.trained == sum(p.numel() for p in ConditionalDecoder(shape).parameters())
    assert cost.memory < 24 * 2**30
    # Wan's denoiser and decoder, 1419 and 127 M, in bf16, but for what must stay wide.
    assert 2 * (1419e6 + 127e6) < cost.weights - 4 * cost.trained < 1.1 * 2 * (1419e6 + 127e6)
    # Known of 13 frames of 512×512: the denoiser 13.9 TFLOP, the teacher's decoder 29.5. VGG16's convolutions take
    # 15.35 GMAC for 224×224; four frames of two pairs pass it.
    perceptual = 4 * 4 * 2 * 15.35e9 * (512 / 224) ** 2
    assert cost.forward == pytest.approx(13.9e12 + 29.5e12 + operations(shape, 13, 512, 512) + perceptual, rel=0.01)
    assert cost.backward > 1.9 * operations(shape, 13, 512, 512)


@pytest.mark.parametrize("name", [pytest.param("decoder-joint", marks=pytest.mark.slow), "encoder"])
def test_the_stages_after_it_have_the_shapes_that_it_trains(name, capsys):
    config = load_config(CONFIGS / f"vividface-1.3b-{name}.toml")
    shapes = shapes_of(config.model, CONFIGS)
    assert shapes.decoder == load_config(CONFIGS / "vividface-1.3b-decoder.toml").model.decoder
    assert shapes.transformer["num_layers"] == 30
    assert main([str(CONFIGS / f"vividface-1.3b-{name}.toml")]) == 0
    assert "fits into 24 GiB" in capsys.readouterr().out


@torch.no_grad()
def test_a_restorers_estimate_holds_what_the_tiny_encoder_takes():
    config = load_config(CONFIGS / "vividface-1.3b-encoder.toml").model.encoder
    config = EncoderConfig.from_dict({"latent_channels": 16, "temporal_ratio": 4, **config})
    with FakeTensorMode():
        encoder, memory = TinyEncoder(config), {}
        encoder(torch.rand(1, 3, 1, 512, 512), memory)
        with LiveBytes() as live:
            frames = torch.rand(1, 3, 8, 512, 512)
            encoder(frames, memory)
    wanted = tiny_encoder_bytes(config, 8, 512, 512, 4)
    assert 0.5 * wanted < live.peak < wanted


def test_what_does_not_fit_is_told(tmp_path, capsys):
    path = tmp_path / "config.toml"
    path.write_text('stage = "pixel"\n' + SMALL)
    assert main([str(path), "--memory", "1"]) == 1
    assert "does NOT fit into 1 GiB" in capsys.readouterr().out
    assert main([str(path), "--memory", "4"]) == 0


def test_a_base_of_unknown_shapes_is_told(tmp_path):
    config = load_config(CONFIGS / "vividface-1.3b-decoder.toml", ("model.base=runs/elsewhere/model",))
    with pytest.raises(InvalidOption, match="its shapes aren't known"):
        shapes_of(config.model, tmp_path)


def test_stages_of_other_systems_are_refused_in_words(capsys):
    assert main([str(CONFIGS / "bfvr-stc-stage1.toml")]) == 1
    assert "no shapes of bfvr_stc" in capsys.readouterr().err
