"""What is told while a run goes on: work that grows steadily though frames come in bursts, and what is left of it."""

from __future__ import annotations

import pytest

from tests.assets import clip, run_ffmpeg
from vividface_core.cli.main import main
from vividface_core.faces.track import FaceTrack
from vividface_core.pipeline.analysis import expected_frames
from vividface_core.pipeline.options import Plan
from vividface_core.pipeline.progress import FRAME, WorkMeter, sample_length, window_seconds
from vividface_core.pipeline.restore import RestoreOptions, restore_video
from vividface_core.runtime.callbacks import Callbacks
from vividface_core.video.shots import Shot
from vividface_core.video.source import VideoFrames
from vividface_core.weights import load_restorer


def plan_of(*lengths: int, window: int = 9, overlap: int = 2) -> Plan:
    shots, start = [], 0
    for length in lengths:
        shots.append(Shot(start, start + length))
        start += length
    tracks = [[FaceTrack.whole_frame(shot.start, shot.end)] for shot in shots]
    return Plan(None, shots, tracks, (64, 64), window, overlap, 0, whole_frame=True)


def test_work_of_a_plan_ends_at_its_total_and_takes_over_what_is_done():
    told = []
    plan = plan_of(16, 9)  # two windows of 9 that share 2, and one
    meter = WorkMeter(plan, lambda done, total: told.append((done, total)))
    assert meter.total == pytest.approx(27 + 25 * (plan.beside + FRAME))
    meter.begin(1)
    assert told[-1][0] == pytest.approx(18 + 16 * (plan.beside + FRAME)), "the first shot was done by an earlier run"
    window = meter.window(9)
    for share in (0.25, 0.5, 0.1, 1.0):  # a window that doesn't fit the memory begins anew in smaller ones
        window(share)
    for _ in range(9):
        meter.frame(1)
    done = [one for one, _ in told]
    assert done == sorted(done) and done[-1] == pytest.approx(meter.total)
    assert {total for _, total in told} == {meter.total}


def test_several_windows_at_once_add_up():
    told = []
    meter = WorkMeter(plan_of(16), lambda done, total: told.append(done))
    meter.begin(0)
    first, second = meter.window(9), meter.window(9)
    first(0.5)
    second(1.0)
    assert told[-1] == pytest.approx(4.5 + 9)


def test_time_of_a_window_follows_from_shorter_clips():
    assert window_seconds(81, 5, 1.0, 0.2) == pytest.approx(0.2 + 80 * 0.2)
    assert window_seconds(81, 81, 7.0, 0.2) == pytest.approx(7.0), "it was measured itself"
    assert window_seconds(3, 1, 0.5, 0.5) == pytest.approx(1.5)
    assert sample_length(plan_of(9)) == 5 and sample_length(plan_of(9, window=1, overlap=0)) == 1
    assert sample_length(plan_of(*[16] * 40)) == 9, "a whole window where that is little of the work"


class Recorder(Callbacks):
    def __init__(self) -> None:
        self.told: dict[str, list] = {}
        self.planned = None

    def plan(self, plan):
        self.planned = plan

    def progress(self, stage, done, total):
        self.told.setdefault(stage, []).append((done, total))


def test_a_run_tells_its_work_steadily(tiny_checkpoint, tmp_path):
    source, recorder = tmp_path / "in.mkv", Recorder()
    run_ffmpeg("-i", clip("franck"), "-frames:v", "40", "-vf", "scale=96:96", "-c:v", "ffv1", source)
    options = RestoreOptions(whole_frame=True, size=64, window=17, overlap=4, preset="ffv1")
    result = restore_video(
        source, tmp_path / "out.mkv", load_restorer(str(tiny_checkpoint)), options, callbacks=recorder
    )
    done, total = [one for one, _ in recorder.told["restore"]], recorder.told["restore"][-1][1]
    assert done == sorted(done) and done[-1] == pytest.approx(total)
    # So fast a model is through its window before anyone asks how far it is: a window is the most that comes at once.
    assert max(b - a for a, b in zip(done, done[1:])) <= 17 < 0.3 * total
    shots = recorder.told["shots"]
    assert VideoFrames(source).count is None and all(total == 40 for _, total in shots) and shots[-1][0] == 40
    assert result.tracks == 0 and result.whole_frame and recorder.planned.seconds is None


def test_looking_for_cuts_has_a_total_in_every_container(tmp_path):
    for suffix in (".mp4", ".mkv", ".avi", ".mov", ".ts"):
        path = tmp_path / f"in{suffix}"
        run_ffmpeg("-i", clip("franck"), "-frames:v", "30", "-r", "25", "-vf", "scale=64:64", "-c:v", "mpeg4", path)
        frames = sum(1 for _ in VideoFrames(path).read())
        assert expected_frames(VideoFrames(path)) == pytest.approx(frames, abs=1), suffix
        assert expected_frames(VideoFrames(path, 10, 20)) == 10
        assert expected_frames(VideoFrames(path, 0, None, 2)) == pytest.approx(frames / 2, abs=1)


def test_one_frame_is_one_frame_and_whole_frames_are_no_face_tracks(tiny_checkpoint, tmp_path, capsys):
    run_ffmpeg("-i", clip("franck"), "-frames:v", "1", "-vf", "scale=64:64", tmp_path / "in.png")
    words = [
        "restore",
        str(tmp_path / "in.png"),
        "-o",
        str(tmp_path / "out.mp4"),
        "--model",
        str(tiny_checkpoint),
        "--whole-frame",
    ]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "out.mp4: 1 frame, 1 shot, whole frames, " in said.out
    assert "1 shot, whole frames in 1 window of up to 1 frame at 64×64" in said.err
    assert main(["degrade", str(tmp_path / "in.png"), "-o", str(tmp_path / "worse.mp4"), "--quiet"]) == 0
    assert "worse.mp4: 1 frame, " in capsys.readouterr().out


def test_nothing_to_resume_is_said(tiny_checkpoint, tmp_path, capsys):
    run_ffmpeg("-i", clip("franck"), "-frames:v", "1", "-vf", "scale=64:64", tmp_path / "in.png")
    words = [
        "restore",
        str(tmp_path / "in.png"),
        "-o",
        str(tmp_path / "out.mp4"),
        "--model",
        str(tiny_checkpoint),
        "--whole-frame",
        "--quiet",
    ]
    assert main([*words, "--resume"]) == 0
    assert "There is nothing to resume" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0 and "resume" not in capsys.readouterr().err
