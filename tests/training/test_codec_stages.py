"""Stages that see the degraded frames: conditional decoder, tiny encoder, and the image restorer to compare with."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from tests.assets import clip, run_ffmpeg
from tests.paths import REPOSITORY
from training.config import load_config
from training.prepare import main as prepare
from training.stages.nafnet import ImageRestorer, NafConfig, NafNet, load_nafnet
from training.stages.registry import make_stage
from training.train import main as train
from training.trainer.log import read_curve
from vividface_core.errors import InvalidOption, MissingWeights, UnsupportedCheckpoint
from vividface_core.wan.vae import decode, encode
from vividface_core.weights import load_restorer

CONFIG = """
stage = "{stage}"
[run]
output = "{output}"
precision = "no"
log_every = 1
validate_every = 100
validation_clips = 1
trackers = []
[data]
path = "{data}"
workers = 0
[optimizer]
lr = 2e-3
global_batch_size = 2
micro_batch_size = 2
steps = 4
warmup = 0
ema = 0.5
"""
MODEL = '[model]\nbase = "{base}"\ngradient_checkpointing = false\nnative_size = 64\nnative_frames = 9\n'
DECODER = "[model.decoder]\nwidths = [8, 12, 16]\ndown_blocks = [1, 1, 1]\nup_blocks = [1, 1, 1]\nhead = 8\n"
ENCODER = "[model.encoder]\nwidths = [8, 12, 16]\nblocks = [1, 1, 1]\nlatent_width = 16\n"
CONTROL = "[model.control]\nwidth = 8\nencoder = [1, 1]\nmiddle = 1\ndecoder = [1, 1]\n"


@pytest.fixture(scope="module")
def data(tiny_checkpoint, tmp_path_factory):
    """Clips of nine frames of a real face with their degraded frames, in the tiny autoencoder's latent space."""
    folder = tmp_path_factory.mktemp("data")
    run_ffmpeg("-i", clip("single_face"), "-frames:v", "27", "-c", "copy", folder / "face.mp4")
    arguments = ["--frames", "9", "--size", "64", "--pixels", "--inputs", "--smallest", "40", "--detector", "mtcnn"]
    out = folder / "prepared"
    assert prepare([str(folder / "face.mp4"), "--out", str(out), "--model", str(tiny_checkpoint), *arguments]) == 0
    return out


def write(folder, data, stage, base, *tables):
    folder.mkdir(exist_ok=True)
    model = MODEL.format(base=base) if base else "[model]\n"
    text = CONFIG.format(stage=stage, output=folder / "run", data=data) + model + "".join(tables)
    (folder / "config.toml").write_text(text)
    return folder / "config.toml"


def curve(folder, name="loss"):
    return [entry[name] for entry in read_curve(folder / "run" / "log.jsonl") if name in entry]


@pytest.fixture(scope="module")
def encoder_run(data, tiny_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    assert (
        train([str(write(folder, data, "encoder", tiny_checkpoint, ENCODER)), "optimizer.steps=30", "optimizer.ema=0"])
        == 0
    )
    return folder


def test_the_encoder_learns_its_teachers_latents(encoder_run, tiny_checkpoint, data):
    losses = curve(encoder_run)
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])
    parts = [curve(encoder_run, name) for name in ("degraded", "clean")]
    assert losses[0] == pytest.approx((parts[0][0] + parts[1][0]) / 2, rel=1e-5)
    model = load_restorer(encoder_run / "run" / "model")
    frames = torch.rand(1, 3, 9, 64, 64) * 2 - 1
    assert model.encoder(frames).shape == encode(model.vae, frames).shape
    figures = [entry for entry in read_curve(encoder_run / "run" / "log.jsonl") if "psnr" in entry]
    assert figures[-1]["step"] == 30 and torch.isfinite(torch.tensor(figures[-1]["psnr"]))
    card = json.loads((encoder_run / "run" / "model" / "vividface.json").read_text())
    assert card["encoder"] == "encoder" and card["training"]["stage"] == "encoder" and "decoder" not in card
    # What isn't trained is the base's.
    base = load_restorer(tiny_checkpoint).vae.state_dict()
    assert all(torch.equal(value, base[name]) for name, value in model.vae.state_dict().items())


