"""BFVR-STC's stages of training, as runs of the trainer with tiny networks on real pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage import data as pictures
from torch import nn

from tests.training.interrupting import interrupted_after, same_logs
from training.config import load_config
from training.data.batches import Samples
from training.evaluation import codebook_ablation, curves
from training.stages import codebook
from training.stages.codebook import CodebookStage
from training.stages.registry import make_stage
from training.train import main as train
from training.trainer.log import read_curve
from training.trainer.loop import Trainer
from vividface_core.bfvr_stc import VQAutoEncoder3D, checkpoint
from vividface_core.bfvr_stc.quantizer import nearest_codes, rows_of
from vividface_core.weights import load_restorer

NETWORK = "[model.network]\nnf = 4\nch_mult = [1, 2]\nemb_dim = 8\ncodebook_size = 16\nres_blocks = 1\n"
CONFIG = """
system = "bfvr_stc"
stage = "{stage}"
[run]
output = "{output}"
precision = "no"
log_every = 1
checkpoint_every = 100
validate_every = 100
validation_clips = 2
trackers = []
[data]
kind = "clips"
path = "{data}"
frames = 4
size = 16
faces = 0.0
workers = 0
[optimizer]
lr = 1e-3
global_batch_size = 2
micro_batch_size = 2
steps = 4
warmup = 0
ema = 0.5
"""
PLAIN = "[loss]\nlpips = 0.0\nadversarial = 0.0\n"
CRITICAL = '[loss]\nlpips = 0.0\nadversarial = 0.4\nadversarial_from = 3\nbackbone_size = 0\nbackbone = "any"\n'


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("material")
    stills = [pictures.astronaut(), pictures.coffee(), pictures.rocket(), pictures.chelsea()]
    clips = {f"{n:05d}": torch.from_numpy(np.ascontiguousarray(p[None, ::4, ::4])) for n, p in enumerate(stills)}
    save_file(clips, folder / "clips.safetensors")
    (folder / "clips.json").write_text(json.dumps({key: {"package": "scikit-image"} for key in clips}))
    return folder


def small_backbone(name: str) -> tuple[nn.Module, int]:
    with codebook.seeded(3):
        return nn.Sequential(nn.Conv2d(3, 6, 5, 2), nn.Tanh()), 6


@pytest.fixture(autouse=True)
def _backbone(monkeypatch):
    # DINOv2's weights are no file that a test may fetch; how any backbone is used doesn't depend on which it is.
    monkeypatch.setattr(codebook, "load_backbone", small_backbone)


def write(folder, data, *tables, stage="autoencoder"):
    folder.mkdir(exist_ok=True, parents=True)
    text = CONFIG.format(stage=stage, output=folder / "run", data=data)
    (folder / "config.toml").write_text(text + "".join(tables))
    return folder / "config.toml"


AUTOENCODER = "[model]\nnative_size = 16\nnative_frames = 4\n" + NETWORK


@pytest.fixture(scope="module")
def autoencoder(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("autoencoder")
    assert train([str(write(folder, data, AUTOENCODER, PLAIN))]) == 0
    return folder / "run"


def lookup(autoencoder, more=""):
    model = f'[model]\nautoencoder = "{autoencoder / "model"}"\nnative_size = 16\nnative_frames = 4\n{more}'
    return model + "[model.network]\nn_head = 2\nn_layers = 1\nimg_size = 16\n"


def test_stage_one_leaves_an_autoencoder_and_says_how_codes_are_used(autoencoder):
    net, known = checkpoint.load(autoencoder / "model")
    assert type(net) is VQAutoEncoder3D and known.kind == "autoencoder" and known.native_size == 16
    last = [entry for entry in read_curve(autoencoder / "log.jsonl") if "psnr" in entry][-1]
    assert 0 < last["usage_s"] <= 1 and 1 <= last["perplexity_t"] <= 16
    steps = [entry for entry in read_curve(autoencoder / "log.jsonl") if "codebook" in entry]
    assert all(
        entry["loss"] == pytest.approx(entry["absolute"] + entry["codebook"] + entry["prior"], rel=1e-5)
        for entry in steps
    )


def test_stage_two_leaves_what_the_restorer_loads(autoencoder, data, tmp_path):
    kind = 'kind = "deflicker_brightness"\n'
    loss = "[loss]\ncodes = 0.5\n"
    path = write(tmp_path, data, lookup(autoencoder, kind), loss, stage="lookup")
    assert train([str(path), 'data.degradation="brightness_flicker"']) == 0
    restorer = load_restorer(tmp_path / "run" / "model")
    assert (restorer.kind, restorer.native_frames, restorer.color_default) == ("deflicker_brightness", 4, "none")
    assert restorer.restore(torch.rand(5, 3, 20, 16)).shape == (5, 3, 20, 16)
    first, _ = checkpoint.load(autoencoder / "model")
    for name, value in first.state_dict().items():
        if name.startswith(("quantize", "generator")):
            assert torch.equal(value, restorer.net.state_dict()[name]), name
    assert not torch.equal(first.state_dict()["encoder.blocks.0.weight"], restorer.net.encoder.blocks[0].weight)
    steps = [entry for entry in read_curve(tmp_path / "run" / "log.jsonl") if "feature" in entry]
    assert steps[0]["loss"] == pytest.approx(
        10 * steps[0]["feature"] + 0.5 * (steps[0]["codes_s"] + steps[0]["codes_t"]), rel=1e-5
    )


def batch_of(stage, numbers):
    samples = Samples(stage.source(False), 0)
    rows = [samples[number] for number in numbers]
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.parametrize("which", ["autoencoder", "lookup"])
def test_a_batch_of_two_is_two_batches_of_one(which, autoencoder, data, tmp_path):
    tables = (
        (
            AUTOENCODER,
            PLAIN,
        )
        if which == "autoencoder"
        else (lookup(autoencoder),)
    )
    # The prior is of the marginal of a batch, so it alone isn't a mean over samples.
    changes = ("loss.prior=0",) if which == "autoencoder" else ()
    stage = make_stage(load_config(write(tmp_path, data, *tables, stage=which), changes))

    def gradient(numbers):
        stage.net.zero_grad()
        loss = stage.loss(stage.net, batch_of(stage, numbers))["loss"]
        loss.backward()
        return loss.item(), {n: p.grad.clone() for n, p in stage.net.named_parameters() if p.grad is not None}

    both, *each = (gradient(numbers) for numbers in ([0, 1], [0], [1]))
    assert both[0] == pytest.approx((each[0][0] + each[1][0]) / 2, rel=1e-5)
    for name, value in both[1].items():
        assert torch.allclose(value, (each[0][1][name] + each[1][1][name]) / 2, atol=1e-5), name


def test_the_adversarial_term_moves_the_generator(data, tmp_path):
    """The stage's own loss with nothing but that term, against finite differences."""
    zero = "absolute = 0.0\ncodebook = 0.0\nprior = 0.0\n"
    stage = make_stage(load_config(write(tmp_path, data, AUTOENCODER, CRITICAL + zero)))
    batch = batch_of(stage, [0])
    weight = stage.net.net.generator.blocks[-1].weight
    stage.begin_step(2)
    assert "adversarial" not in stage.turn_loss("main", stage.nets, batch)
    stage.begin_step(3)

    def loss():
        return stage.turn_loss("main", stage.nets, batch)["loss"]

    (gradient,) = torch.autograd.grad(loss(), weight)
    direction = torch.randn_like(weight)
    with torch.no_grad():
        ends = []
        for step in (1e-2, -1e-2):
            weight += step * direction
            ends.append(loss().item())
            weight -= step * direction
    assert gradient.abs().max() > 0
    assert float((gradient * direction).sum()) == pytest.approx((ends[0] - ends[1]) / 2e-2, rel=1e-2)


