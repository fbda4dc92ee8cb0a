"""Configurations: every one that ships loads, holds the paper's values, and a mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.config import Config, Optimizer, load_config, published
from vividface_core.errors import InvalidOption

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_configuration_loads(path):
    assert isinstance(load_config(path), Config)


@pytest.mark.parametrize("stage, frames", [("latent", 81), ("pixel", 13)])
def test_the_papers_values(stage, frames):
    config = load_config(CONFIGS / f"vividface-1.3b-{stage}.toml")
    assert (config.stage, config.data.frames, config.model.native_size) == (stage, frames, 512)
    assert (config.optimizer.global_batch_size, config.optimizer.lr) == (32, 1e-4)
    assert (config.loss.face_probability, config.loss.dists) == (0.5, 0.1)
    assert config.loss.absolute == config.loss.edges == config.loss.lpips == 0


def test_the_papers_values_are_the_defaults():
    optimizer = Optimizer()
    assert (optimizer.global_batch_size, optimizer.lr, optimizer.steps) == (32, 1e-4, 32_000)


def test_both_stages_of_the_paper_make_its_iterations():
    steps = (load_config(CONFIGS / f"vividface-1.3b-{stage}.toml").optimizer.steps for stage in ("latent", "pixel"))
    assert sum(steps) == 32_000


GOOD = 'stage = "latent"\n[run]\noutput = "x"\n[model]\nbase = "b"\n[data]\npath = "d"\n'


@pytest.mark.parametrize(
    "text, named",
    [
        (GOOD + "worker = 3\n", "data.worker"),
        (GOOD.replace('"latent"', '"laten"'), "stage"),
        (GOOD + "[loss]\nface_probability = 1.5\n", "loss.face_probability"),
        (GOOD + "[optimizer]\nglobal_batch_size = 'many'\n", "optimizer.global_batch_size"),
        (GOOD.replace('base = "b"', ""), "needs a base"),
        (GOOD.replace('path = "d"', 'path = "d"\nkind = "clips"'), "needs frames"),
        (GOOD.replace('"latent"', '"autoencoder"'), "clips"),
        (GOOD.replace('output = "x"', ""), "run.output"),
        ("stage = ", "no TOML"),
    ],
)
def test_mistakes_are_named(text, named, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(InvalidOption, match=named):
        load_config(path)


def test_changes_go_before_the_file(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(GOOD)
    changes = ("run.seed=7", "run.output=elsewhere", "optimizer.steps=5", "run.trackers=['wandb']")
    config = load_config(path, changes)
    assert config.run.seed == 7 and str(config.run.output) == "elsewhere"
    assert config.optimizer.steps == 5 and config.run.trackers == ("wandb",)
    for wrong in ("seed", "run.seeds=1", "stage.x=1"):
        with pytest.raises(InvalidOption):
            load_config(path, (wrong,))


@pytest.mark.parametrize("path", sorted((CONFIGS / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_its_configurations(path):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    assert config.num_processes in (2, 8)
    if path.stem == "fsdp2":
        from diffusers import WanTransformer3DModel

        assert config.fsdp_config["fsdp_transformer_layer_cls_to_wrap"] in WanTransformer3DModel._no_split_modules


def test_older_keys_are_read_and_stand_in_a_models_card(tmp_path):
    old = {"rate": 2e-4, "muon_rate": 3.0, "vae_rate": 0.5, "batch": 6, "micro_batch": 2, "final": 0.1, "max_norm": 2.0}
    path = tmp_path / "old.toml"
    path.write_text(GOOD + "[optimizer]\n" + "".join(f"{key} = {value}\n" for key, value in old.items()))
    config = load_config(path)
    optimizer = config.optimizer
    assert (optimizer.lr, optimizer.muon_lr_scale, optimizer.vae_lr_scale) == (2e-4, 3.0, 0.5)
    assert (optimizer.global_batch_size, optimizer.micro_batch_size) == (6, 2)
    assert (optimizer.min_lr_ratio, optimizer.max_grad_norm) == (0.1, 2.0)
    assert old.items() <= published(config)["optimizer"].items()
    with pytest.raises(InvalidOption, match="optimizer"):
        load_config(path, ("optimizer.lr=1e-4",))  # both names at once