def test_later_stages_restore_the_tiny_encoders_latents_and_keep_it(encoder_run, data, tmp_path):
    base = encoder_run / "run" / "model"
    config = load_config(write(tmp_path / "latent", data, "latent", base))
    stage = make_stage(config)
    sample = stage.source(validation=True).sample(0, np.random.default_rng(0))
    batch = {name: value[None] for name, value in sample.items()}
    low, high, _ = stage._latents(batch)
    assert torch.equal(low, load_restorer(base).encoder(batch["degraded"]).detach())
    assert torch.equal(high, batch["high"])
    stage.save(tmp_path / "again", stage.net, {})
    ours, theirs = (load_restorer(path).encoder.state_dict() for path in (tmp_path / "again", base))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.fixture(scope="module")
def decoder_run(data, tiny_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("decoder")
    loss = "[loss]\ndists = 0.0\nteacher = 1.0\nface_probability = 0.0\n"
    assert train([str(write(folder, data, "decoder", tiny_checkpoint, DECODER, loss)), "optimizer.steps=12"]) == 0
    return folder


def test_the_decoder_learns_from_truth_and_teacher(decoder_run, tiny_checkpoint):
    teacher, error = curve(decoder_run, "teacher"), curve(decoder_run, "error")
    assert sum(teacher[-3:]) < sum(teacher[:3])
    assert curve(decoder_run)[0] == pytest.approx(teacher[0] + error[0], rel=1e-5)
    model, base = load_restorer(decoder_run / "run" / "model", plain=True), load_restorer(tiny_checkpoint, plain=True)
    assert model.decoder is not None and model.encoder is None
    state = base.transformer.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.transformer.state_dict().items())


def test_the_teacher_is_the_autoencoders_own_decoder(data, tiny_checkpoint, tmp_path):
    loss = "[loss]\nerror = 0.0\ndists = 0.0\nteacher = 1.0\nclean_latents = 1.0\ninput_dropout = 0.0\n"
    stage = make_stage(load_config(write(tmp_path / "d", data, "decoder", tiny_checkpoint, DECODER, loss)))
    sample = stage.source(validation=True).sample(0, np.random.default_rng(0))
    batch = {**{name: value[None] for name, value in sample.items()}, "uniform": torch.full((1, 4), 0.5)}
    parts = stage.loss(stage.net, batch)
    # A new decoder returns its input.
    taught = decode(load_restorer(tiny_checkpoint).vae, batch["high"]).clamp(-1, 1)
    assert float(parts["loss"].detach()) == pytest.approx(float((batch["degraded"] - taught).square().mean()), rel=1e-4)
    parts["loss"].backward()
    assert all(parameter.grad is None for parameter in [*stage.vae.parameters(), *stage._one_step.parameters()])


def test_a_grown_decoder_begins_as_the_one_that_it_grew_from(decoder_run, data, tmp_path):
    base = decoder_run / "run" / "model"
    table = "[model.decoder]\nhead_blocks = 2\nup_blocks = [1, 2, 1]\n"
    path = write(tmp_path / "grown", data, "decoder", base, table, "[loss]\ndists = 0.0\n")
    stage = make_stage(load_config(path, ("model.grow_decoder=true",)))
    ours, theirs = stage.net.decoder, load_restorer(base).decoder
    z, x = torch.randn(1, ours.config.latent_channels, 3, 8, 8), torch.rand(1, 3, 9, 64, 64) * 2 - 1
    with torch.inference_mode():
        assert torch.allclose(ours(z, x), theirs(z, x), atol=1e-6) and (theirs(z, x) - x).abs().max() > 1e-4
    assert train([str(path), "model.grow_decoder=true", "optimizer.steps=2"]) == 0
    grown = load_restorer(tmp_path / "grown" / "run" / "model").decoder
    assert grown.config.head_blocks == 2 and all(block.conv2.weight.any() for block in grown.full)
    for changes, words in (
        (("model.decoder.head=12",), "these don't fit: to_full.weight"),
        (("model.decoder.widths=[8, 12, 16, 20]",), "as many blocks as widths"),
        (("model.base=" + json.dumps(str(decoder_run / "nothing")),), "nothing"),
    ):
        with pytest.raises((InvalidOption, MissingWeights, UnsupportedCheckpoint), match=words):
            make_stage(load_config(path, ("model.grow_decoder=true", *changes)))


