"""BFVR-STC at the command line: a checkpoint of it is recognised, told and run as any other."""

from __future__ import annotations

import pytest
import torch

from tests.assets import clip, run_ffmpeg
from tests.command import one_sentence, vividface
from tests.core.bfvr_stc.drawn import narrow_autoencoder, narrow_codeformer
from vividface_core.bfvr_stc.checkpoint import save
from vividface_core.restorers.codebook import load_codebook_restorer
from vividface_core.video.reader import VideoReader
from vividface_core.weights import load_restorer


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Stage II with random weights, trained on clips of 8 frames of 64×64, so to say."""
    folder = tmp_path_factory.mktemp("models") / "codebook"
    return save(folder, narrow_codeformer(), kind="restore", native_size=64, native_frames=8, dtype=torch.float32)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "in.mkv"
    run_ffmpeg("-i", clip("franck"), "-vf", "scale=64:64", "-frames:v", "7", "-c:v", "ffv1", "-pix_fmt", "gbrp", path)
    return path


def test_a_clip_is_restored_by_it(model, source, tmp_path):
    output = tmp_path / "out.mkv"
    run = vividface("restore", source, "-o", output, "--model", model, "--preset", "ffv1", "--whole-frame")
    assert run.returncode == 0, run.stderr
    before, after = ([frame.rgb() for frame in VideoReader(path)] for path in (source, output))
    assert len(after) == 7
    wanted = load_codebook_restorer(model).restore(torch.stack(before)).clamp(0, 1)
    assert (torch.stack(after) - wanted).abs().max() < 2 / 255
    assert (wanted - torch.stack(before)).abs().mean() > 0.01


def test_options_of_another_system_are_refused(model, source, tmp_path):
    one_sentence(
        vividface("restore", source, "-o", tmp_path / "out.mkv", "--model", model, "--offload"), "--offload", "bfvr_stc"
    )
    one_sentence(
        vividface("restore", source, "-o", tmp_path / "out.mkv", "--model", model, "--window", 5), "window is 5", "2k"
    )
    one_sentence(
        vividface("restore", source, "-o", tmp_path / "out.mkv", "--model", model, "--as-released"), "bfvr_stc"
    )


def test_what_a_file_is(model, tmp_path):
    assert "BFVR-STC restore" in vividface("models", "inspect", model).stdout
    assert load_restorer(model).dtype == torch.float32
    stage_one = save(tmp_path / "one", narrow_autoencoder())
    assert "BFVR-STC autoencoder" in vividface("models", "inspect", stage_one).stdout
    listed = vividface("models", "list", "--models-dir", model.parent, "--models-dir", tmp_path).stdout
    assert "codebook" in listed and "one  " not in listed
