"""``vividface deflicker`` with a network of random weights: whatever it makes of the pictures, the tool keeps its
promises."""

from __future__ import annotations

import re

import pytest
import torch

from tests.assets import clip, run_ffmpeg
from tests.core.bfvr_stc.drawn import narrow_codeformer
from tests.core.cli.test_cli import one_sentence, vividface
from tests.memory import numbers_of
from vividface_core.bfvr_stc.checkpoint import save
from vividface_core.video.source import VideoFrames
from vividface_core.weights import DEFLICKERERS


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "steady"
    kind = "deflicker_brightness"
    return save(folder, narrow_codeformer("frames"), kind=kind, native_size=32, native_frames=8, dtype=torch.float32)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "in.mkv"
    dark = "scale=96:72,lutyuv=y=val*0.7:enable='not(mod(n+2,5))'"
    tone = ("-f", "lavfi", "-i", "sine=440:duration=0.8")
    how = ("-frames:v", "20", "-c:v", "ffv1", "-pix_fmt", "yuv444p", "-c:a", "flac")
    run_ffmpeg("-i", clip("franck"), *tone, "-map", "0:v", "-map", "1:a", "-vf", dark, *how, path)
    return path


def rgb(path) -> torch.Tensor:
    return torch.stack([frame.rgb() for frame in VideoFrames(path).read()])


def test_a_video_is_deflickered_and_the_figures_are_told(model, source, tmp_path):
    output, both = tmp_path / "out.mkv", tmp_path / "both.mp4"
    run = vividface(
        "deflicker", source, "-o", output, "--model", model, "--preset", "ffv1", "--side-by-side", both, "--quiet"
    )
    assert run.returncode == 0, run.stderr
    told = re.search(r"20 frames, 1 shot, flicker ([\d.]+) → ([\d.]+), in blocks", run.stdout)
    before, after = rgb(source), rgb(output)
    assert before.shape == after.shape and both.exists()
    assert float(told[1]) > 0 and float(told[2]) <= float(told[1])  # random weights harm no clip
    assert len(VideoFrames(output).file.streams) == 1


def test_no_keep_detail_shows_the_models_picture(model, source, tmp_path):
    kept, shown = tmp_path / "kept.mkv", tmp_path / "shown.mkv"
    for output, option in ((kept, "--keep-detail"), (shown, "--no-keep-detail")):
        run = vividface("deflicker", source, "-o", output, "--model", model, "--preset", "ffv1", option, "--quiet")
        assert run.returncode == 0, run.stderr
    assert (rgb(kept) - rgb(source)).abs().mean() < 0.05 < (rgb(shown) - rgb(source)).abs().mean()


def test_refusals(model, source, tmp_path):
    out = tmp_path / "out.mkv"
    one_sentence(vividface("deflicker", source, "-o", out, "--kind", "colour"), "colour", "brightness, pixel")
    one_sentence(vividface("deflicker", source, "-o", source, "--model", model), "the input")
    one_sentence(vividface("deflicker", source, "-o", out, "--model", model, "--window", 5), "window is 5", "2k")
    missing = vividface("deflicker", source, "-o", out, "--kind", "pixel")
    one_sentence(missing, f"vividface models download {DEFLICKERERS['pixel']}", "ckpt-deflickersd.pth")
    assert not out.exists()


MEASURE = """
import sys, torch
torch.set_num_threads(1)
from tests.core.pipeline.steady_models import Steady
from vividface_core.pipeline.deflicker import deflicker_options
from vividface_core.pipeline.restore import restore_video
from vividface_core.runtime.memory import peak_memory
restore_video(sys.argv[1], sys.argv[2], Steady(), deflicker_options("brightness", preset="h264"))
print(peak_memory())
"""


def test_memory_does_not_grow_with_the_length(tmp_path):
    peaks = []
    for frames in (40, 120):
        source = tmp_path / f"{frames}.mp4"
        how = ("-frames:v", frames, "-c:v", "libx264", "-preset", "ultrafast")
        run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=160x90:rate=24", *how, source)
        peaks += numbers_of(MEASURE, source, tmp_path / f"{frames}-out.mp4")
    assert peaks[1] < 1.1 * peaks[0]
