"""The tiny encoder: causal streams, its arithmetic, and the restorer that uses it."""

from __future__ import annotations

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.tiny import LATENTS, tiny_modules
from vividface_core.errors import MissingWeights, UnsupportedCheckpoint
from vividface_core.restorers.one_step_save import save_checkpoint_folder
from vividface_core.wan.optimizations.memory_estimate import encoder_bytes, tiny_encoder_bytes
from vividface_core.wan.tiny_encoder import EncoderConfig, TinyEncoder, TinyStream, operations
from vividface_core.wan.vae import after_first
from vividface_core.weights import load_restorer

WAN = EncoderConfig(16, 4, (64, 128, 256), (2, 2, 2), 256, 2)
"""The shapes of training/configs/vividface-1.3b-encoder.toml."""
NANO = EncoderConfig(48, 1, (16, 32, 64), (1, 1, 1), 64, 1)
SMALL = EncoderConfig(LATENTS, 4, (8, 12, 16), (1, 1, 1), 16, 2)


def random_encoder(config: EncoderConfig, seed: int = 0) -> TinyEncoder:
    """No layer is zero, as after training."""
    torch.manual_seed(seed)
    encoder = TinyEncoder(config).eval()
    for parameter in encoder.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.7 * (parameter.numel() / len(parameter)) ** -0.5)
    return encoder


@torch.inference_mode()
@pytest.mark.parametrize("config", [NANO, SMALL, WAN], ids=["nano", "small", "1.3B"])
@pytest.mark.parametrize("chunk", [1, 2])
def test_a_stream_gives_the_whole_clip(config, chunk):
    encoder, ratio = random_encoder(config), config.temporal_ratio
    frames = torch.rand(2, 3, 1 + 3 * ratio, 32, 48) * 2 - 1
    whole, stream = encoder(frames), TinyStream(encoder)
    parts = torch.cat([stream.push(part) for part in after_first(frames, chunk * ratio)], 2)
    cells = 32 // config.spatial_ratio, 48 // config.spatial_ratio
    assert whole.shape == (2, config.latent_channels, 4, *cells) and whole.std() > 0.1
    assert (parts - whole).abs().max() < 1e-5


@torch.inference_mode()
def test_no_latent_sees_a_later_frame_and_each_sees_its_own():
    encoder = random_encoder(SMALL)
    frames = torch.rand(1, 3, 9, 32, 32) * 2 - 1
    before = encoder(frames)
    for changed in range(9):
        other = frames.clone()
        other[:, :, changed] += 0.5
        moved = (encoder(other) - before).abs().amax((0, 1, 3, 4)) > 1e-6
        own = (changed + 3) // 4
        assert moved[own] and not moved[:own].any()


def test_a_push_that_ends_within_a_latent_frame_is_refused():
    stream = TinyStream(TinyEncoder(SMALL))
    with pytest.raises(ValueError, match="plus one at the start"):
        stream.push(torch.zeros(1, 3, 4, 32, 32))
    stream.push(torch.zeros(1, 3, 5, 32, 32))
    with pytest.raises(ValueError, match="a multiple of 4"):
        stream.push(torch.zeros(1, 3, 5, 32, 32))


@torch.inference_mode()
@pytest.mark.parametrize("config", [NANO, WAN], ids=["nano", "1.3B"])
def test_operations_are_those_that_torch_counts(config):
    encoder, frames = TinyEncoder(config), 1 + 2 * config.temporal_ratio
    with FlopCounterMode(display=False) as counter:
        encoder(torch.zeros(1, 3, frames, 64, 64))
    assert counter.get_total_flops() == pytest.approx(operations(config, frames, 64, 64), rel=0.02)


def test_the_large_one_takes_a_sixteenth_of_wans_own():
    """Beside 107.2 TFLOP of Wan's own encoder, for 81 frames of 512×512."""
    assert operations(WAN, 81, 512, 512) < 107.2e12 / 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    vae, transformer = tiny_modules()
    path = tmp_path_factory.mktemp("models") / "tiny-encoder"
    meta = {"native_size": 64, "native_frames": 9}
    return save_checkpoint_folder(
        path, vae, transformer, torch.randn(1, 16), meta, torch.float32, encoder=random_encoder(SMALL)
    )


@torch.inference_mode()
def test_a_checkpoint_carries_it_and_the_restorer_uses_it(folder):
    fast, plain, tiled = (load_restorer(folder, **how) for how in ({}, {"plain": True}, {"tile": 64}))
    x = torch.rand(7, 3, 64, 80)
    result = fast.restore(x)
    assert (plain.restore(x) - result).abs().max() < 1e-4
    assert (tiled.restore(x) - result).abs().max() < 1e-4
    assert fast.modules["encoder"] is fast.encoder
    assert torch.equal(fast.restore(x, strength=0), x)
    # The formula, out of the parts alone: the last frame is repeated to nine.
    frames = (torch.cat([x, x[-1:], x[-1:]]) * 2 - 1).transpose(0, 1)[None]
    z = random_encoder(SMALL)(frames)
    velocity = plain.transformer(z, torch.tensor([400.0]), plain.prompt.padded("cpu"), return_dict=False)[0]
    raw = (z - velocity) * 0.9 + 0.1
    wanted = plain.vae.decode(raw, return_dict=False)[0][0].transpose(0, 1)[:7].clamp(-1, 1) / 2 + 0.5
    assert (result - wanted).abs().max() < 1e-4


def test_it_needs_less_memory_than_wans_own():
    from diffusers import AutoencoderKLWan

    with torch.device("meta"):
        own = AutoencoderKLWan().config
    whole = tiny_encoder_bytes(WAN, 8, 512, 512, 2)
    assert whole < encoder_bytes(own, 8, 512, 512, 2, plain=False) / 4
    assert tiny_encoder_bytes(WAN, 4, 512, 512, 2) < encoder_bytes(own, 8, 512, 512, 2, plain=False, tile=128)


def test_a_restorer_that_is_short_of_memory_gives_it_fewer_frames(folder):
    whole, tiled = load_restorer(folder), load_restorer(folder, tile=64)
    assert tiled.memory_for(9, 512, 512) < whole.memory_for(9, 512, 512)


def test_an_encoder_for_another_autoencoder_is_refused(tmp_path):
    vae, transformer = tiny_modules()
    with pytest.raises(UnsupportedCheckpoint, match="tiny encoder doesn't fit the autoencoder"):
        save_checkpoint_folder(tmp_path / "m", vae, transformer, torch.randn(1, 16), {}, encoder=TinyEncoder(WAN))


@pytest.mark.parametrize(
    "fault, error, words",
    [
        ("gone", MissingWeights, "encoder.config.json is missing"),
        ("unknown", UnsupportedCheckpoint, "no tiny encoder's config"),
        ("uneven", UnsupportedCheckpoint, "as many blocks as widths"),
        ("kind", UnsupportedCheckpoint, "encoder is 'another'"),
    ],
)
def test_damaged_checkpoints_are_told(folder, fault, error, words):
    card, config = folder / "vividface.json", folder / "encoder" / "config.json"
    kept = {path: path.read_text() for path in (card, config)}
    try:
        if fault == "gone":
            config.unlink()
        elif fault == "kind":
            card.write_text(json.dumps({**json.loads(kept[card]), "encoder": "another"}))
        else:
            more = {"unknown": {"depth": 3}, "uneven": {"blocks": [1]}}[fault]
            config.write_text(json.dumps({**json.loads(kept[config]), **more}))
        with pytest.raises(error, match=words):
            load_restorer(folder)
    finally:
        for path, text in kept.items():
            path.write_text(text)
