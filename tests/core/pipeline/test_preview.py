"""A preview: what is picked, what it reads, what it tells."""

from __future__ import annotations

import re
from fractions import Fraction

import av
import numpy as np
import pytest

from tests.assets import run_ffmpeg, two_people_in_four_shots
from tests.command import one_sentence, vividface
from vividface_core.faces.track import FaceTrack
from vividface_core.pipeline import preview, preview_time
from vividface_core.pipeline.options import Plan
from vividface_core.pipeline.preview import Look, pick
from vividface_core.pipeline.preview_time import StageClock
from vividface_core.runtime.callbacks import Callbacks
from vividface_core.video.decoding import DecodePass
from vividface_core.video.shots import Shot


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Sixty seconds of two people, a keyframe at each of its cuts."""
    folder = tmp_path_factory.mktemp("film")
    two_people_in_four_shots(folder / "four.mp4", 24)
    run_ffmpeg("-stream_loop", 14, "-i", folder / "four.mp4", "-c", "copy", folder / "film.mp4")
    return folder / "film.mp4"


@pytest.fixture
def few_looks(monkeypatch):
    """Looks cost time, and here all places look alike."""
    monkeypatch.setattr(preview, "LOOKS", 6)


def face(size: float, nose: float) -> FaceTrack:
    """A face of one frame, its nose ``nose`` (0.5: in the middle) from the left eye to the right one."""
    boxes = np.array([[0, 0, size, 1.3 * size]], np.float32)
    points = size * np.array([[[0, 0], [1, 0], [nose, 0.5], [0.1, 1], [0.9, 1]]], np.float32)
    return FaceTrack(0, 0, 0, boxes, points, np.ones(1, np.float32), np.zeros((1, 3), np.float32))


def test_the_smallest_the_largest_and_the_most_turned_are_picked():
    looks = [
        Look(Fraction(1), [face(50, 0.5), face(20, 0.4)]),
        Look(Fraction(2), []),
        Look(Fraction(3), [face(90, 0.45)]),
        Look(Fraction(4), [face(60, 0.05)]),
    ]
    picked = {title: (float(look.second), float(one.sizes[0])) for title, (look, one) in pick(looks).items()}
    assert picked == {"smallest face": (1, 20), "largest face": (3, 90), "most turned face": (4, 60)}
    assert list(pick(looks[:2])) == ["smallest face, most turned face", "largest face"]
    assert pick([]) == {} == pick([Look(Fraction(2), [])])


def test_the_estimate_is_the_passages_speed_times_the_whole(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(preview_time.time, "monotonic", lambda: now[0])
    clock = StageClock(Callbacks())

    def at(second: float, stage: str, done: float) -> None:
        now[0] = second
        clock.progress(stage, done, None)

    at(100.0, "shots", 1)  # whatever was before the first report is done once
    at(100.5, "shots", 26)  # 0.02 s a frame
    at(102.0, "faces", 10)
    at(103.0, "faces", 20)  # 0.1 s a frame
    track = FaceTrack.whole_frame(0, 25)
    clock.plan(Plan(None, [Shot(0, 25)], [[track]], (64, 64), 17, 4, 2 << 30, beside=0.2))
    at(200.0, "restore", 0)
    at(210.0, "restore", 40)  # 0.25 s a unit of work
    found = clock.estimate(1000, [[30.0, 40.0], [50.0], []])
    assert found.faces_per_frame == 1
    # A frame is 17 / 13 crops through the model, 0.2 beside it and 0.1 for itself.
    assert found.restore == pytest.approx(1000 * 0.25 * (17 / 13 + 0.2 + 0.1))
    assert (found.cuts, found.faces) == (pytest.approx(20), pytest.approx(100))
    assert found.seconds == pytest.approx(20 + 100 + found.restore)
    told = " ".join(found.lines())
    assert "1000 frames: about 8 min 42 s (cuts 20 s, faces 1 min 40 s, restoring and writing 6 min 42 s)" in told
    assert "the model about 2.00 GiB" in told
    assert "in 67% of 3 looks, 1.0 a frame, at most 2; 30 to 50 pixels, half of them below 40" in told
    assert clock.estimate(None, [[30.0]]).seconds is None
    nobody = clock.estimate(1000, [[], []])
    assert nobody.restore == pytest.approx(1000 * 0.25 * 0.1) and "faces: none in 2 looks" in nobody.lines()


def test_a_preview_reads_little_and_writes_sheet_and_comparison(
    film, tiny_checkpoint, tmp_path, monkeypatch, few_looks
):
    from PIL import Image

    decoded, frames = [0], DecodePass.frames

    def counted(self):
        for frame in frames(self):
            decoded[0] += 1
            yield frame

    monkeypatch.setattr(DecodePass, "frames", counted)
    sheet = tmp_path / "look.png"
    run = vividface("preview", film, "-o", sheet, "--model", tiny_checkpoint, "--size", 64, "--quiet")
    assert run.returncode == 0, run.stderr
    assert decoded[0] < 500, "the film has 1440 frames, which the run decodes three times"
    assert re.search(r"^1440 frames: about .*\(cuts .*, faces .*, restoring and writing .*\)$", run.stdout, re.M)
    assert re.search(r"^faces: in 100% of \d+ looks, 2\.0 a frame, at most 2; ", run.stdout, re.M)
    with Image.open(sheet) as picture:
        assert picture.height > 2 * 360
    with av.open(str(tmp_path / "look.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (2 * 640 + 4, 360)
        seconds = [frame.time for frame in container.decode(stream)]
    assert len(seconds) == 24 and seconds[-1] == pytest.approx(2 - 1 / 12, abs=0.01)
    one_sentence(vividface("preview", film, "-o", sheet, "--model", tiny_checkpoint), "look.png", "look.mp4", "exist")


def test_a_chosen_second(film, tiny_checkpoint, tmp_path, few_looks):
    sheet = tmp_path / "look.jpg"
    words = ["-o", sheet, "--model", tiny_checkpoint, "--size", 64, "--at", "41.25", "--faces", "largest"]
    run = vividface("preview", film, *words, "--comparison", tmp_path / "both.mkv", "--quiet")
    assert run.returncode == 0, run.stderr
    assert ", 1.0 a frame, at most 1; " in run.stdout
    assert sheet.exists() and (tmp_path / "both.mkv").exists()


def test_what_a_preview_cannot_do(film, tiny_checkpoint, tmp_path):
    words = ["preview", film, "-o", tmp_path / "look.png", "--model", tiny_checkpoint]
    one_sentence(vividface(*words, "--faces", "person:1"), "People are numbered over the whole video")
    one_sentence(vividface(*words, "--strength", "2=0.5"), "People are numbered over the whole video")
    one_sentence(vividface(*words, "--at", "61"), "no second 61", "60.0")
    one_sentence(vividface(*words, "--at", "-1"), "no second -1")
    one_sentence(vividface(*words, "--comparison", tmp_path / "look.png"), "look.png")
    one_sentence(vividface(*words[:3], tmp_path / "look.txt"), ".png")
    assert not any(tmp_path.iterdir())
