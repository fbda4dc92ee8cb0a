"""DVFace's stages of training, one after the other, with tiny networks on real pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage import data as pictures

from tests.tiny import save_tiny_checkpoint, tiny_modules
from tests.training.interrupting import interrupted_after, same_logs
from training.config import load_config
from training.evaluation import dvface_ablation
from training.stages.registry import make_stage
from training.train import main as train
from training.trainer.log import read_curve
from vividface_core.bfvr_stc import checkpoint
from vividface_core.dvface import Fusion, FusionConfig, Priors
from vividface_core.wan.injection import hooked
from vividface_core.weights import load_restorer

RUN = """
system = "{system}"
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
frames = {frames}
size = 32
faces = 0.0
workers = 0
[optimizer]
lr = 1e-2
global_batch_size = 1
micro_batch_size = 1
steps = 3
warmup = 0
ema = 0.5
"""
NETWORK = (
    "[model.network]\nnf = 4\nch_mult = [1, 1, 1, 2]\nemb_dim = 8\ncodebook_size = 16\nres_blocks = 1\n"
    'attention = "frame"\nspatial_branch = "convolution"\n'
)
LOOKUP = "[model.network]\nn_head = 2\nn_layers = 1\nimg_size = 32\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("material")
    stills = [pictures.astronaut(), pictures.coffee(), pictures.chelsea()]
    clips = {
        f"{n:05d}": torch.from_numpy(np.asarray(Image.fromarray(p).resize((96, 96))).copy()[None])
        for n, p in enumerate(stills)
    }
    save_file(clips, folder / "clips.safetensors")
    (folder / "clips.json").write_text(json.dumps({key: {"package": "scikit-image"} for key in clips}))
    return folder


def write(folder, data, system, stage, *tables, frames=5):
    folder.mkdir(exist_ok=True, parents=True)
    text = RUN.format(system=system, stage=stage, output=folder / "run", data=data, frames=frames)
    (folder / "config.toml").write_text(text + "".join(tables))
    return folder / "config.toml"


@pytest.fixture(scope="module")
def priors(data, tmp_path_factory):
    """The checkpoint of stages I and II."""
    folder = tmp_path_factory.mktemp("priors")
    sizes = "native_size = 32\nnative_frames = 4\n"
    quiet = "[loss]\nlpips = 0.0\nadversarial = 0.0\n"
    first = write(folder / "1", data, "bfvr_stc", "autoencoder", f"[model]\n{sizes}", NETWORK, quiet, frames=4)
    assert train([str(first)]) == 0
    model = f'[model]\nautoencoder = "{folder / "1" / "run" / "model"}"\n{sizes}'
    second = write(folder / "2", data, "bfvr_stc", "lookup", model, LOOKUP, frames=4)
    assert train([str(second)]) == 0
    return folder / "2" / "run" / "model"


def fusion_config(folder, data, priors, more=""):
    base = save_tiny_checkpoint(folder / "base")
    model = f'[model]\nbase = "{base}"\npriors = "{priors}"\nnative_size = 32\nnative_frames = 5\n{more}'
    loss = "[loss]\ndists = 0.0\nmotion = 1.0\n"
    return write(folder, data, "dvface", "fusion", model, "[model.fusion]\nheads = 2\n", loss)


def test_the_spatial_convolution_learns_by_the_prior(priors):
    net, _ = checkpoint.load(priors)
    assert net.config["attention"] == "frame" and net.quantize.local[0].weight.shape == (8, 8, 3, 3, 3)


@pytest.mark.parametrize("more", ["", "gradient_checkpointing = false\n", 'denoiser = "frozen"\n'])
def test_the_fusion_learns_and_is_loaded(data, priors, tmp_path, more):
    assert train([str(fusion_config(tmp_path, data, priors, more))]) == 0
    restorer = load_restorer(tmp_path / "run" / "model")
    assert restorer.name == "dvface" and restorer.native_frames == 5
    moved = [
        block.to_out.weight.abs().sum() + block.modulation[2].weight.abs().sum() for block in restorer.fusion.blocks
    ]
    assert all(float(one) > 0 for one in moved), "zero at the start"
    assert restorer.restore(torch.rand(7, 3, 30, 34)).shape == (7, 3, 30, 34)
    losses = [entry["loss"] for entry in read_curve(tmp_path / "run" / "log.jsonl") if "loss" in entry]
    assert len(losses) >= 3 and all(np.isfinite(losses))
    with torch.no_grad():
        stored, _ = checkpoint.load(priors)
        kept = restorer.priors.state_dict()
        assert all(torch.equal(value, kept[name]) for name, value in stored.state_dict().items() if name in kept)
    again = write(
        tmp_path / "again",
        data,
        "dvface",
        "fusion",
        f'[model]\nbase = "{tmp_path / "run" / "model"}"\n',
        "[loss]\ndists = 0.0\n",
    )
    assert make_stage(load_config(again)).net.fusion.config == restorer.fusion.config, (
        "a run may go on from a checkpoint"
    )


def test_queries_of_the_tokens_get_their_gradient(data, priors, tmp_path):
    """The tokens change in place before a block, and the query's gradient needs them as they were."""
    config = str(fusion_config(tmp_path, data, priors))
    assert train([config, 'model.fusion.query="tokens"', "model.gradient_checkpointing=false"]) == 0
    fusion = load_restorer(tmp_path / "run" / "model").fusion
    assert fusion.config.query == "tokens"
    assert all(float(block.to_out.weight.abs().sum()) > 0 for block in fusion.blocks)


