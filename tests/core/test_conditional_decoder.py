"""The decoder that sees the input: identity at the start, streams and tiles, its reach, its arithmetic, checkpoints."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.tiny import LATENTS, tiny_modules
from vividface_core.errors import MissingWeights, UnsupportedCheckpoint
from vividface_core.restorers.one_step_save import save_checkpoint_folder
from vividface_core.wan.conditional_decoder import (
    ConditionalDecoder,
    DecoderConfig,
    decoded_with_input,
    operations,
)
from vividface_core.wan.motion import FARTHEST
from vividface_core.weights import load_restorer

NANO = DecoderConfig(48, 1, (48, 96, 160), (1, 2, 2), (2, 2, 2), 16)
WAN = DecoderConfig(16, 4, (96, 192, 384), (2, 2, 3), (3, 4, 3), 24, normed=True)
"""The shapes of training/configs/vividface-1.3b-decoder.toml."""
DEEP = DecoderConfig(4, 1, (8, 8), (2, 3), (1, 2), 8)
REFINING = DecoderConfig(4, 2, (8, 12, 16), (1, 1, 1), (1, 0, 1), 8, refines=True)
SMALL = DecoderConfig(4, 2, (8, 12, 16), (1, 1, 1), (1, 1, 1), 8)
FINE = DecoderConfig(4, 2, (8, 12, 16), (1, 0, 1), (1, 0, 1), 8, head_blocks=2)
"""With blocks at the full size."""
MEASURED = DecoderConfig(4, 2, (8, 12, 16), (1, 0, 1), (1, 0, 1), 8, measures=4, fine=8, fine_blocks=2, limit=4.0)
"""With all that the frames' noise and sharpness scale."""
NORMED = DecoderConfig(4, 2, (8, 12, 16), (1, 0, 1), (1, 1, 0), 8, normed=True, measures=4)
ALIGNED = replace(MEASURED, aligned=True, head_blocks=1)
"""Its memory follows the motion."""


def random_decoder(config: DecoderConfig, seed: int = 0) -> ConditionalDecoder:
    """No layer is zero, as after training; the sum stays of the order of one."""
    torch.manual_seed(seed)
    decoder = ConditionalDecoder(config).eval()
    for parameter in decoder.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.7 * (parameter.numel() / len(parameter)) ** -0.5)
        else:
            torch.nn.init.normal_(parameter, std=0.1)
    return decoder


