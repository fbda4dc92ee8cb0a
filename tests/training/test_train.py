"""The trainer as it is run: real processes, real clips, both stages, from preparation to a restored clip."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.assets import clip, run_ffmpeg
from tests.paths import REPOSITORY
from tests.training.launching import launch, launch_command, processes_of
from training.config import load_config
from training.data.batches import Samples, make_loader
from training.data.shards import ShardReader, ShardWriter
from training.prepare import main as prepare
from training.stages.registry import make_stage
from training.train import main as train
from training.trainer.log import read_curve
from training.trainer.loop import Trainer
from vividface_core.errors import InvalidOption
from vividface_core.weights import load_restorer

CONFIG = """
stage = "{stage}"
[run]
output = "{output}"
precision = "no"
log_every = 1
checkpoint_every = 6
validate_every = 6
validation_clips = 2
trackers = []
[model]
base = "{base}"
gradient_checkpointing = {checkpointing}
native_size = 64
native_frames = 9
[data]
path = "{data}"
workers = 0
[optimizer]
lr = 2e-3
global_batch_size = 4
micro_batch_size = {micro}
steps = {steps}
warmup = 2
ema = 0.9
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Nine-frame clips of a real face in nano's latent space, two degradations each."""
    folder = tmp_path_factory.mktemp("data")
    run_ffmpeg("-i", clip("single_face"), "-frames:v", "54", "-c", "copy", folder / "face.mp4")
    out = folder / "prepared"
    arguments = ["--frames", "9", "--size", "64", "--variants", "2", "--pixels", "--inputs", "--smallest", "40"]
    assert prepare([str(folder / "face.mp4"), "--out", str(out), "--detector", "mtcnn", *arguments]) == 0
    assert len(ShardReader(out)) == 6
    return out


def write_config(
    folder: Path,
    data: Path,
    *,
    stage="latent",
    base="vividface-nano",
    micro=4,
    steps=12,
    checkpointing="true",
    extra="",
) -> Path:
    folder.mkdir(parents=True)
    path = folder / "config.toml"
    path.write_text(
        CONFIG.format(
            stage=stage,
            output=folder / "run",
            base=base,
            data=data,
            micro=micro,
            steps=steps,
            checkpointing=checkpointing,
        )
        + extra
    )
    return path


def losses(run: Path) -> list[float]:
    return [entry["loss"] for entry in read_curve(run / "log.jsonl") if "loss" in entry]


@pytest.fixture(scope="module")
def two_processes(data, tmp_path_factory):
    """The latent stage on two processes, each with half of every batch."""
    config = write_config(tmp_path_factory.mktemp("two") / "latent", data, micro=2)
    launch(config, processes=2)
    return config.parent / "run"


@pytest.fixture(scope="module")
def one_process(data, tmp_path_factory):
    """The same batches on one process that accumulates two halves."""
    config = write_config(tmp_path_factory.mktemp("one") / "latent", data, micro=2)
    launch(config)
    return config.parent / "run"


def test_the_latent_stage_learns(two_processes):
    entries = read_curve(two_processes / "log.jsonl")
    # Batches differ in how degraded they are, so each loss is seen against that of doing nothing.
    left = [entry["loss"] / entry["before"] for entry in entries if "loss" in entry]
    assert len(left) == 12 and np.mean(left[-4:]) < 0.9 * np.mean(left[:4])
    figures = [entry for entry in entries if "psnr" in entry]
    assert [entry["step"] for entry in figures] == [6, 12]
    # Where it starts, and how much is left to learn, depends on the embedded model, whose latents alone are no longer
    # what its editions learn by.
    assert figures[1]["psnr"] > max(figures[0]["psnr"] + 0.2, figures[1]["psnr_input"])


def test_two_processes_equal_accumulation(two_processes, one_process):
    assert (processes_of(two_processes), processes_of(one_process)) == (2, 1)
    assert np.allclose(losses(two_processes), losses(one_process), rtol=1e-5)
    ours, theirs = (
        load_file(run / "model/transformer/diffusion_pytorch_model.safetensors") for run in (two_processes, one_process)
    )
    assert all((ours[key] - theirs[key]).abs().max() < 1e-5 for key in ours)


def test_the_configuration_for_cpus_starts_all_its_processes(data, tmp_path):
    config = write_config(tmp_path / "yaml", data, micro=2, steps=2)
    yaml = REPOSITORY / "training/configs/accelerate/cpu.yaml"
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(yaml)]
    command = [*launcher, "--main_process_port", "0", "-m", "training.train", str(config), "run.validate_every=0"]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=300)
    assert processes_of(tmp_path / "yaml" / "run") == 2


