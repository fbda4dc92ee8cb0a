"""A stage of two nets with an optimizer each: what the trainer does is what a plain loop over tensors does."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from tests.paths import REPOSITORY
from tests.training.launching import launch, processes_of
from training.config import Config, load_config
from training.data.batches import Samples
from training.stages.base import Stage
from training.stages.registry import make_stage
from training.trainer.loop import Trainer
from vividface_core.errors import InvalidOutput
from vividface_core.restorers.lengths import ClipLengths
from vividface_core.restorers.registry import GROUP, System, register, unregister

RATE, LARGEST_NORM = 0.01, 0.05


class Rows:
    """Four pairs of numbers a sample; number 6 may hold a NaN."""

    poisoned = False

    def sample(self, number, rng):
        low = torch.from_numpy(rng.standard_normal((4, 2)).astype(np.float32))
        if self.poisoned and number == 6:
            low[0] = torch.nan
        return {"low": low, "high": 2 * low + 1}


class Adversarial(Stage):
    """A linear generator and a discriminator, least squares."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        torch.manual_seed(1)
        self.net, self.judge = nn.Linear(2, 2), nn.Linear(2, 1)

    @property
    def nets(self):
        return {"generator": self.net, "discriminator": self.judge}

    def optimizers(self):
        return {"generator": self.groups(), "discriminator": [(list(self.judge.parameters()), 0.5)]}

    def source(self, validation):
        return Rows()

    def loss(self, net, batch):
        raise AssertionError("a stage of several nets is asked for the loss of each turn")

    def turn_loss(self, turn, nets, batch):
        fake = nets["generator"](batch["low"])
        score = nets["discriminator"](fake)
        if turn == "generator":
            assert not any(p.requires_grad for p in nets["discriminator"].parameters())
            error = F.mse_loss(fake, batch["high"])
            return {"loss": error + (score - 1).square().mean(), "error": error}
        assert not any(p.requires_grad for p in nets["generator"].parameters()) and not fake.requires_grad
        return {"loss": (nets["discriminator"](batch["high"]) - 1).square().mean() + score.square().mean()}

    def show(self, batch):
        raise AssertionError("it isn't validated")

    def save(self, folder, net, notes):
        folder.mkdir(parents=True, exist_ok=True)
        save_file({key: value.detach().clone() for key, value in net.state_dict().items()}, folder / "net.safetensors")


PAIR = System(
    id="pair",
    detect=f"{__name__}:detect",
    load="",
    save="",
    valid_lengths=ClipLengths(),
    size_multiple=1,
    execution="vividface_core.restorers.execution:ExecutionConfig",
    native_size=8,
    native_frames=1,
    color_default="none",
    stages={"adversarial": f"{__name__}:Adversarial"},
)


@pytest.fixture(autouse=True)
def _pair():
    register(PAIR)
    yield
    unregister(PAIR.id)


CONFIG = """
system = "pair"
stage = "adversarial"
[run]
output = "{output}"
seed = 4
precision = "no"
log_every = 1
validate_every = 0
trackers = []
[model]
[data]
path = "unused"
workers = 0
[optimizer]
lr = {lr}
global_batch_size = 4
micro_batch_size = 2
steps = {steps}
warmup = 0
max_grad_norm = {norm}
ema = {ema}
"""


def write(folder, steps=5, ema=0.0):
    folder.mkdir(exist_ok=True)
    path = folder / "config.toml"
    path.write_text(CONFIG.format(output=folder / "run", lr=RATE, steps=steps, norm=LARGEST_NORM, ema=ema))
    return path


def trained(folder, steps=5, ema=0.0):
    config = load_config(write(folder, steps, ema))
    trainer = Trainer(config, make_stage(config))
    trainer.run()
    return trainer


