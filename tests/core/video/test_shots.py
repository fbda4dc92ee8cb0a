"""Shots, and the comparison video."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.assets import clip
from tests.assets import ffmpeg as ffmpeg_program
from tests.core.video.test_files import cut, ffmpeg
from vividface_core.errors import InvalidOption, MissingDependency
from vividface_core.video.compare import side_by_side
from vividface_core.video.reader import VideoReader, probe
from vividface_core.video.shots import Shot, detect_shots, difference
from vividface_core.video.source import ClipFrames, VideoFrames


@pytest.mark.parametrize("at", [17, 40])
def test_a_join_is_found_at_its_frame(tmp_path: Path, at: int) -> None:
    path = tmp_path / "joined.mp4"
    same = "scale=360:288,setsar=1,fps=24"
    join = f"[0:v]{same},trim=end_frame={at}[a];[1:v]{same},trim=end_frame=30[b];[a][b]concat=n=2:v=1"
    ffmpeg("-t", 2, "-i", clip("franck"), "-t", 2, "-i", clip("wolfgang"), "-filter_complex", join, path)
    assert list(detect_shots(VideoReader(path))) == [Shot(0, at), Shot(at, at + 30)]


@pytest.mark.parametrize("name", ["franck", "wolfgang", "single_face", "carphone"])
def test_one_take_is_one_shot(name: str) -> None:
    assert list(detect_shots(VideoReader(clip(name), end_frame=120))) == [
        Shot(0, len(list(VideoReader(clip(name), end_frame=120))))
    ]


def test_shots_of_a_part_count_from_the_file(tmp_path: Path) -> None:
    frames = VideoReader(clip("bikes"), start_frame=40, end_frame=100)
    assert list(detect_shots(frames)) == [Shot(40, 76), Shot(76, 100)]


def test_shots_stream() -> None:
    read = []

    def noted():
        for frame in VideoReader(clip("bikes")):
            read.append(frame.index)
            yield frame

    assert next(detect_shots(noted())) == Shot(0, 30)
    assert read[-1] < 36


def test_no_frame_no_shot_and_one_frame_one_shot() -> None:
    assert list(detect_shots([])) == []
    assert list(detect_shots(VideoReader(clip("franck"), end_frame=1))) == [Shot(0, 1)]


def test_broken_scenedetect_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    with pytest.raises(MissingDependency, match="PySceneDetect"):
        next(detect_shots(VideoReader(clip("franck"))))


def test_side_by_side(tmp_path: Path) -> None:
    left = cut(
        "wolfgang", tmp_path / "left.mp4", "-vf", "scale=160:91", "-pix_fmt", "yuv444p", "-c:a", "copy", seconds=0.5
    )
    right = cut("wolfgang", tmp_path / "right.mp4", "-vf", "scale=160:91,negate", "-pix_fmt", "yuv444p", seconds=0.5)
    report = side_by_side(left, right, tmp_path / "both.mp4", ("", "restored"))
    info = probe(tmp_path / "both.mp4")
    assert (info.width, info.height, report.frames) == (324, 92, 12)
    assert [(s.kind, s.codec) for s in info.streams] == [("audio", "aac")]
    both, a, b = (next(iter(VideoReader(tmp_path / n))).rgb() for n in ("both.mp4", "left.mp4", "right.mp4"))
    assert (both[:, :91, :160] - a).abs().mean() < 0.02
    assert (both[:, 30:91, 164:] - b[:, 30:]).abs().mean() < 0.02
    assert both[:, :91, 161:163].min() > 0.8
    assert (both[:, :10, 164:180] - b[:, :10, :16]).abs().mean() > 0.02, "the label is missing"
    command = [ffmpeg_program(), "-v", "warning", "-i", str(tmp_path / "both.mp4"), "-f", "null", "-"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stderr == ""


def test_side_by_side_of_two_sizes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="360x288, .* is 640x360"):
        side_by_side(clip("franck"), clip("wolfgang"), tmp_path / "both.mp4")


def flickered(frames: torch.Tensor, factors: dict[int, float]) -> torch.Tensor:
    low = frames.clone()
    for at, factor in factors.items():
        low[at] = (low[at] * factor).clamp(0, 1)
    return low


@cache
def part(name: str, start: int, frames: int) -> torch.Tensor:
    taken = torch.stack([frame.rgb() for frame in VideoFrames(clip(name)).read(start, start + frames)])
    return torch.nn.functional.interpolate(taken, (96, 120), mode="area")


def shots_of(frames: torch.Tensor) -> list[tuple[int, int]]:
    return [(shot.start, shot.end) for shot in detect_shots(ClipFrames(frames).read())]


LIGHTS = {
    "flicker": {3: 0.6, 9: 1.5, 10: 0.5, 17: 0.55, 18: 1.4, 26: 0.5, 33: 1.3},
    "a lamp": dict.fromkeys(range(20, 40), 0.4),
    "a flash": {15: 1000.0, 16: 3.0},
    "a black frame": {22: 0.0},
}


@pytest.mark.parametrize("light", LIGHTS)
@pytest.mark.parametrize("name, start", [("franck", 100), ("carphone", 5)])
def test_light_is_no_cut(name: str, start: int, light: str) -> None:
    assert shots_of(flickered(part(name, start, 40), LIGHTS[light])) == [(0, 40)]


@pytest.mark.parametrize("light", LIGHTS)
@pytest.mark.parametrize("names", [("franck", "cap12"), ("cap12", "carphone")])
def test_cuts_are_found_in_changing_light(names: tuple[str, str], light: str) -> None:
    joined = torch.cat([part(name, 20, frames) for name, frames in zip(names, (21, 19))])
    assert shots_of(joined) == [(0, 21), (21, 40)]
    factors = {at: factor for at, factor in LIGHTS[light].items() if light != "a lamp" or at >= 21}
    assert shots_of(flickered(joined, factors)) == [(0, 21), (21, 40)]


def test_difference_by_hand() -> None:
    first = np.full((4, 4, 3), 100.0)
    assert difference(first, first * 1.7) == pytest.approx(0)
    second = first.copy()
    second[:1] = 150  # a quarter of the pixels; the median gain is 1
    assert difference(first, second) == pytest.approx(12.5 / 112.5)
    assert difference(first, np.full((4, 4, 3), 255.0)) == float("inf")
