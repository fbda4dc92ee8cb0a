"""The whole job on real videos: what must stay, what must change, and how it ends when it ends early."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.assets import clip, run_ffmpeg, two_people_and_a_cut
from tests.command import in_a_process, vividface
from tests.core.video.test_files import turn
from vividface_core.pipeline.restore import Callbacks, RestoreOptions, restore_video
from vividface_core.video.reader import VideoReader
from vividface_core.weights import load_restorer

FAST = {"size": 64, "window": 17, "overlap": 4}


def packets(path: Path, kind: str) -> list[tuple[Fraction, str]]:
    """Time and content hash of each packet of the first stream of that kind."""
    with av.open(str(path)) as source:
        stream = next(s for s in source.streams if s.type == kind)
        return [
            (packet.pts * packet.time_base, hashlib.sha256(bytes(packet)).hexdigest())
            for packet in source.demux(stream)
            if packet.size
        ]


def planes(path: Path) -> list[tuple[Fraction, list[np.ndarray]]]:
    """Time and decoded samples of each frame, straight from PyAV."""
    with av.open(str(path)) as source:
        return [(f.pts * f.time_base, f.to_ndarray()) for f in source.decode(video=0)]


@pytest.fixture(scope="module")
def restorer(tiny_checkpoint):
    return load_restorer(str(tiny_checkpoint))


@pytest.fixture(scope="module")
def short_video(tmp_path_factory) -> Path:
    return two_people_and_a_cut(tmp_path_factory.mktemp("video") / "two.mp4", 40, 30)


@pytest.fixture(scope="module")
def restored(short_video, restorer, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "out.mkv"
    plans = []

    class Keep(Callbacks):
        def plan(self, plan):
            plans.append(plan)

    result = restore_video(short_video, output, restorer, RestoreOptions(preset="ffv1", **FAST), callbacks=Keep())
    return result, plans[0]


def test_shots_and_people_are_found(restored):
    result, plan = restored
    assert [(shot.start, shot.end) for shot in plan.shots] == [(0, 40), (40, 70)]
    assert [len(tracks) for tracks in plan.tracks] == [2, 1]
    assert plan.window_count == sum(len(plan.windows(t.last - t.first)) for shot in plan.tracks for t in shot)
    assert plan.peak_memory > 0 and plan.seconds > 0
    assert result.frames == 70


def test_untouched_pixels_are_the_sources_own(short_video, restored):
    result, plan = restored
    before, after = planes(short_video), planes(result.output)
    assert len(before) == len(after) == 70
    changed_somewhere = 0
    for index, ((_, source), (_, output)) in enumerate(zip(before, after)):
        shot = 0 if index < 40 else 1
        inside = np.zeros((360, 640), bool)
        for track in plan.tracks[shot]:
            cx, cy, side = (float(v) for v in track.crops[index - track.first])
            # A chroma sample covers two pixels in each direction.
            left, right = int(cx - side / 2) - 2, int(cx + side / 2) + 3
            top, bottom = int(cy - side / 2) - 2, int(cy + side / 2) + 3
            inside[max(top, 0) : bottom, max(left, 0) : right] = True
        luma_before, luma_after = source[:360], output[:360]
        assert np.array_equal(luma_before[~inside], luma_after[~inside])
        changed_somewhere += int((luma_before != luma_after).any())
        for start in (360, 450):
            chroma_before = source[start : start + 90].reshape(180, 320)
            chroma_after = output[start : start + 90].reshape(180, 320)
            outside = ~inside.reshape(180, 2, 320, 2).any((1, 3))
            assert np.array_equal(chroma_before[outside], chroma_after[outside])
    assert changed_somewhere == 70


def test_audio_and_timing_are_the_sources_own(short_video, restorer, tmp_path):
    output = tmp_path / "out.mp4"
    restore_video(short_video, output, restorer, RestoreOptions(**FAST))
    assert packets(output, "audio") == packets(short_video, "audio")
    assert [t for t, _ in planes(output)] == [t for t, _ in planes(short_video)]


def test_strength_zero_returns_the_source(short_video, restorer, tmp_path):
    output = tmp_path / "out.mkv"
    restore_video(short_video, output, restorer, RestoreOptions(preset="ffv1", strength=0.0, **FAST))
    for (_, before), (_, after) in zip(planes(short_video), planes(output), strict=True):
        assert np.array_equal(before, after)


def test_a_video_without_a_face_comes_out_as_it_went_in(restorer, tmp_path):
    source = tmp_path / "in.mp4"
    run_ffmpeg("-i", clip("no_face"), "-frames:v", "30", "-c", "copy", source)
    output = tmp_path / "out.mkv"
    result = restore_video(source, output, restorer, RestoreOptions(preset="ffv1", **FAST))
    assert any("No face" in line for line in result.notices)
    for (_, before), (_, after) in zip(planes(source), planes(output), strict=True):
        assert np.array_equal(before, after)
    same = tmp_path / "out.mp4"
    restore_video(source, same, restorer, RestoreOptions(**FAST))
    assert same.read_bytes() == source.read_bytes(), "a lossy preset would change what nobody asked to change"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mkv", "out.mp4"]


def test_faces_that_go_are_restored_while_they_are_there(restorer, tmp_path):
    source, output = clip("face_noface"), tmp_path / "out.mkv"
    restore_video(source, output, restorer, RestoreOptions(preset="ffv1", **FAST))
    before, after = planes(source), planes(output)
    assert len(before) == len(after) == 169
    changed = [bool((a != b).any()) for (_, a), (_, b) in zip(before, after)]
    assert sum(changed[:60]) >= 55
    assert not any(changed[100:])


@pytest.mark.parametrize("degrees, transpose", [(90, "transpose=1"), (180, "hflip,vflip"), (270, "transpose=2")])
def test_a_phone_held_upright(degrees, transpose, restorer, tmp_path):
    """Stored on its side with a rotation tag: faces are found upright, the samples keep their places."""
    plain, source, output = (tmp_path / f"{name}.mp4" for name in ("plain", "in", "out"))
    run_ffmpeg("-i", clip("single_face"), "-frames:v", "9", "-vf", transpose, "-c:v", "libx264", "-an", plain)
    turn(plain, source, degrees)
    result = restore_video(source, output.with_suffix(".mkv"), restorer, RestoreOptions(preset="ffv1", **FAST))
    assert result.tracks == 1
    before, after = planes(source), planes(result.output)
    changed = np.stack([a != b for (_, a), (_, b) in zip(before, after)]).any(0)
    height, width = before[0][1].shape[0] * 2 // 3, before[0][1].shape[1]
    upright = np.rot90(changed[:height], degrees // 90)
    assert upright.shape == (360, 640) and (height, width) == ((640, 360) if degrees % 180 else (360, 640))
    rows, columns = np.nonzero(upright)
    # The face of this clip is in the middle, its hair near the upper border.
    assert 200 < columns.mean() < 400 and 60 < rows.mean() < 240
    assert 0.02 < upright.mean() < 0.5


def test_whole_frame_is_resize_restore_resize(restorer, tmp_path):
    """One window of whole frames equals the steps written out by hand."""
    source, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
    run_ffmpeg("-i", clip("carphone"), "-frames:v", "9", "-c:v", "ffv1", source)
    options = RestoreOptions(preset="ffv1", whole_frame=True, size=64, window=9, overlap=0)
    restore_video(source, output, restorer, options)
    with VideoReader(source) as reader:
        frames = list(reader)
    clip_rgb = torch.stack([f.rgb() for f in frames])
    small = torch.nn.functional.interpolate(clip_rgb, size=(64, 64), mode="bicubic")
    large = torch.nn.functional.interpolate(restorer.restore(small), size=(144, 176), mode="bicubic").clamp(0, 1)
    expected = [f.with_rgb(picture, None).native.to_ndarray() for f, picture in zip(frames, large)]
    for (_, got), want in zip(planes(output), expected, strict=True):
        # Crops wait in half precision, which may move a value over a rounding border.
        assert np.abs(got.astype(int) - want.astype(int)).max() <= 2


def test_killed_and_resumed_equals_undisturbed(short_video, tiny_checkpoint, tmp_path):
    arguments = ["restore", short_video, "--model", tiny_checkpoint, "--size", 64, "--window", 17, "--overlap", 4]
    calm = tmp_path / "calm.mp4"
    run = in_a_process(*arguments, "-o", calm)
    assert run.returncode == 0, run.stderr

    output = tmp_path / "out.mp4"
    work = tmp_path / ".out.mp4.vividface"
    command = [sys.executable, "-m", "vividface_core.cli.main", *map(str, [*arguments, "-o", output])]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not list(work.glob("part-00000*")):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert list(work.glob("part-00000*")) and not list(work.glob("part-00001*"))
    assert not output.exists()

    run = in_a_process(*arguments, "-o", output, "--resume")
    assert run.returncode == 0, run.stderr
    assert not work.exists()
    assert packets(output, "video") == packets(calm, "video")
    assert packets(output, "audio") == packets(calm, "audio")


def test_resume_refuses_other_options(short_video, tiny_checkpoint, tmp_path):
    output = tmp_path / "out.mp4"
    work = tmp_path / ".out.mp4.vividface"
    work.mkdir()
    (work / "job.json").write_text(json.dumps({"format": 1, "model": "another"}))
    run = vividface("restore", short_video, "--model", tiny_checkpoint, "-o", output, "--resume")
    assert run.returncode == 1
    assert "can't be resumed" in run.stderr and "model" in run.stderr


def test_ctrl_c_ends_at_once(short_video, tiny_checkpoint, tmp_path):
    output = tmp_path / "out.mp4"
    arguments = ["restore", short_video, "--model", tiny_checkpoint, "--size", 256, "-o", output]
    command = [sys.executable, "-m", "vividface_core.cli.main", *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    work = tmp_path / ".out.mp4.vividface"
    while not (work / "shots.json").exists():
        assert process.poll() is None, "the run ended before it could be stopped"
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert not [*work.glob("part-00001*")], "the next shot isn't begun"
    assert "--resume" in errors and "Traceback" not in errors
    assert not output.exists()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_memory_does_not_grow_with_the_video(tiny_checkpoint, tmp_path):
    peaks, outputs = {}, {}
    for name, first, second in (("short", 100, 100), ("long", 220, 280)):
        source = two_people_and_a_cut(tmp_path / f"{name}.mp4", first, second)
        outputs[name] = (source, tmp_path / f"{name}-out.mp4")
        run = in_a_process(
            "restore",
            source,
            "-o",
            outputs[name][1],
            "--model",
            tiny_checkpoint,
            "--size",
            64,
            "--window",
            33,
            "--overlap",
            8,
            "--quiet",
        )
        assert run.returncode == 0, run.stderr
        peaks[name] = float(run.stdout.split("peak memory ")[1].split()[0])
    source, output = outputs["long"]
    before, after = (packets(path, "audio") for path in (source, output))
    assert before == after
    times = [sorted(t for t, _ in packets(path, "video")) for path in (source, output)]
    assert len(times[0]) == 500 and times[0] == times[1]
    # 300 more frames of 640×360 would be 104 MB as 4:2:0 samples.
    assert peaks["long"] < 1.10 * peaks["short"], peaks