def by_hand(steps):
    """Generator, then discriminator, on whole batches; gradients clipped, AdamW of PyTorch."""
    torch.manual_seed(1)
    generator, judge = nn.Linear(2, 2), nn.Linear(2, 1)
    common = {"betas": (0.9, 0.999), "weight_decay": 0.01}
    one, two = (
        torch.optim.AdamW(net.parameters(), lr=lr, **common) for net, lr in ((generator, RATE), (judge, RATE / 2))
    )
    samples = Samples(Rows(), 4)
    for step in range(steps):
        low, high = (torch.stack([samples[4 * step + at][name] for at in range(4)]) for name in ("low", "high"))
        fake = generator(low)
        loss = F.mse_loss(fake, high) + (judge(fake) - 1).square().mean()
        for net, optimizer in ((generator, one), (judge, two)):
            if net is judge:
                loss = (judge(high) - 1).square().mean() + judge(generator(low).detach()).square().mean()
            for parameter, gradient in zip(net.parameters(), torch.autograd.grad(loss, list(net.parameters()))):
                parameter.grad = gradient
            torch.nn.utils.clip_grad_norm_(net.parameters(), LARGEST_NORM)
            optimizer.step()
    return generator, judge


def same(net, other, **near):
    for one, two in zip(net.parameters(), other.parameters()):
        torch.testing.assert_close(one, two, **near)


def test_two_nets_take_turns_as_in_a_plain_loop(tmp_path):
    trainer = trained(tmp_path)
    for net, wanted in zip(trainer.nets.values(), by_hand(5)):
        same(net, wanted, rtol=0, atol=1e-6)
    assert all(p.requires_grad and p.grad is None for net in trainer.nets.values() for p in net.parameters())
    entries = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert len(entries) == 5 and '"discriminator_loss"' in entries[0] and '"error"' in entries[0]


def test_two_processes_make_the_same_of_it(tmp_path):
    """Each with half of every batch, and gradients shared net by net."""
    about = tmp_path / "pair-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: pair\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{GROUP}]\npair = tests.training.trainer.test_turns:PAIR\n")
    config = write(tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])}
    launch(config, processes=2, env=environment)
    assert processes_of(tmp_path / "run") == 2
    state = tmp_path / "run" / "states" / "00000005"
    for name, wanted in zip(("model", "model_1"), by_hand(5)):
        for key, value in load_file(state / f"{name}.safetensors").items():
            torch.testing.assert_close(value, wanted.state_dict()[key], rtol=0, atol=1e-6)


def test_a_resumed_run_goes_on_with_both(tmp_path):
    whole = trained(tmp_path / "whole", 6, ema=0.9)
    trained(tmp_path / "parts", 3, ema=0.9)
    resumed = trained(tmp_path / "parts", 6, ema=0.9)
    assert resumed.progress.step == 6
    for name in whole.nets:
        same(whole.nets[name], resumed.nets[name], rtol=0, atol=0)
        states = [trainer.optimizers[name].state_dict()["state"] for trainer in (whole, resumed)]
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][at][key], states[1][at][key]) for at in states[0] for key in states[0][at])
    ours, theirs = (load_file(tmp_path / way / "run" / "model" / "net.safetensors") for way in ("whole", "parts"))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    # What is saved is the average of the first net, not its last weights.
    assert not torch.allclose(ours["weight"], whole.net.weight)


def test_a_step_with_a_nan_moves_neither(tmp_path, monkeypatch):
    monkeypatch.setattr(Rows, "poisoned", True)
    one = trained(tmp_path / "one", 1)
    two = trained(tmp_path / "two", 2)  # the second step is skipped whole
    for name in one.nets:
        same(one.nets[name], two.nets[name], rtol=0, atol=0)
    assert two.progress.bad == 1 and any((tmp_path / "two" / "run" / "bad_batches").iterdir())
    with pytest.raises(InvalidOutput, match="in a row"):
        monkeypatch.setattr(
            Rows, "sample", lambda self, number, rng: {"low": torch.full((4, 2), torch.nan), "high": torch.zeros(4, 2)}
        )
        trained(tmp_path / "three", 9)