def test_processes_that_nobody_joins_are_refused(data, tmp_path, monkeypatch):
    config = load_config(write_config(tmp_path / "apart", data))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("training.trainer.loop.Accelerator", lambda **options: SimpleNamespace(num_processes=1))
    with pytest.raises(InvalidOption, match="2 processes were started"):
        Trainer(config, make_stage(config))


def wait_for_steps(count: int, process: subprocess.Popen, log: Path) -> None:
    """Until a run has logged so many, or has ended."""
    while process.poll() is None and len(log.read_text().splitlines() if log.exists() else []) < count:
        time.sleep(0.05)


def test_a_stopped_run_goes_on_as_if_undisturbed(one_process, data, tmp_path):
    config = write_config(tmp_path / "stopped", data, micro=2)
    command = [sys.executable, "-m", "training.train", str(config)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True)
    wait_for_steps(3, process, tmp_path / "stopped" / "run" / "log.jsonl")
    process.send_signal(signal.SIGINT)
    message = process.communicate(timeout=120)[1]
    assert process.returncode == 130 and "run the same command to go on" in message
    stopped = len(losses(tmp_path / "stopped" / "run"))
    assert 3 <= stopped < 12
    launch(config)
    assert len(losses(tmp_path / "stopped" / "run")) == 12
    assert np.allclose(losses(tmp_path / "stopped" / "run"), losses(one_process), rtol=1e-6)
    ours, theirs = (
        load_file(run / "model/transformer/diffusion_pytorch_model.safetensors")
        for run in (tmp_path / "stopped" / "run", one_process)
    )
    assert all((ours[key] - theirs[key]).abs().max() < 1e-6 for key in ours)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_launcher_processes_and_workers_loses_no_step(number, data, tmp_path):
    """As a terminal sends Ctrl-C and a scheduler SIGTERM; the launcher passes it on once more."""
    config = write_config(tmp_path / "group", data, micro=1, steps=5000)
    changes = "data.workers=1", "run.validate_every=0", "run.checkpoint_every=5000"
    started = launch_command(config, *changes, processes=2)
    output = tmp_path / "said.txt"
    with output.open("w") as said:
        group = subprocess.Popen(started, cwd=REPOSITORY, stdout=said, stderr=said, start_new_session=True)
        log = tmp_path / "group" / "run" / "log.jsonl"
        wait_for_steps(3, group, log)
        os.killpg(group.pid, number)
        group.wait(timeout=120)
    (state,) = (tmp_path / "group" / "run" / "states").iterdir()
    assert int(state.name) == read_curve(log)[-1]["step"] >= 3, output.read_text()[-2000:]
    assert "run the same command to go on" in output.read_text()


def test_the_pixel_stage_goes_on_from_the_latent_stage(two_processes, data, tmp_path):
    extra = "[loss]\ndists = 0.1\nperceptual_frames = 2\n"
    base = str(two_processes / "model")
    config = write_config(tmp_path / "pixel", data, stage="pixel", base=base, micro=1, steps=8, extra=extra)
    launch(config, "data.frames=5", "optimizer.lr=5e-4", "run.trackers=['tensorboard']", processes=2)
    run = tmp_path / "pixel" / "run"
    entries = read_curve(run / "log.jsonl")
    assert {"error", "dists", "loss"} <= entries[0].keys()
    figures = [entry for entry in entries if "psnr" in entry]
    assert figures[-1]["psnr"] > figures[-1]["psnr_input"] - 3
    assert Image.open(run / "validation" / "00000008.jpg").size == (3 * 64, 2 * 64)
    assert list((run / "trackers").rglob("events.out.tfevents*"))
    assert [state.name for state in sorted((run / "states").iterdir())] == ["00000006", "00000008"]
    restored = load_restorer(str(run / "model")).restore(torch.rand(9, 3, 64, 64))
    assert restored.shape == (9, 3, 64, 64)
    card = json.loads((run / "model" / "vividface.json").read_text())
    assert card["training"]["stage"] == "pixel" and card["training"]["steps"] == 8 and card["native_frames"] == 9
    assert card["training"]["loss"]["dists"] == 0.1 and str(tmp_path) not in json.dumps(card)


def poisoned(data: Path, folder: Path, clips: set[int]) -> Path:
    """A copy of the prepared data in which the degraded latents of some clips are NaN."""
    reader = ShardReader(data)
    with ShardWriter(folder, reader.recipe) as writer:
        for place, key in enumerate(reader.keys):
            sample = reader[place]
            if place in clips:
                sample = {name: value * float("nan") if "low" in name else value for name, value in sample.items()}
            writer.add(key, sample)
    return folder