def test_discriminator_and_generator_learn_in_turns_from_the_same_outputs(data, tmp_path):
    config = load_config(write(tmp_path, data, AUTOENCODER, CRITICAL))
    stage = make_stage(config)
    before = {name: value.clone() for name, value in stage.nets["critic"].state_dict().items()}
    Trainer(config, stage).run()
    steps = [entry for entry in read_curve(tmp_path / "run" / "log.jsonl") if "codebook" in entry]
    assert [("adversarial" in entry) for entry in steps] == [False, False, True, True]
    assert [entry["critic_loss"] > 0 for entry in steps] == [False, False, True, True]
    assert any(not torch.equal(value, before[name]) for name, value in stage.nets["critic"].state_dict().items())


def test_unused_codes_start_again_on_latents(data, tmp_path):
    config = load_config(write(tmp_path, data, AUTOENCODER, PLAIN), ("model.restart_codes=2", "loss.prior=0"))
    stage: CodebookStage = make_stage(config)
    weight = stage.net.net.quantize.embedding_s.weight
    with torch.no_grad():
        weight.fill_(1e3)
        weight[4] = 0
    batch = batch_of(stage, [0, 1])
    for _ in range(2):
        stage.loss(stage.net, batch)
        assert int((weight == 1e3).all(1).sum()) == 15, "nothing moves before it is time"
    with torch.no_grad():
        stage.net((batch["clean"] + 1) / 2)
        assert int((weight == 1e3).all(1).sum()) == 15, "nor while a batch is only shown"
    stage.loss(stage.net, batch)
    assert not (weight == 1e3).any() and not weight[4].any()
    z = rows_of(stage.net.net.encode((batch["clean"] + 1) / 2).detach())
    others = torch.cat([weight.detach()[:4], weight.detach()[5:]])
    assert torch.allclose(others, z[nearest_codes(others, z)], atol=1e-6), "each lies on a latent of the batch"


