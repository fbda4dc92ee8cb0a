"""A second system, all of it in this file: nothing outside names it, and everything works with it.

It shares nothing with the one-step restorer: clips of 3k + 2 frames, no latent, its own colour default, an option of
its own, its own checkpoint folder and stage of training. Programs of their own find it by an entry point, as they find
any other package's system.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from vividface_core.errors import InvalidOption
from vividface_core.io.folders import whole_folder
from vividface_core.restorers.base import Restorer, module_bytes
from vividface_core.restorers.execution import ExecutionConfig, option
from vividface_core.restorers.lengths import ClipLengths
from vividface_core.restorers.registry import CARD, GROUP, Found, System, register, unregister

LENGTHS, WEIGHTS, ANCHOR = ClipLengths(3, 2), "light.safetensors", "light_down.weight"
CPU = torch.device("cpu")
# This file is also copied as a package, where there is no tests.paths.
REPOSITORY = Path(__file__).resolve().parents[3]


class Light(nn.Module):
    """A change of light for every three frames; only clips of 3k + 2 frames come out as long as they went in."""

    def __init__(self) -> None:
        super().__init__()
        self.light_down = nn.Conv3d(3, 3, (2, 1, 1), stride=(3, 1, 1), groups=3)
        self.light_up = nn.ConvTranspose3d(3, 3, (2, 1, 1), stride=(3, 1, 1), groups=3)

    def forward(self, clip):
        return clip + self.light_up(self.light_down(clip))


@dataclass(frozen=True)
class LightExecution(ExecutionConfig):
    boost: float = option(
        1.0, "how much of the light is changed", flag="--boost", metavar="X", widget=True, decides=True
    )


class LightRestorer(Restorer):
    name, color_default, steps = "light", "none", None
    valid_lengths, size_multiple, native_size, native_frames = LENGTHS, 8, 64, 8

    def __init__(self, net: Light, execution: LightExecution) -> None:
        self.net, self.boost = net.eval().to(execution.device, execution.number_type()), execution.boost

    def restore(self, clip, *, mask=None, strength=1.0, progress=None):
        frames = self.valid_lengths.at_least(len(clip))
        whole = clip[torch.arange(frames).clamp(max=len(clip) - 1)]
        with torch.inference_mode():
            got = self.net(whole.transpose(0, 1)[None].to(self.device, self.dtype))[0].transpose(0, 1)[: len(clip)]
            got = (clip + self.boost * (got.to(clip) - clip)).clamp(0, 1)
        return clip.lerp(got, strength if mask is None else strength * mask)

    def memory_for(self, frames, height, width):
        return module_bytes(self.net) + 4 * 3 * 3 * self.valid_lengths.at_least(frames) * height * width

    modules = property(lambda self: {"net": self.net})
    device = property(lambda self: self.net.light_up.bias.device)
    dtype = property(lambda self: self.net.light_up.bias.dtype)

    def to(self, device=None, dtype=None):
        self.net.to(device, dtype)
        return self


def detect(contents):
    if contents.card is not None:
        return Found("checkpoint folder", True, contents.card) if contents.card.get("system") == "light" else None
    return Found("light", True) if contents.path.is_file() and ANCHOR in contents.tensors else None


def load(files, execution):
    net, path = Light(), files.path / WEIGHTS if files.path.is_dir() else files.path
    net.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return LightRestorer(net, execution)


def save(path, restorer, meta, dtype=torch.float32):
    with whole_folder(Path(path)) as folder:
        save_file({name: x.to(dtype).contiguous() for name, x in restorer.net.state_dict().items()}, folder / WEIGHTS)
        (folder / CARD).write_text(json.dumps({**meta, "system": "light"}))


def __getattr__(name):
    """The stage, which the engine alone never asks for."""
    if name != "LightStage":
        raise AttributeError(name)
    from training.config import Section
    from training.stages.base import Stage

    class LightModel(Section):
        seed: int = 0

    class Pairs:
        def sample(self, number, rng):
            clean = torch.from_numpy(rng.random((3, 5, 16, 16), np.float32)) * 2 - 1
            return {"clean": clean, "degraded": 0.5 * clean}

    class LightStage(Stage):
        model_section = LightModel

        def __init__(self, config):
            super().__init__(config)
            torch.manual_seed(config.model.seed)
            self.net = Light()

        def source(self, validation):
            return Pairs()

        def loss(self, net, batch):
            return {"loss": (net(batch["degraded"]) - batch["clean"]).square().mean()}

        def show(self, batch):
            with torch.no_grad():
                output = self.net(batch["degraded"])
            return {
                "input": batch["degraded"],
                "output": output,
                "truth": batch["clean"],
                "mask": torch.ones_like(output[:, :1]),
            }

        def save(self, folder, net, notes):
            meta = {"name": "light", "training": {"stage": "light", **notes}}
            save(folder, LightRestorer(net, LightExecution()), meta)
            net.train()

    return globals().setdefault("LightStage", LightStage)


LIGHT = System(
    id="light",
    detect=f"{__name__}:detect",
    load=f"{__name__}:load",
    save=f"{__name__}:save",
    execution=f"{__name__}:LightExecution",
    valid_lengths=LENGTHS,
    size_multiple=8,
    native_size=64,
    native_frames=8,
    color_default="none",
    stages={"light": f"{__name__}:LightStage"},
)


@pytest.fixture
def light():
    """The system among the others, in this process."""
    yield register(LIGHT)
    unregister(LIGHT.id)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A folder with random weights."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("models") / "mine"
    save(folder, LightRestorer(Light(), LightExecution()), {"licence": "CC0-1.0"})
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """``PYTHONPATH`` of a program that has the system as another package: this file, and an entry point."""
    folder = tmp_path_factory.mktemp("packages")
    shutil.copyfile(__file__, folder / "vividface_light.py")
    about = folder / "vividface_light-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: vividface-light\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{GROUP}]\nlight = vividface_light:LIGHT\n")
    return os.pathsep.join([str(folder), str(REPOSITORY)])


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Eleven frames, lossless, which two windows of eight cover."""
    from tests.assets import clip, run_ffmpeg

    path = tmp_path_factory.mktemp("video") / "in.mkv"
    run_ffmpeg(
        "-i", clip("single_face"), "-frames:v", "11", "-vf", "scale=64:48", "-c:v", "ffv1", "-pix_fmt", "yuv420p", path
    )
    return path