def clip(config: DecoderConfig, latents: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    frames, cell = 1 + (latents - 1) * config.temporal_ratio, config.spatial_ratio
    z = torch.randn(1, config.latent_channels, latents, height // cell, width // cell)
    return z, torch.rand(1, 3, frames, height, width) * 2 - 1


def put_together(decoder, z, x, chunk, side) -> torch.Tensor:
    out = torch.full_like(x, float("nan"))
    read = lambda start, stop, r: x[:, :, start:stop, r.top : r.bottom, r.left : r.right]  # noqa: E731
    for start, region, part in decoded_with_input(decoder, z, read, chunk, side):
        end = start + part.shape[2]
        out[:, :, start:end, region.top : region.bottom, region.left : region.right] = part
    return out


def test_it_starts_by_returning_its_input():
    z, x = clip(NANO, 3, 32, 48)
    assert torch.equal(ConditionalDecoder(NANO)(z, x), x)


@torch.inference_mode()
@pytest.mark.parametrize(
    "config",
    [NANO, SMALL, FINE, MEASURED, NORMED, ALIGNED, WAN],
    ids=["nano", "two frames a latent", "fine", "measured", "normed", "aligned", "1.3B"],
)
def test_streams_and_tiles_give_the_whole_clip(config):
    decoder = random_decoder(config)
    z, x = clip(config, 4, 32, 48)
    whole = decoder(z, x)
    assert (whole - x).abs().mean() > 0.05
    for chunk, side in ((1, None), (2, None), (2, 16)):
        assert (put_together(decoder, z, x, chunk, side) - whole).abs().max() < 1e-4


@pytest.mark.parametrize(
    "config", [SMALL, FINE, MEASURED, NORMED, ALIGNED], ids=["small", "fine", "measured", "normed", "aligned"]
)
def test_with_and_without_gradients_it_gives_the_same(config):
    """Without them feature maps are changed in place."""
    decoder, (z, x) = random_decoder(config), clip(config, 3, 32, 48)
    with_gradients = decoder(z, x)
    with_gradients.sum().backward()
    with torch.no_grad():
        torch.testing.assert_close(decoder(z, x), with_gradients.detach(), rtol=0, atol=1e-6)


@torch.inference_mode()
@pytest.mark.parametrize("config", [SMALL, MEASURED], ids=["small", "measured"])
def test_tiles_equal_the_whole_where_they_are_smaller_than_what_they_see(config):
    decoder = random_decoder(config)
    z, x = clip(config, 3, 256, 320)
    assert 2 * config.radius + 64 < 256
    assert (put_together(decoder, z, x, 2, 64) - decoder(z, x)).abs().max() < 1e-4


@pytest.mark.parametrize(
    "config", [SMALL, FINE, DEEP, MEASURED, NORMED], ids=["three levels", "fine", "two deep ones", "measured", "normed"]
)
def test_a_pixel_depends_on_nothing_beyond_the_radius_and_on_no_later_frame(config):
    decoder = random_decoder(config).double()
    side = 2 * config.radius + 64
    side += -side % config.spatial_ratio
    z, x = clip(config, 3, side, side)
    z, x = z.double(), x.double().requires_grad_()
    middle, frame = side // 2, 1
    decoder(z, x)[0, :, frame, middle, middle].sum().backward()
    places = x.grad[0].abs().sum(0).nonzero()
    assert int(places[:, 0].max()) == frame
    reach = int((places[:, 1:] - middle).abs().max())
    assert config.radius - 4 * config.spatial_ratio < reach <= config.radius


def test_an_aligned_one_sees_as_far_as_the_motion_may_lead_and_no_farther():
    config = DecoderConfig(4, 2, (4, 4), (0, 1), (0, 1), 4, fine=4, fine_blocks=1, aligned=True)
    decoder = random_decoder(config).double()
    side = 2 * config.radius + 32
    z, x = clip(config, 3, side, side)
    z, x = z.double(), x.double().requires_grad_()
    middle, frame = side // 2, x.shape[2] - 1
    # Each of the three blocks may look a frame back, and as far away as can be.
    found = torch.full_like(x[:, :2], FARTHEST)
    decoder(z, x, found=found)[0, :, frame, middle, middle].sum().backward()
    places = x.grad[0].abs().sum(0).nonzero()
    reach = int((places[:, 1:] - middle).abs().max())
    assert config.radius - 5 * config.spatial_ratio < reach <= config.radius


@torch.inference_mode()
def test_to_an_aligned_one_a_picture_that_moves_is_one_at_rest():
    """The last frame of both clips is the same; their memory isn't, unless it is looked for where the picture was."""
    step, frames = 8, 5
    torch.manual_seed(2)
    wide = torch.nn.functional.interpolate(torch.rand(1, 3, 30, 40), scale_factor=8, mode="bicubic").clamp(0, 1) * 2 - 1
    moving = torch.stack([wide[..., step * t : step * t + 240] for t in range(frames)], 2)
    still = moving[:, :, -1:].expand_as(moving)
    differences = {}
    for aligned in (False, True):
        decoder = random_decoder(replace(FINE, temporal_ratio=1, aligned=aligned))
        z, found = torch.zeros(1, 4, frames, 30, 30), torch.zeros(1, 2, frames, 240, 240)
        at_rest = decoder(z, still, found=found)
        found[:, 0, 1:] = step
        # From the border nothing is known of what was beyond it.
        inner = (decoder(z, moving, found=found) - at_rest)[:, :, -1, 80:-80, 80:-80]
        differences[aligned] = float(inner.abs().max())
    assert differences[True] < 1e-4 and differences[False] > 0.01


@torch.inference_mode()
@pytest.mark.parametrize("changes", [{"limit": 8.0}, {"normed": True}], ids=["limited", "normed"])
def test_features_that_would_grow_from_block_to_block_do_not(changes):
    """Blocks that each multiply what they are given, as training may make them: the embedded model's fifth edition
    came to features of 1e8, which no half precision holds, and to a ReLU that let nothing through."""
    largest = {}
    for name, config in (("free", SMALL), ("held", replace(SMALL, **changes))):
        decoder = random_decoder(config)
        for parameter in [p for level in (*decoder.down, *decoder.up) for p in level.parameters()]:
            parameter.mul_(8)
        outputs = []
        for block in [b for level in (*decoder.down, *decoder.up) for b in level]:
            block.register_forward_hook(lambda _, __, out, kept=outputs: kept.append(float(out.abs().max())))
        z, x = clip(config, 3, 64, 64)
        assert decoder(z, x).isfinite().all()
        largest[name] = max(outputs)
    assert largest["free"] > 30 * largest["held"]


@torch.inference_mode()
@pytest.mark.parametrize("noise", [0.0, 0.04], ids=["clean", "noisy"])
def test_the_embedded_model_stays_within_half_precision(noise):
    """The clips on which its fifth edition did not."""
    restorer = load_restorer("vividface-nano")
    outputs = []
    for module in restorer.decoder.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _, __, out: outputs.append(float(out.abs().max())))
    torch.manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    picture = (
        0.5 + 0.3 * torch.sign(torch.sin(rows / 5) * torch.cos(columns / 7)) + 0.1 * torch.sin(rows * columns / 90)
    )
    clip = (picture + noise * torch.randn(5, 3, 128, 128)).clamp(0, 1)
    assert restorer.restore(clip).isfinite().all()
    assert len(outputs) > 20 and max(outputs) < 1e4


@torch.inference_mode()
def test_without_an_input_the_latent_alone_decides():
    decoder = random_decoder(NANO)
    z, x = clip(NANO, 3, 32, 32)
    one, other = decoder(z, torch.zeros_like(x)), decoder(-z, torch.zeros_like(x))
    assert (one - other).abs().mean() > 0.01


@torch.inference_mode()
@pytest.mark.parametrize(
    "config",
    [NANO, WAN, REFINING, FINE, MEASURED, NORMED],
    ids=["nano", "1.3B", "refining", "fine", "measured", "normed"],
)
def test_operations_are_those_that_torch_counts(config):
    decoder = ConditionalDecoder(config)
    z, x = clip(config, 2, 64, 64)
    with FlopCounterMode(display=False) as counter:
        decoder(z, x, decoded=x if config.refines else None)
    assert counter.get_total_flops() == pytest.approx(operations(config, x.shape[2], 64, 64), rel=0.02)


def test_the_large_one_takes_at_most_forty_teraflop():
    """Beside 180.5 of Wan's own decoder, for 81 frames of 512×512."""
    assert operations(WAN, 81, 512, 512) < 40e12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint whose decoder sees the input, with a learned share that is left out."""
    vae, transformer = tiny_modules()
    config = DecoderConfig(LATENTS, 4, (8, 12, 16), (1, 1, 1), (1, 1, 1), 8)
    path = tmp_path_factory.mktemp("models") / "conditional"
    meta = {"native_size": 64, "native_frames": 9, "latent_skip": [0.25] * LATENTS}
    return save_checkpoint_folder(
        path, vae, transformer, torch.randn(1, 16), meta, torch.float32, decoder=random_decoder(config)
    )


@pytest.fixture(scope="module")
def refining(tmp_path_factory):
    """A checkpoint whose decoder refines what the autoencoder's own decoder makes."""
    vae, transformer = tiny_modules()
    config = DecoderConfig(LATENTS, 4, (8, 12, 16), (1, 0, 1), (1, 1, 1), 8, refines=True)
    path = tmp_path_factory.mktemp("models") / "refining"
    meta = {"native_size": 64, "native_frames": 9}
    return save_checkpoint_folder(
        path, vae, transformer, torch.randn(1, 16), meta, torch.float32, decoder=random_decoder(config)
    )


@torch.inference_mode()
def test_a_refining_decoder_sees_what_the_own_one_makes(refining):
    """x̂ from the whole clip's D(ẑ), by diffusers' own modules, in one piece."""
    plain = load_restorer(refining, plain=True)
    torch.manual_seed(2)
    x = torch.rand(5, 3, 64, 64)
    frames = (x * 2 - 1).transpose(0, 1)[None]
    mean, std = (
        torch.tensor(v).view(1, -1, 1, 1, 1) for v in (plain.vae.config.latents_mean, plain.vae.config.latents_std)
    )
    z = (plain.vae.encode(frames).latent_dist.mode() - mean) / std
    z = z - plain.transformer(z, torch.tensor([400.0]), plain.prompt.padded("cpu"), return_dict=False)[0]
    own = plain.vae.decode(z * std + mean).sample
    wanted = plain.decoder(z, frames, decoded=own)[0].transpose(0, 1).clamp(-1, 1) / 2 + 0.5
    assert (plain.decoder(z, frames, decoded=frames) - plain.decoder(z, frames, decoded=own)).abs().mean() > 0.01
    for how in ({}, {"plain": True}, {"tile": 64}):
        assert (load_restorer(refining, **how).restore(x) - wanted).abs().max() < 1e-4


def test_the_own_decoder_is_on_the_device_too_where_it_is_refined(folder, refining):
    restorers = [load_restorer(path) for path in (folder, refining)]
    inside = [
        all(id(p) in {id(q) for q in r.modules["decoder"].parameters()} for p in r.vae.decoder.parameters())
        for r in restorers
    ]
    assert inside == [False, True]


def test_a_checkpoint_carries_it_and_the_paths_agree(folder):
    fast, plain, tiled = (load_restorer(folder, **how) for how in ({}, {"plain": True}, {"tile": 64}))
    torch.manual_seed(0)
    x = torch.rand(7, 3, 75, 90)
    result = fast.restore(x)
    assert result.shape == x.shape and (result - x).abs().mean() > 0.01
    assert (plain.restore(x) - result).abs().max() < 1e-4
    assert (tiled.restore(x) - result).abs().max() < 1e-4
    assert fast.decoder in list(fast.modules["decoder"])


def test_the_restorer_equals_the_formula(folder):
    """ẑ = (1 − A) ⊙ z − DiT(z), then the decoder over the padded clip, by diffusers' own modules."""
    plain = load_restorer(folder, plain=True)
    x = torch.rand(5, 3, 64, 64)
    frames = (x * 2 - 1).transpose(0, 1)[None]
    with torch.inference_mode():
        raw = plain.vae.encode(frames).latent_dist.mode()
        mean, std = (
            torch.tensor(v).view(1, -1, 1, 1, 1) for v in (plain.vae.config.latents_mean, plain.vae.config.latents_std)
        )
        z = (raw - mean) / std
        velocity = plain.transformer(z, torch.tensor([400.0]), plain.prompt.padded("cpu"), return_dict=False)[0]
        wanted = plain.decoder(0.75 * z - velocity, frames)[0].transpose(0, 1).clamp(-1, 1) / 2 + 0.5
    assert (plain.restore(x) - wanted).abs().max() < 1e-4


def test_strength_and_mask(folder):
    restorer = load_restorer(folder)
    x = torch.rand(3, 3, 64, 64)
    assert torch.equal(restorer.restore(x, strength=0), x)
    mask = torch.zeros(3, 1, 64, 64)
    mask[..., 32:] = 1
    masked = restorer.restore(x, mask=mask)
    assert torch.equal(masked[..., :32], x[..., :32]) and not torch.equal(masked[..., 32:], x[..., 32:])


def test_memory_is_at_least_estimated_as_the_feature_maps(folder):
    restorer = load_restorer(folder)
    assert restorer.memory_for(9, 512, 512) > restorer.memory_for(9, 256, 256)
    tiled = load_restorer(folder, tile=64)
    assert tiled.memory_for(9, 1024, 1024) < restorer.memory_for(9, 1024, 1024)


def test_a_decoder_for_another_autoencoder_is_refused(tmp_path):
    vae, transformer = tiny_modules()
    other = ConditionalDecoder(DecoderConfig(LATENTS, 2, (8, 12, 16), (1, 1, 1), (1, 1, 1), 8))
    with pytest.raises(UnsupportedCheckpoint, match="doesn't fit the autoencoder"):
        save_checkpoint_folder(tmp_path / "m", vae, transformer, torch.randn(1, 16), {}, decoder=other)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    "fault, error, words",
    [
        ("folder gone", MissingWeights, "config.json is missing"),
        ("unknown entry", UnsupportedCheckpoint, "no conditional decoder's config"),
        ("other widths", UnsupportedCheckpoint, "doesn't fit its config"),
        ("other kind", UnsupportedCheckpoint, "this version knows"),
        ("short skip", UnsupportedCheckpoint, "latent_skip"),
    ],
)
def test_damaged_checkpoints_are_told(folder, tmp_path, fault, error, words):
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    card, config = json.loads((copy / "vividface.json").read_text()), copy / "decoder" / "config.json"
    values = json.loads(config.read_text())
    if fault == "folder gone":
        shutil.rmtree(copy / "decoder")
    elif fault == "other kind":
        card["decoder"] = "another"
    elif fault == "short skip":
        card["latent_skip"] = [0.5]
    else:
        values |= {"unknown entry": {"depth": 3}, "other widths": {"widths": [8, 12, 20]}}[fault]
        config.write_text(json.dumps(values))
    (copy / "vividface.json").write_text(json.dumps(card))
    with pytest.raises(error, match=words):
        load_restorer(copy)