def test_the_branch_codebook_binds_its_attention(data, tmp_path):
    """Left to the prior alone, TA(z) + R(z) may grow without bounds: far from all codes their shares are equal."""
    config = load_config(write(tmp_path, data, AUTOENCODER, PLAIN), ("loss.branch_codebook=1", "loss.prior=0"))
    stage: CodebookStage = make_stage(config)
    truth = (batch_of(stage, [0])["clean"] + 1) / 2
    bound, free = stage.net(truth), make_stage(load_config(config_of(tmp_path), ("loss.prior=0",))).net(truth)
    net = stage.net.net
    given = net.quantize.embedding_t(bound.indices_t).flatten(0, 1)
    z = net.encode(truth)
    asked = rows_of(net.quantize.SA(z) + torch.cat([torch.zeros_like(z[:, :, :1]), z.diff(dim=2)], 2))
    wanted = 1.25 * float((asked - given).detach().square().mean())
    assert float((bound.codebook - free.codebook).detach()) == pytest.approx(wanted, rel=1e-4)


def config_of(folder: Path) -> Path:
    (path,) = folder.glob("*.toml")
    return path


def test_a_resumed_run_is_the_undisturbed_one(data, tmp_path):
    restarting = AUTOENCODER.replace("[model]", "[model]\nrestart_codes = 1")
    whole = write(tmp_path / "whole", data, restarting, CRITICAL)
    assert train([str(whole)]) == 0
    halves = write(tmp_path / "halves", data, restarting, CRITICAL)
    interrupted_after(halves, 2)
    assert train([str(halves)]) == 0
    same_logs(tmp_path / "whole" / "run", tmp_path / "halves" / "run")
    states = [checkpoint.load(tmp_path / name / "run" / "model")[0].state_dict() for name in ("whole", "halves")]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize(
    ("which", "change", "frozen"),
    [
        ("autoencoder", "loss.prior=1", ()),
        ("autoencoder", "loss.prior=0", ("quantize.SA",)),
        ("autoencoder", "loss.branch_codebook=1", ()),
        ("autoencoder", "model.quantized=false", ("quantize",)),
        ("lookup", "loss.codes=0.5", ("quantize", "generator")),
    ],
)
def test_what_is_trained_has_a_gradient_in_every_step(which, change, frozen, autoencoder, data, tmp_path):
    """Processes that share gradients wait for each of them."""
    tables = (AUTOENCODER, PLAIN) if which == "autoencoder" else (lookup(autoencoder),)
    stage = make_stage(load_config(write(tmp_path, data, *tables, stage=which), (change,)))
    stage.loss(stage.net, batch_of(stage, [0]))["loss"].backward()
    trained = {name for name, p in stage.net.named_parameters() if p.requires_grad}
    assert {name for name, p in stage.net.named_parameters() if p.grad is not None} == trained
    still = {name for name, _ in stage.net.named_parameters()} - trained
    assert still == {n for n, _ in stage.net.named_parameters() if n.startswith(tuple(f"net.{x}" for x in frozen))}