def vividface(installed, *arguments):
    command = [sys.executable, "-m", "vividface_core.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": installed})


def pictures(path):
    from vividface_core.video.source import VideoFrames

    return torch.stack([frame.rgb() for frame in VideoFrames(path).read()])


def by_hand(checkpoint, clip, boost=1.0):
    """The formula in NumPy, for a clip of 3k + 2 frames."""
    state, clip = {k: v.double().numpy() for k, v in load_file(checkpoint / WEIGHTS).items()}, clip.double().numpy()
    light = np.zeros_like(clip)
    for color in range(3):
        down, up = (state[f"light_{way}.weight"][color, 0, :, 0, 0] for way in ("down", "up"))
        light[:, color] = state["light_up.bias"][color]
        for first in range(0, len(clip), 3):
            seen = down @ clip[first : first + 2, color].reshape(2, -1) + state["light_down.bias"][color]
            light[first : first + 2, color] += (up[:, None] * seen).reshape(2, *clip.shape[2:])
    return torch.from_numpy((clip + boost * light).clip(0, 1)).float()


def test_lengths():
    for lengths in (LENGTHS, ClipLengths(4, 1), ClipLengths(2), ClipLengths()):
        native = [n for n in range(1, 40) if n % lengths.step == lengths.offset]
        assert [n for n in range(-3, 40) if n in lengths] == native and lengths.least == native[0]
        for frames in range(1, 30):
            assert lengths.at_least(frames) == min(n for n in native if n >= frames)
            assert lengths.at_most(frames) == max((n for n in native if n <= frames), default=None)
            assert list(lengths.down_from(frames)) == [n for n in reversed(native) if n <= frames]
    assert str(LENGTHS) == "3k + 2 frames: 2, 5, 8 …" and str(ClipLengths(4, 1)) == "4k + 1 frames: 5, 9, 13 …"


def test_content_tells_the_system(light, checkpoint, tmp_path):
    from vividface_core.weights import inspect, list_checkpoints, load_restorer

    shutil.copyfile(checkpoint / WEIGHTS, tmp_path / "unnamed.safetensors")
    for path in (checkpoint, tmp_path / "unnamed.safetensors"):
        assert (inspect(path).system, inspect(path).restores) == ("light", True)
        clip = torch.rand(8, 3, 10, 12)
        torch.testing.assert_close(load_restorer(path, boost=0.5).restore(clip), by_hand(checkpoint, clip, 0.5))
    assert "mine" in {info.name for info in list_checkpoints([checkpoint.parent])}
    with pytest.raises(InvalidOption, match="tile isn't an option.*'light'.*boost"):
        load_restorer(checkpoint, tile=64)
    with pytest.raises(InvalidOption, match="boost"):
        load_restorer("vividface-nano", boost=2.0)