def test_what_is_new_can_learn_alone_and_blocks_can_begin_anew(decoder_run, data, tmp_path):
    base = decoder_run / "run" / "model"
    table = "[model.decoder]\nmeasures = 4\nfine = 8\nfine_blocks = 1\nlimit = 100.0\n"
    path = write(tmp_path / "new", data, "decoder", base, table, "[loss]\ndists = 0.0\n")
    grow = "model.grow_decoder=true"
    assert train([str(path), grow, "model.train_new=true", "optimizer.steps=3"]) == 0
    theirs = load_restorer(base).decoder.state_dict()
    trained = load_restorer(tmp_path / "new" / "run" / "model").decoder
    ours = trained.state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items())
    assert trained.fine_out.weight.any() and trained.fine[0].conv2.weight.any() and trained.measures is not None

    anew = make_stage(load_config(path, (grow, 'model.restart_blocks=["down.2."]'))).net.decoder.state_dict()
    assert theirs["down.2.0.conv2.weight"].any() and not anew["down.2.0.conv2.weight"].any()
    assert torch.equal(anew["down.1.0.conv2.weight"], theirs["down.1.0.conv2.weight"])
    for blocks, words in (('["down.7."]', "has no down.7."), ('["head_out"]', "these don't fit: head_out")):
        with pytest.raises(InvalidOption, match=words):
            make_stage(load_config(path, (grow, f"model.restart_blocks={blocks}")))
    for change in ("model.train_new=true", 'model.restart_blocks=["down.2."]'):
        with pytest.raises(InvalidOption, match="are for model.grow_decoder"):
            load_config(path, (change,))


def test_a_model_that_is_used_on_longer_clips_than_it_learns_from_says_so(decoder_run, data, tmp_path, capfd):
    path = write(tmp_path / "short", data, "decoder", decoder_run / "run" / "model", "", "[loss]\ndists = 0.0\n")
    short = ("data.frames=5", "optimizer.steps=1")
    assert train([str(path), *short]) == 0
    assert "Clips have 5 frames and model.native_frames is 9" in capfd.readouterr().out
    assert train([str(path), *short, "model.native_frames=5", f'run.output="{tmp_path / "fits"}"']) == 0
    assert "native_frames" not in capfd.readouterr().out


def test_a_model_that_would_see_its_clips_again_says_so(decoder_run, data, tmp_path, capfd):
    base = decoder_run / "run" / "model"
    path = write(tmp_path / "again", data, "decoder", base, "", "[loss]\ndists = 0.0\n")
    seed = json.loads((base / "vividface.json").read_text())["training"]["seed"]
    for chosen, said in ((seed, True), (seed + 1, False)):
        output = f'run.output="{tmp_path / str(chosen)}"'
        assert train([str(path), "optimizer.steps=1", f"run.seed={chosen}", output]) == 0
        assert ("sees the same clips" in capfd.readouterr().out) == said


def test_the_joint_stage_goes_on_with_adapters_in_mixed_precision(decoder_run, data, tmp_path):
    base = decoder_run / "run" / "model"
    lora, loss = "[model.lora]\nrank = 2\nalpha = 2\n", "[loss]\ndists = 0.0\nlatent = 0.1\n"
    config = write(tmp_path / "joint", data, "pixel", base, lora, loss)
    changes = ["model.frozen=bf16", "run.precision=bf16"]
    stage = make_stage(load_config(config, tuple(changes)))
    types = {(p.requires_grad, p.dtype) for p in stage.net.parameters()}
    assert (True, torch.bfloat16) not in types and {(True, torch.float32), (False, torch.bfloat16)} <= types
    assert next(stage.vae.parameters()).dtype == torch.bfloat16
    AcceleratorState._reset_state(reset_partial_state=True)  # a process has one precision
    try:
        assert train([str(config), *changes]) == 0
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    assert {"error", "latent"} <= read_curve(tmp_path / "joint" / "run" / "log.jsonl")[0].keys()
    ours, before = (load_restorer(path, plain=True) for path in (tmp_path / "joint" / "run" / "model", base))
    state = before.transformer.state_dict()
    moved = {
        name
        for name, value in ours.transformer.state_dict().items()
        if (value - state[name]).abs().max() > 0.02 * value.abs().max() + 1e-6
    }
    assert all("attn" in name or "ffn" in name for name in moved)
    assert not torch.equal(ours.decoder.head_out.weight, before.decoder.head_out.weight)