def test_codebooks_start_at_the_latents(autoencoder, data, tmp_path):
    base = f'[model]\nbase = "{autoencoder / "model"}"\ncodebooks = "latents"\n' + NETWORK
    stage: CodebookStage = make_stage(load_config(write(tmp_path, data, base, PLAIN)))
    fresh = make_stage(load_config(write(tmp_path, data, base.replace("latents", "uniform"), PLAIN)))
    z = rows_of(stage.net.net.encode((batch_of(stage, [0, 1])["clean"] + 1) / 2).detach())
    books = [s.net.net.quantize.embedding_s.weight.detach() for s in (stage, fresh)]
    far = [float((book[nearest_codes(z, book)] - z).square().mean()) for book in books]
    assert far[0] < 0.8 * far[1]
    assert len(nearest_codes(z, books[0]).unique()) > 4


def test_codebooks_learn_at_a_rate_of_their_own(data, tmp_path):
    config = load_config(
        write(tmp_path, data, AUTOENCODER, PLAIN), ("model.codebook_lr_scale=3.0", "loss.residual=0.1")
    )
    trainer = Trainer(config, make_stage(config))
    groups = trainer.optimizers["main"].param_groups
    assert [group["lr"] for group in groups] == [1e-3, 3e-3]
    assert sorted(tuple(p.shape) for p in groups[1]["params"]) == [(16, 8), (16, 8)]
    trainer.run()
    first = read_curve(tmp_path / "run" / "log.jsonl")[0]
    parts = sum(getattr(config.loss, name) * first[name] for name in ("absolute", "codebook", "prior", "residual"))
    assert first["residual"] > 0 and first["loss"] == pytest.approx(parts, rel=1e-4)


def test_ablations_are_runs_that_differ_in_one_thing(autoencoder, data, tmp_path, capsys):
    base = f'[model]\nbase = "{autoencoder / "model"}"\ncodebooks = "latents"\n' + NETWORK
    config = str(write(tmp_path, data, base, PLAIN))
    few = ("optimizer.steps=2", "run.validate_every=1", "loss.prior=0.1")
    out = ["--out", str(tmp_path / "out")]
    assert codebook_ablation.main(["fusion", config, *few, *out]) == 0
    capsys.readouterr()
    nets = [checkpoint.load(tmp_path / "run" / f"fusion-{kind}" / "model")[0] for kind in codebook_ablation.FUSIONS]
    assert [net.config["fusion"] for net in nets] == ["addition", "convolution"]
    assert nets[1].quantize.fuse.weight.shape == (8, 16, 3, 3, 3)
    # The convolution starts as the sum, and the run from the same weights: the first batch is seen alike.
    first = [read_curve(tmp_path / "run" / f"fusion-{kind}" / "log.jsonl")[0] for kind in codebook_ablation.FUSIONS]
    assert first[0]["loss"] == pytest.approx(first[1]["loss"], rel=1e-4)
    rows = (tmp_path / "out" / "fusion.md").read_text().splitlines()
    usage = json.loads((tmp_path / "out" / "fusion.json").read_text())["addition"][-1]["usage_s"]
    assert rows[2].startswith("| addition ") and f"{usage:.1%}" in rows[2]
    curves.plot([tmp_path / "run" / "fusion-addition"], tmp_path / "curve.png")
    assert Image.open(tmp_path / "curve.png").size == (1500, 300)
    for table in (codebook_ablation.PRIOR, codebook_ablation.backbones_table(["vgg16", "timm/vit"])):
        losses = [load_config(Path(config), variant.changes).loss for variant in table.variants]
        assert len({(loss.prior, loss.prior_form, loss.backbone, loss.adversarial) for loss in losses}) == 3