def test_a_pipeline_keeps_to_its_lengths_and_colours(light, checkpoint):
    from vividface_core.pipeline.restore import Callbacks, RestoreOptions, restore_frames
    from vividface_core.weights import load_restorer

    class Keep(Callbacks):
        def plan(self, plan):
            self.planned = plan

    restorer, keep, clip = load_restorer(checkpoint), Keep(), torch.rand(11, 3, 16, 24)
    options = {"whole_frame": True, "keep_size": True}
    got, _ = restore_frames(clip, restorer, RestoreOptions(overlap=0, **options), callbacks=keep)
    assert [(w.start, w.stop) for w in keep.planned.windows(11)] == [(0, 8), (3, 11)]
    # Crops wait in half precision.
    torch.testing.assert_close(got[:3], by_hand(checkpoint, clip[:8])[:3], rtol=0, atol=1e-3)
    torch.testing.assert_close(got[8:], by_hand(checkpoint, clip[3:])[5:], rtol=0, atol=1e-3)
    for wrong, words in (({"window": 9}, "3k . 2"), ({"size": 36, "keep_size": False}, "multiple of 8")):
        with pytest.raises(InvalidOption, match=words):
            restore_frames(clip, restorer, RestoreOptions(**{**options, **wrong}))


def test_the_command_line(installed, checkpoint, video, light, tmp_path):
    from vividface_core.pipeline.restore import RestoreOptions, restore_video
    from vividface_core.weights import load_restorer

    how = ["--model", checkpoint, "--preset", "ffv1", "--whole-frame", "--keep-size", "--quiet"]
    run = vividface(installed, "restore", video, "-o", tmp_path / "out.mkv", "--boost", "2", *how)
    assert run.returncode == 0, run.stderr
    options = RestoreOptions(preset="ffv1", whole_frame=True, keep_size=True)
    for name, boost in (("same", 2.0), ("other", 1.0)):
        restore_video(video, tmp_path / f"{name}.mkv", load_restorer(checkpoint, boost=boost), options)
    ours, same, other = (pictures(tmp_path / f"{name}.mkv") for name in ("out", "same", "other"))
    assert torch.equal(ours, same) and not torch.equal(ours, other)
    refused = vividface(installed, "restore", video, "-o", tmp_path / "no.mkv", "--tile", "64", *how)
    assert refused.returncode == 1 and refused.stderr.strip() == (
        "vividface: --tile: models of light don't have that; leave it out."
    )
    listed = vividface(installed, "models", "list", "--models-dir", checkpoint.parent)
    assert any(line.startswith("mine ") and "CC0-1.0" in line for line in listed.stdout.splitlines())
    seen = vividface(installed, "models", "inspect", checkpoint)
    assert seen.returncode == 0 and "light" in seen.stdout and "CC0-1.0" in seen.stdout
    broken = tmp_path / "broken" / "other-1.0.dist-info"
    broken.mkdir(parents=True)
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (broken / "entry_points.txt").write_text(f"[{GROUP}]\nother = no_such_module:OTHER\n")
    beside = vividface(os.pathsep.join([installed, str(broken.parent)]), "models", "inspect", checkpoint)
    assert beside.stdout == seen.stdout and "'other' (no_such_module:OTHER) is left out" in beside.stderr
    without = vividface(str(REPOSITORY), "models", "inspect", checkpoint)
    assert without.returncode == 1 and "is of system 'light'; this version loads 'vividface'" in without.stderr