def test_a_bad_batch_is_kept_and_skipped(data, tmp_path):
    bad = poisoned(data, tmp_path / "data", {2})
    config = write_config(tmp_path / "bad", bad, steps=8)
    assert (
        train([str(config), "optimizer.global_batch_size=1", "optimizer.micro_batch_size=1", "run.validate_every=0"])
        == 0
    )
    run = tmp_path / "bad" / "run"
    kept = sorted((run / "bad_batches").iterdir())
    steps = {entry["step"] for entry in read_curve(run / "log.jsonl")}
    assert kept and {int(path.name[4:10]) for path in kept} == set(range(1, 9)) - steps
    assert torch.isnan(load_file(kept[0])["low"]).all() and torch.isfinite(load_file(kept[0])["high"]).all()
    weights = load_file(run / "model/transformer/diffusion_pytorch_model.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_half_an_accumulation_leaves_no_gradient_behind(data, tmp_path):
    config = load_config(write_config(tmp_path / "half", poisoned(data, tmp_path / "data", {2}), micro=1))
    trainer = Trainer(config, make_stage(config))
    batches = iter(make_loader(Samples(trainer.stage.source(False), 0), trainer.order, 0))
    while not trainer.progress.bad:
        trainer._step(batches)
    assert all(parameter.grad is None for parameter in trainer.net.parameters())
    assert trainer._step(batches) or trainer.progress.bad == 2


def test_nothing_but_bad_batches_stops_the_run(data, tmp_path, capfd):
    bad = poisoned(data, tmp_path / "data", set(range(6)))
    config = write_config(tmp_path / "bad", bad, steps=8)
    assert train([str(config), "run.validate_every=0"]) == 1
    assert "3 steps in a row gave NaN" in capfd.readouterr().err
    assert len(list((tmp_path / "bad" / "run" / "bad_batches").iterdir())) == 3


def test_adapters_learn_and_are_merged_on_saving(data, tmp_path):
    config = write_config(tmp_path / "lora", data, extra="[model.lora]\nrank = 4\nalpha = 4\n")
    assert train([str(config), "optimizer.ema=0"]) == 0
    run = tmp_path / "lora" / "run"
    entries = [entry for entry in read_curve(run / "log.jsonl") if "loss" in entry]
    left = [entry["loss"] / entry["before"] for entry in entries]
    assert np.mean(left[-4:]) < np.mean(left[:4])
    merged, base = (load_restorer(name, plain=True).transformer for name in (str(run / "model"), "vividface-nano"))
    changed = {name for name, value in merged.state_dict().items() if not torch.equal(value, base.state_dict()[name])}
    assert changed and all(".attn" in name or ".ffn" in name for name in changed)
    adapters = load_file(next((run / "model-lora").glob("*.safetensors")))
    assert all("lora" in name for name in adapters) and max(min(v.shape) for v in adapters.values()) == 4
    # The merged net is the one that was trained: its validation error is the one that was logged.
    again = load_restorer(str(run / "model"))
    sample = ShardReader(data)[0]
    restored = again.restore(sample["pixels"].float().transpose(0, 1) / 255)
    assert torch.isfinite(restored).all()


def test_a_run_is_not_begun_over_another(data, tmp_path, capfd):
    config = write_config(tmp_path / "first", data, steps=2)
    arguments = [str(config), "run.validate_every=0", "run.checkpoint_every=1"]
    assert train(arguments) == 0
    assert train([*arguments, "--fresh"]) == 1
    assert "holds states of another run" in capfd.readouterr().err
    assert train([*arguments, "optimizer.steps=3"]) == 0, "without --fresh it goes on"
    assert [entry["step"] for entry in read_curve(tmp_path / "first" / "run" / "log.jsonl")] == [1, 2, 3]


def test_weights_and_biases_gets_the_curve(data, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    config = write_config(tmp_path / "wandb", data, steps=2)
    assert train([str(config), "run.validate_every=1", "run.trackers=['wandb']"]) == 0
    assert list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))


def test_the_autoencoder_can_be_trained_along(data, tmp_path):
    config = write_config(tmp_path / "joint", data, stage="pixel", checkpointing="false", extra="[loss]\ndists = 0.0\n")
    changes = [
        "model.train_vae=decoder",
        "data.frames=5",
        "optimizer.steps=6",
        "optimizer.name=muon",
        "optimizer.lr=2e-4",
    ]
    assert train([str(config), *changes]) == 0
    names = (str(tmp_path / "joint" / "run" / "model"), "vividface-nano")
    ours, base = (load_restorer(name).vae.state_dict() for name in names)
    moved = {name.split(".")[0] for name in ours if not torch.equal(ours[name], base[name])}
    assert moved == {"decoder", "post_quant_conv"}
    curve = losses(tmp_path / "joint" / "run")
    assert all(np.isfinite(curve))
    assert train([str(config), "model.train_vae=decoder", "model.gradient_checkpointing=true"]) == 1