def test_the_two_terms_may_be_switched_apart(decoder_run, data, tmp_path):
    base, loss = decoder_run / "run" / "model", "[loss]\ndists = 0.0\nlatent = 1.0\nface_probability = 0.0\n"
    path = write(tmp_path / "joint", data, "pixel", base, loss)
    found = {}
    for p in ("same", "0.0", "1.0"):
        stage = make_stage(load_config(path, () if p == "same" else (f"loss.latent_face_probability={p}",)))
        sample = stage.source(validation=True).sample(0, np.random.default_rng(0))
        batch = {**{name: value[None] for name, value in sample.items()}, "uniform": torch.full((1, 4), 0.5)}
        with torch.no_grad():
            found[p] = {name: float(value) for name, value in stage.loss(stage.net, batch).items()}
    assert found["same"] == found["0.0"] and found["1.0"]["error"] == found["0.0"]["error"]
    assert found["1.0"]["latent"] < found["0.0"]["latent"]


def test_data_without_inputs_is_refused_with_the_flag(data, tiny_checkpoint, tmp_path, capsys):
    copy = tmp_path / "data"
    copy.mkdir()
    for file in data.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    index = json.loads((copy / "index.json").read_text())
    del index["recipe"]["inputs"]
    (copy / "index.json").write_text(json.dumps(index))
    assert train([str(write(tmp_path / "d", copy, "decoder", tiny_checkpoint, DECODER))]) == 1
    assert "without --inputs" in capsys.readouterr().err


def test_the_image_restorer_is_trained_saved_and_compared(data, tmp_path):
    config = write(tmp_path / "control", data, "control", "", CONTROL, "[loss]\ndists = 0.0\nabsolute = 1.0\n")
    assert train([str(config), "optimizer.steps=12"]) == 0
    entries = read_curve(tmp_path / "control" / "run" / "log.jsonl")
    assert {"error", "absolute", "motion", "loss"} <= entries[0].keys()
    figures = [entry for entry in entries if "psnr" in entry]
    assert abs(figures[-1]["psnr"] - figures[-1]["psnr_input"]) < 3
    folder = tmp_path / "control" / "run" / "model"
    frames = torch.rand(3, 3, 30, 50)
    out = ImageRestorer(folder)(frames)
    assert out.shape == frames.shape and not torch.equal(out, frames)
    # Frame by frame: no frame sees another.
    assert torch.allclose(out[1:2], ImageRestorer(folder)(frames[1:2]), atol=1e-6)
    (folder / "nafnet.json").write_text(json.dumps({"net": {"width": 12}}))
    with pytest.raises(UnsupportedCheckpoint, match="doesn't fit its config"):
        load_nafnet(folder)
    with pytest.raises(MissingWeights, match="nafnet.json"):
        load_nafnet(tmp_path)


def test_the_image_restorer_starts_as_the_identity_and_every_weight_learns():
    net = NafNet(NafConfig(8, (1, 1), 1, (1, 1)))
    pictures = torch.rand(2, 3, 20, 24)
    assert torch.equal(net(pictures), pictures)
    for parameter in net.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    net(pictures).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())


@pytest.mark.parametrize(
    "changes, words",
    [
        (("model.frozen=bf16",), "needs run.precision"),
        (("stage=pixel", "loss.teacher=1.0"), "decoder stage"),
        (("stage=control",), "model.control"),
        (("data.manifest=x",), "kind 'clips'"),
    ],
)
def test_what_does_not_go_together_is_named(changes, words, data, tiny_checkpoint, tmp_path):
    with pytest.raises(InvalidOption, match=words):
        load_config(write(tmp_path / "d", data, "decoder", tiny_checkpoint, DECODER), changes)


def test_an_ablation_runs_by_one_command(decoder_run, data, tmp_path):
    base, loss = decoder_run / "run" / "model", "[loss]\ndists = 0.0\nlatent = 0.05\n"
    config = write(tmp_path / "ablation", data, "pixel", base, loss)
    command = [
        sys.executable,
        "-m",
        "training.evaluation.ablation",
        "stages",
        str(config),
        "optimizer.steps=3",
        "--out",
    ]
    run = subprocess.run(
        [*command, str(tmp_path / "out")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "ACCELERATE_USE_CPU": "true"},
    )
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads((tmp_path / "out" / "stages.json").read_text())
    assert list(found) == ["nowhere", "latent", "latent and pixel"]
    assert all(entries[-1]["step"] == 3 for entries in found.values())
    assert len({entries[-1]["face_error"] for entries in found.values()}) == 3, "each switch changes what is learned"