def test_a_resumed_run_is_the_undisturbed_one(data, priors, tmp_path):
    assert train([str(fusion_config(tmp_path / "whole", data, priors))]) == 0
    halves = fusion_config(tmp_path / "halves", data, priors)
    interrupted_after(halves, 2)
    assert train([str(halves)]) == 0
    same_logs(tmp_path / "whole" / "run", tmp_path / "halves" / "run")
    states = [load_restorer(tmp_path / name / "run" / "model").fusion.state_dict() for name in ("whole", "halves")]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_the_ablation_gives_each_half_of_the_priors_and_none(data, priors, tmp_path):
    config = str(fusion_config(tmp_path, data, priors))
    changes = ("optimizer.steps=1", "run.validate_every=1")
    assert dvface_ablation.main([config, *changes, "--out", str(tmp_path / "out")]) == 0
    found = {
        name: load_restorer(tmp_path / "run" / name / "model").fusion
        for name in ("none", "temporal", "spatial", "both", "tokens")
    }
    parts = {name: {key.split(".")[2] for key in fusion.state_dict()} for name, fusion in found.items()}
    attention = {"to_q", "to_k", "to_v", "to_out"}
    assert parts["none"] == set() and parts["temporal"] == {"modulation"} and parts["spatial"] == attention
    assert parts["both"] == parts["tokens"] == attention | {"modulation"}
    assert found["tokens"].config.query == "tokens" and found["both"].config.query == "temporal"
    rows = (tmp_path / "out" / "priors.md").read_text().splitlines()
    last = json.loads((tmp_path / "out" / "priors.json").read_text())["spatial"][-1]
    (row,) = [line for line in rows if line.startswith("| spatial ")]
    assert f"{last['psnr']:.2f}" in row and f"{1000 * last['temporal']:.2f}" in row
    assert Image.open(tmp_path / "out" / "priors.png").size == (900, 360)


def test_checkpointed_blocks_have_the_gradients_of_others(data, priors, tmp_path):
    """A block that runs again during the backward pass needs the same injection then."""
    grads = []
    for number, value in enumerate(("true", "false")):
        torch.manual_seed(0)
        path = fusion_config(tmp_path / str(number), data, priors, f"gradient_checkpointing = {value}\n")
        net = make_stage(load_config(path)).net.train()
        torch.manual_seed(1)
        for parameter in net.fusion.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        low, prior = torch.randn(1, 8, 2, 4, 4), torch.randn(1, 2, 4, 8)
        net(low, prior, prior.flip(1)).square().sum().backward()
        grads.append([p.grad for p in net.parameters() if p.grad is not None])
    assert len(grads[0]) == len(grads[1]) > 10
    for ours, theirs in zip(*grads):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_gradient_of_the_fusion_is_that_of_finite_differences():
    torch.manual_seed(0)
    fusion = Fusion(FusionConfig(2, 32, 8, 2)).double()
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    transformer = tiny_modules()[1].double()
    priors = Priors(*(torch.randn(1, 2, 4, 8, dtype=torch.float64) for _ in range(2)))
    latent, text = torch.randn(1, 8, 2, 4, 4).double(), torch.randn(1, 4, 16).double()

    def value() -> torch.Tensor:
        with hooked(transformer, fusion(priors)):
            out = transformer(latent, timestep=torch.tensor([400.0]), encoder_hidden_states=text, return_dict=False)[0]
        return out.square().mean()

    value().backward()
    for parameter in (fusion.blocks[0].modulation[0].weight, fusion.blocks[1].to_q.weight):
        # Parts of the denoiser and the modulation are fp32 by design, so that smaller steps drown in rounding.
        step, grad = 3e-3, float(parameter.grad[1, 2])
        found = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter[1, 2] += sign * step
                found.append(float(value()))
                parameter[1, 2] -= sign * step
        assert abs((found[0] - found[1]) / (2 * step) - grad) < 0.01 * abs(grad)