def test_the_node(installed, checkpoint, video, light, tmp_path):
    """In a real ComfyUI, with the option as an appended input of the loader."""
    from tests.comfyui.server import ComfyServer
    from vividface_core.pipeline.restore import RestoreOptions, restore_frames
    from vividface_core.weights import load_restorer

    folder = tmp_path / "comfy"
    shutil.copytree(checkpoint, folder / "models" / "vividface" / "mine")
    shutil.copytree(checkpoint, folder / "models" / "vividface" / "again")
    with ComfyServer(folder, environment={"PYTHONPATH": installed}) as server:
        inputs = server.get("/object_info")["VividFaceLoadModel"]["input"]
        assert inputs["optional"]["boost"][1]["default"] == 1.0 and "mine" in str(inputs["required"]["model"])
        prompt = {
            "model": {
                "class_type": "VividFaceLoadModel",
                "inputs": {"model": "mine", "precision": "fp32", "device": "cpu", "boost": 2.0},
            },
            "images": {
                "class_type": "EmptyImage",
                "inputs": {"width": 24, "height": 16, "batch_size": 11, "color": 0x6080A0},
            },
            "restore": {
                "class_type": "VividFaceOneStepRestoreImages",
                "inputs": {
                    "images": ["images", 0],
                    "restorer": ["model", 0],
                    "faces": "all",
                    "face_numbers": "0",
                    "strength": 1.0,
                    "color": "auto",
                    "whole_frame": True,
                    "keep_size": True,
                    "min_face": 24,
                    "window": 8,
                    "overlap": -1,
                    "size": 0,
                    "detector": "auto",
                },
            },
            "save": {"class_type": "SaveImage", "inputs": {"images": ["restore", 0], "filename_prefix": "out"}},
        }
        server.run(prompt)
        wrong = {**prompt, "restore": {**prompt["restore"], "inputs": {**prompt["restore"]["inputs"], "window": 7}}}
        with pytest.raises(ValueError, match=r"4k \+ 1.*3k \+ 2"):
            server.queue(wrong)
    from PIL import Image

    files = sorted((folder / "output").glob("out*.png"))
    got = torch.stack([torch.from_numpy(np.array(Image.open(path))) for path in files])
    clip = torch.tensor([0x60, 0x80, 0xA0]).view(1, 3, 1, 1).expand(11, 3, 16, 24) / 255
    options = RestoreOptions(whole_frame=True, keep_size=True, window=8)
    wanted, _ = restore_frames(clip.contiguous(), load_restorer(checkpoint, boost=2.0), options)
    assert (got / 255 - wanted.permute(0, 2, 3, 1)).abs().max() < 1.5 / 255 and len(files) == 11


def test_export(light, checkpoint, tmp_path, capsys):
    from training.export import main as export
    from vividface_core.weights import load_restorer

    assert export([str(checkpoint), str(tmp_path / "out"), "--dtype", "fp32"]) == 0
    clip = torch.rand(5, 3, 8, 8)
    assert torch.equal(load_restorer(tmp_path / "out").restore(clip), load_restorer(checkpoint).restore(clip))
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "`light`" in readme and "8 frames at 64×64" in readme and "wan" not in readme
    assert export([str(checkpoint), str(tmp_path / "again"), "--original", str(tmp_path)]) == 1
    assert "no other layout" in capsys.readouterr().err


CONFIG = """
system = "light"
stage = "light"
[run]
output = "{output}"
precision = "no"
validate_every = 0
trackers = []
[model]
seed = 5
[data]
path = "unused"
workers = 0
[optimizer]
global_batch_size = 2
steps = 1
warmup = 0
ema = 0.0
weight_decay = 0.0
"""


def test_a_step_of_training(light, tmp_path, capsys):
    from training.train import main as train
    from vividface_core.weights import load_restorer

    (tmp_path / "config.toml").write_text(CONFIG.format(output=tmp_path / "run"))
    assert train([str(tmp_path / "config.toml")]) == 0
    torch.manual_seed(5)
    before, after = Light().state_dict(), load_restorer(tmp_path / "run" / "model").net.state_dict()
    # AdamW's first step moves every weight by the rate, against the gradient.
    assert all(torch.allclose((after[key] - before[key]).abs(), torch.tensor(1e-4), rtol=0.02) for key in before)
    assert train([str(tmp_path / "config.toml"), "model.sed=3"]) == 1 and "model.sed" in capsys.readouterr().err
    assert train([str(tmp_path / "config.toml"), "stage=dark"]) == 1
    assert "'light' has no stage 'dark'; its stages are: light" in capsys.readouterr().err


def test_curation_asks_its_lengths(light):
    from training.curation.clips import ClipRules

    assert ClipRules(frames=8, size=40, system=light).frames == 8
    with pytest.raises(InvalidOption, match=r"light has 3k \+ 2 frames"):
        ClipRules(frames=9, system=light)
    with pytest.raises(InvalidOption, match=r"4k \+ 1"):
        ClipRules(frames=8)


def test_two_systems_of_one_name_or_with_one_option_of_two_meanings_are_refused(light):
    from dataclasses import replace

    with pytest.raises(InvalidOption, match="Two systems are called 'light'"):
        register(replace(LIGHT, native_size=96))
    with pytest.raises(InvalidOption, match="'vividface' and 'dark' disagree on the option 'tile'"):
        register(replace(LIGHT, id="dark", execution=f"{__name__}:OtherTile"))


@dataclass(frozen=True)
class OtherTile(ExecutionConfig):
    tile: bool = option(False, "not the one-step restorer's", flag="--tile")
