"""Restored faces in frames of another size: an upscaler's result, or the source enlarged."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.assets import clip, run_ffmpeg
from tests.command import vividface
from tests.core.pipeline.test_restore import FAST, packets, planes
from vividface_core.errors import InvalidOption
from vividface_core.faces.compose import compose
from vividface_core.pipeline.restore import Resources, RestoreOptions, restore_video
from vividface_core.video.source import VideoFrames
from vividface_core.weights import load_restorer

OPTIONS = RestoreOptions(preset="ffv1", **FAST)


@pytest.fixture(scope="module")
def restorer(tiny_checkpoint):
    return load_restorer(str(tiny_checkpoint))


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> dict[str, Path]:
    """A talking head with sound, and the same film enlarged twice in other colours by another program."""
    folder = tmp_path_factory.mktemp("films")
    made = {name: folder / f"{name}.mkv" for name in ("source", "large", "padded", "short", "other")}
    sound = ["-f", "lavfi", "-i", "sine=frequency=440:duration=1", "-shortest"]
    run_ffmpeg("-i", clip("single_face"), *sound, "-frames:v", "12", "-c:v", "ffv1", "-c:a", "flac", made["source"])
    bigger = ["-vf", "scale=iw*2:ih*2:flags=bicubic,eq=saturation=0.9", "-c:v", "ffv1", "-an"]
    run_ffmpeg("-i", made["source"], *bigger, made["large"])
    # What a model of 4k + 1 frames may leave: the last frame again and again.
    run_ffmpeg("-i", made["large"], "-vf", "tpad=stop=3:stop_mode=clone", "-c:v", "ffv1", made["padded"])
    run_ffmpeg("-i", made["large"], "-frames:v", "9", "-c:v", "ffv1", made["short"])
    run_ffmpeg("-i", made["large"], "-vf", "hflip,negate", "-c:v", "ffv1", made["other"])
    return made


@pytest.mark.parametrize("name", ["large", "padded"])
def test_faces_are_put_into_the_background_and_nothing_else_of_it_changes(films, restorer, tmp_path, name):
    result = restore_video(films["source"], tmp_path / "out.mkv", restorer, OPTIONS, background=films[name])
    assert result.tracks == 1 and result.frames == 12
    out, background = planes(tmp_path / "out.mkv"), planes(films[name])
    source = planes(films["source"])
    assert [time for time, _ in out] == [time for time, _ in source]
    assert packets(tmp_path / "out.mkv", "audio") == packets(films["source"], "audio")
    height, width = source[0][1].shape[0] * 2 // 3, source[0][1].shape[1]
    for (_, found), (_, below) in zip(out, background):
        assert found.shape == below.shape
        luma = (found != below)[: 2 * height]
        changed = np.argwhere(luma)
        assert 0 < len(changed) < 0.5 * luma.size, "the face, and no more"
        assert changed[:, 1].max() < 2 * width
    # The face stands where it stands in the source, twice as large.
    alone = restore_video(films["source"], tmp_path / "alone.mkv", restorer, OPTIONS)
    assert alone.tracks == 1
    small = np.argwhere((planes(tmp_path / "alone.mkv")[5][1] != source[5][1])[:height])
    large = np.argwhere((out[5][1] != background[5][1])[: 2 * height])
    assert np.abs(large.min(0) - 2 * small.min(0)).max() <= 6 and np.abs(large.max(0) - 2 * small.max(0)).max() <= 6


def test_a_background_that_is_not_the_same_film_is_refused_before_the_work(films, restorer, tmp_path):
    small = tmp_path / "small.mkv"
    run_ffmpeg("-i", films["source"], "-vf", "scale=iw/2:ih/2", "-c:v", "ffv1", small)
    wide = tmp_path / "wide.mkv"
    run_ffmpeg("-i", films["large"], "-vf", "scale=iw*1.5:ih", "-c:v", "ffv1", wide)
    for background, words in (
        (films["short"], "9 frames, the source 12"),
        (films["other"], "doesn't show what"),
        (small, "as large or larger"),
        (wide, "same picture"),
    ):
        with pytest.raises(InvalidOption, match=words):
            restore_video(films["source"], tmp_path / "out.mkv", restorer, OPTIONS, background=background)
    with pytest.raises(InvalidOption, match="leave out one"):
        options = RestoreOptions(**{**FAST, "scale": 2.0})
        restore_video(films["source"], tmp_path / "out.mkv", restorer, options, background=films["large"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.mkv", "wide.mkv"], "nothing was begun"


def test_enlarged_frames_are_those_of_a_lanczos_filter(films, restorer, tmp_path):
    options = RestoreOptions(preset="ffv1", scale=1.5, **FAST)
    restore_video(films["source"], tmp_path / "out.mkv", restorer, options)
    wanted = tmp_path / "wanted.mkv"
    run_ffmpeg("-i", films["source"], "-vf", "scale=iw*1.5:ih*1.5:flags=lanczos", "-c:v", "ffv1", wanted)
    out, ffmpeg = planes(tmp_path / "out.mkv"), planes(wanted)
    assert len(out) == 12 and out[0][1].shape == ffmpeg[0][1].shape
    differing = np.abs(out[3][1].astype(int) - ffmpeg[3][1]) > 1
    assert differing.mean() < 0.5, "all but the face"
    assert (np.abs(out[3][1].astype(int) - ffmpeg[3][1])[:20, :20] <= 1).all()


class Twice:
    """Each pixel four times, as an upscale model might."""

    name, factor = "twice", 2.0

    def __call__(self, picture):
        return picture.repeat_interleave(2, 1).repeat_interleave(2, 2)


@pytest.mark.parametrize("turn", [0, 90])
def test_frames_enlarged_by_a_model_are_what_it_makes_of_them(films, restorer, tmp_path, turn):
    source = films["source"]
    if turn:
        source = tmp_path / "turned.mp4"
        coding = ["-c:v", "libx264", "-crf", "1", "-pix_fmt", "yuv444p", "-c:a", "aac"]
        plain = tmp_path / "plain.mp4"
        run_ffmpeg("-i", films["source"], *coding, plain)
        run_ffmpeg("-display_rotation", turn, "-i", plain, "-c", "copy", source)
    options = RestoreOptions(**{**FAST, "preset": "ffv1", "scale": 2.0, "min_face": 1000.0})
    upscaling = Resources(upscale=Twice())
    restore_video(source, tmp_path / "out.mkv", restorer, options, resources=upscaling)
    made, given = (list(VideoFrames(path).read()) for path in (tmp_path / "out.mkv", source))
    assert len(made) == len(given) == 12
    wanted = Twice()(given[4].rgb())
    # What a quarter of the colour samples can hold.
    assert made[4].rgb().shape == wanted.shape and (made[4].rgb() - wanted).abs().mean() < 0.01


def test_a_model_needs_something_to_enlarge(films, restorer, tmp_path):
    for scale, background in ((1.0, None), (2.0, films["large"])):
        options = RestoreOptions(**{**FAST, "scale": scale})
        with pytest.raises(InvalidOption, match="set scale above 1"):
            restore_video(
                films["source"],
                tmp_path / "out.mkv",
                restorer,
                options,
                background=background,
                resources=Resources(upscale=Twice()),
            )


def test_without_a_face_the_background_is_the_result(films, restorer, tmp_path):
    options = RestoreOptions(**{**FAST, "preset": "ffv1", "min_face": 1000.0})
    result = restore_video(films["source"], tmp_path / "out.mkv", restorer, options, background=films["large"])
    assert result.tracks == 0
    for (_, found), (_, below) in zip(planes(tmp_path / "out.mkv"), planes(films["large"])):
        assert np.array_equal(found, below)


def test_the_restored_crop_replaces_what_an_upscaler_guessed():
    """At the middle of the mask the enlarged frame's own detail is gone; beside it nothing is touched."""
    rng = torch.Generator().manual_seed(0)
    frame, restored = torch.rand(3, 96, 96, generator=rng), torch.full((3, 32, 32), 0.25)
    mask = torch.ones(1, 32, 32)
    out, changed = compose(frame, restored, mask, (48, 48, 64), color="none", replace=True)
    assert (out[:, 44:52, 44:52] - 0.25).abs().max() < 1e-3
    assert torch.equal(out[:, ~changed], frame[:, ~changed]) and not changed[:10].any()


def test_on_the_command_line(films, tiny_checkpoint, tmp_path):
    source = tmp_path / "in.mkv"
    shutil.copy(films["source"], source)
    told = ["--model", str(tiny_checkpoint), "--preset", "ffv1", "--size", "64", "--window", "17", "--quiet"]
    run = vividface("restore", source, "-o", tmp_path / "o.mkv", *told, "--background", films["large"])
    assert run.returncode == 0, run.stderr
    assert VideoFrames(tmp_path / "o.mkv").size == VideoFrames(films["large"]).size
    run = vividface("restore", source, "-o", films["large"], *told, "--background", films["large"], "--overwrite")
    assert run.returncode == 1 and "large.mkv" in run.stderr and len(planes(films["large"])) == 12
    run = vividface("restore", source, "-o", tmp_path / "p.mkv", *told, "--scale", "9")
    assert run.returncode == 1 and "from 1 to 4" in run.stderr
