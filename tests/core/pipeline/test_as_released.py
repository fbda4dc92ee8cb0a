"""Whole clips as VividFace's released script restores them; beside the script itself: ``benchmarks/released.py``."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.assets import two_shots
from tests.command import vividface
from vividface_core.errors import InvalidOption, OutOfMemory
from vividface_core.pipeline.restore import Resources, RestoreOptions, restore_video
from vividface_core.restorers.oom_fallback import OomFallbackRestorer
from vividface_core.video.reader import VideoReader
from vividface_core.weights import load_restorer

FRAMES, SIDE = 22, 64
"""More frames than a window of the tiny model has, no native length, and a cut in the middle."""


@pytest.fixture(scope="module")
def restorer(tiny_checkpoint):
    return load_restorer(str(tiny_checkpoint), dtype=torch.float32)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """The script's kind of input: numbered pictures."""
    folder = tmp_path_factory.mktemp("clip")
    film = two_shots(folder.with_suffix(".mp4"), FRAMES // 2, FRAMES // 2)
    for number, frame in enumerate(VideoReader(film)):
        picture = (frame.rgb() * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(picture).resize((160, 90)).save(folder / f"{number:08d}.png")
    assert number == FRAMES - 1
    return folder


@pytest.fixture(scope="module")
def wanted(pictures, restorer) -> np.ndarray:
    """The script's steps, with its own library for pictures: read, resize directly, one pass; 0…255, not rounded."""
    read = [cv2.imread(str(path)).astype("float32") / 255 for path in sorted(pictures.iterdir())]
    resized = [cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)[..., ::-1].copy() for picture in read]
    clip = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)
    return restorer.restore(clip).permute(0, 2, 3, 1).numpy() * 255


def written(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.png"))])


def test_the_whole_clip_is_one_window_in_fp32_and_stays_in_the_models_square(
    pictures, wanted, tiny_checkpoint, tmp_path
):
    model = ["--model", str(tiny_checkpoint), "--dtype", "fp32", "--preset", "png", "--quiet"]
    run = vividface("restore", pictures, "-o", tmp_path / "out", *model, "--as-released", "--model-size")
    assert run.returncode == 0 and f"{FRAMES} frames, 1 shot, whole frames" in run.stdout, run.stderr
    out = written(tmp_path / "out").astype(float)
    assert out.shape == wanted.shape == (FRAMES, SIDE, SIDE, 3)
    assert np.abs(out - wanted).max() <= 0.51, "rounded, and nothing else"
    # So it would be in windows and shots, and with crops in fp16.
    run = vividface("restore", pictures, "-o", tmp_path / "usual", *model, "--whole-frame", "--model-size")
    assert run.returncode == 0 and "2 shots" in run.stdout, run.stderr
    assert np.abs(written(tmp_path / "usual") - wanted).max() > 2


def test_without_model_size_the_result_has_the_inputs_size(pictures, wanted, restorer, tmp_path):
    options = RestoreOptions(preset="png", whole_frame=True, as_released=True)
    restore_video(pictures, tmp_path / "out", restorer, options)
    out = written(tmp_path / "out")
    assert out.shape == (FRAMES, 90, 160, 3)
    back = [cv2.resize(picture / 255, (160, 90), interpolation=cv2.INTER_CUBIC) for picture in wanted]
    assert np.abs(out / 255 - np.clip(back, 0, 1)).max() < 0.01


def test_a_clip_that_does_not_fit_is_refused_and_never_cut_into_windows(pictures, restorer, tmp_path):
    options = RestoreOptions(preset="png", whole_frame=True, as_released=True)
    room = Resources(memory_limit=restorer.memory_for(13, SIDE, SIDE))
    with pytest.raises(OutOfMemory, match="All 22 frames in one window need"):
        restore_video(pictures, tmp_path / "out", restorer, options, resources=room)
    assert not (tmp_path / "out").exists()


def test_where_memory_ends_during_the_work_the_window_stays_whole(restorer, monkeypatch):
    lengths = []

    def restore(clip, **_):
        lengths.append(len(clip))
        raise OutOfMemory("There is none left.")

    restorer.restore_defaults()
    monkeypatch.setattr(restorer, "restore", restore)
    with pytest.raises(OutOfMemory, match="none left"):
        OomFallbackRestorer(restorer, lambda text: None, shorter=False).restore(torch.rand(FRAMES, 3, SIDE, SIDE))
    restorer.restore_defaults()
    assert set(lengths) == {FRAMES} and len(lengths) > 1, "tiles were tried"


@pytest.mark.parametrize(
    "given, told",
    [
        ({"as_released": True}, "whole_frame"),
        ({"model_size": True}, "whole_frame"),
        ({"as_released": True, "whole_frame": True, "window": 9}, "one window"),
        ({"as_released": True, "whole_frame": True, "overlap": 2}, "one window"),
        ({"model_size": True, "whole_frame": True, "keep_size": True}, "leave out one"),
    ],
)
def test_options_that_contradict_it_are_refused(given, told):
    with pytest.raises(InvalidOption, match=told):
        RestoreOptions(**given)
