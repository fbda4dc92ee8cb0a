"""``vividface degrade`` on real files: what stays, what is recorded, and how it ends."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from tests.assets import clip, run_ffmpeg
from tests.core.video.test_files import turn
from vividface_core.cli.main import main
from vividface_core.degrade import degrade_video, load_preset, preset_names, read_record, seed_for, sidecar_of
from vividface_core.runtime.callbacks import Callbacks
from vividface_core.video.reader import probe
from vividface_core.video.source import VideoFrames


def vividface(*arguments: object) -> SimpleNamespace:
    """The command, in this process: exit status and what was printed."""
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        try:
            status = main([*map(str, arguments)])
        except SystemExit as end:
            status = end.code
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=errors.getvalue())


def python(*arguments: object, **environment: str) -> str:
    """What another process prints."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.check_output(command, text=True, timeout=600, env={**os.environ, **environment})


def packets(path: Path, kind: str) -> list[tuple[Fraction, str]]:
    """Time and content hash of each packet of the first stream of that kind."""
    with av.open(str(path)) as source:
        stream = next(s for s in source.streams if s.type == kind)
        return [
            (packet.pts * packet.time_base, hashlib.sha256(bytes(packet)).hexdigest())
            for packet in source.demux(stream)
            if packet.size
        ]


def rgb(path: Path) -> torch.Tensor:
    return torch.stack([frame.rgb() for frame in VideoFrames(path).read()])


def eight_bits(clip: torch.Tensor) -> torch.Tensor:
    return (clip * 255).round().byte()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def spoken(tmp_path_factory) -> Path:
    """A person who speaks, 160×128, uneven frame times, a tone as sound, with a title and a comment."""
    path = tmp_path_factory.mktemp("source") / "face.mp4"
    run_ffmpeg(
        "-i",
        clip("franck"),
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440:duration=3",
        "-vf",
        r"select=not(mod(n\,3))+lt(mod(n\,7)\,2),scale=160:128",
        "-t",
        "3",
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-c:v",
        "libx264",
        "-crf",
        "12",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
        "-fps_mode",
        "vfr",
        "-metadata",
        "title=A talk",
        "-metadata",
        "comment=mine",
        path,
    )
    return path


@pytest.fixture(scope="module")
def degraded(spoken, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "out.mp4"
    run = vividface("degrade", spoken, "-o", output, "--seed", "7", "--set", "sigma=1..2", "--set", "crf=23")
    assert run.returncode == 0, run.stderr
    return output, run


@pytest.mark.parametrize("preset", preset_names())
@pytest.mark.parametrize("codec_out, name", [("ffv1", "out.mkv"), ("png", "pictures")])
def test_lossless_files_hold_what_the_tensor_call_gives(preset, codec_out, name, spoken, tmp_path):
    result = degrade_video(spoken, tmp_path / name, preset, seed=9, codec_out=codec_out)
    wanted = load_preset(preset).sample(9)(rgb(spoken))
    got = rgb(tmp_path / name)
    assert torch.equal(eight_bits(got), eight_bits(wanted)) and result.frames == len(got)
    assert left(tmp_path) == sorted([name, f"{name}.degradation.json"])


def test_sound_and_uneven_times_stay(spoken, degraded):
    output, _ = degraded
    assert packets(output, "audio") == packets(spoken, "audio")
    times = [sorted(at for at, _ in packets(path, "video")) for path in (spoken, output)]
    steps = {b - a for a, b in zip(times[0], times[0][1:])}
    assert times[0] == times[1] and len(steps) > 1
    with av.open(str(output)) as container:
        assert container.metadata["title"] == "A talk"


def test_h264_adds_next_to_nothing(spoken, degraded, tmp_path):
    degrade_video(spoken, tmp_path / "exact.mkv", seed=7, values={"sigma": "1..2", "crf": 23}, codec_out="ffv1")
    source, exact, near = rgb(spoken), rgb(tmp_path / "exact.mkv"), rgb(degraded[0])
    added, lost = (float((a - exact).square().mean()) for a in (near, source))
    assert added < 0.1 * lost and -10 * np.log10(added) > 38


def test_sidecar_comment_and_summary_agree(degraded):
    output, run = degraded
    record = json.loads(sidecar_of(output).read_text(encoding="utf-8"))["vividface_degradation"]
    with av.open(str(output)) as container:
        assert json.loads(container.metadata["comment"]) == {"vividface_degradation": record}
    wanted = load_preset("vividface", {"sigma": (1, 2), "crf": 23}).sample(7)
    assert record["drawn"] == dict(wanted.values) and 1 <= record["drawn"]["sigma"] <= 2
    assert record["seed"] == 7 and record["preset"] == "vividface" and record["ranges"]["scale"] == [1, 4]
    assert record["source"] == "face.mp4" and record["frames"] == len(packets(output, "video"))
    assert f"sigma {wanted.values['sigma']:.3g}" in run.stdout and "crf 23" in run.stdout
    assert "own comment gave way" in run.stderr


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv", "out.m4v"])
def test_every_container_keeps_the_record(name, tmp_path):
    source = tmp_path / "in.mkv"
    run_ffmpeg("-i", clip("carphone"), "-frames:v", "3", "-metadata", "comment=mine", "-c:v", "ffv1", source)
    result = degrade_video(source, tmp_path / name, "keep", seed=1)
    sidecar_of(tmp_path / name).unlink()
    assert read_record(tmp_path / name) == result.record
    assert read_record(source) is None


TWICE = """
import hashlib, sys
from pathlib import Path
from tests.core.degrade.test_files import packets, rgb
from vividface_core.degrade import degrade_video, load_preset, preset_names
source, folder = map(Path, sys.argv[1:])
clip = rgb(source)[:12]
for name in preset_names():
    print(name, hashlib.sha256(load_preset(name).sample(11)(clip).numpy().tobytes()).hexdigest())
for seed in (5, 6):
    for name, codec in (("out.mkv", "ffv1"), ("out.mp4", "h264")):
        result = degrade_video(source, folder / name, seed=seed, codec_out=codec)
        print(codec, seed, packets(result.output, "video"), result.sidecar.read_text())
"""


def test_the_same_seed_gives_the_same_bytes_in_two_processes(spoken, tmp_path):
    a, b = (python("-c", TWICE, spoken, tmp_path, OMP_NUM_THREADS=threads) for threads in ("1", "2"))
    assert a == b and a.count("'") > 4
    (ffv1_5, ffv1_6), (h264_5, h264_6) = (
        [line.split(" ", 2)[2] for line in a.splitlines() if line.startswith(codec)] for codec in ("ffv1", "h264")
    )
    assert ffv1_5 != ffv1_6 and h264_5 != h264_6, "another seed gives other bytes"


def test_a_phone_held_upright_stays_so(tmp_path):
    plain, source, output = (tmp_path / name for name in ("plain.mp4", "in.mp4", "out.mkv"))
    graph = "scale=160:128,transpose=1"
    run_ffmpeg("-i", clip("franck"), "-frames:v", "4", "-vf", graph, "-c:v", "libx264", "-an", plain)
    turn(plain, source, 90)
    degrade_video(source, output, seed=2, codec_out="ffv1")
    assert probe(output).rotation == probe(source).rotation == 90
    wanted = load_preset("vividface").sample(2)(rgb(source))
    assert wanted.shape[2:] == (128, 160) and torch.equal(eight_bits(rgb(output)), eight_bits(wanted))


def test_pictures_keep_their_transparency_and_depth(tmp_path):
    from PIL import Image

    folder = tmp_path / "in"
    folder.mkdir()
    source = np.random.default_rng(0).integers(0, 256, (3, 24, 32, 4), np.uint8)
    for number, picture in enumerate(source):
        Image.fromarray(picture).save(folder / f"{number}.png")
    degrade_video(folder, tmp_path / "out", "pixel_flicker", codec_out="png")
    got = np.stack([np.asarray(Image.open(path)) for path in sorted((tmp_path / "out").iterdir())])
    assert np.array_equal(got[..., 3], source[..., 3]) and not np.array_equal(got[..., :3], source[..., :3])
    deep = tmp_path / "deep.mkv"
    run_ffmpeg("-i", clip("carphone"), "-frames:v", "3", "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", deep)
    degrade_video(deep, tmp_path / "deep-out.mkv", "brightness_flicker", codec_out="ffv1")
    assert probe(tmp_path / "deep-out.mkv").bit_depth == 16
    degrade_video(deep, tmp_path / "deep-out.mp4", "brightness_flicker")
    assert probe(tmp_path / "deep-out.mp4").bit_depth == 10


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three short videos, one of which is none."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, source in (("a.mp4", "carphone"), ("b.mkv", "franck"), ("c.webm", "bikes")):
        codec = ("-c:v", "libvpx", "-b:v", "500k") if name.endswith("webm") else ("-c:v", "libx264")
        run_ffmpeg("-i", clip(source), "-frames:v", "4", "-vf", "scale=96:64", "-an", *codec, folder / name)
    return folder


def test_a_folder_of_videos(folder, tmp_path):
    (folder / "broken.mp4").write_bytes(b"no video" * 100)
    (folder / ".hidden.mp4").write_bytes(b"")
    output = tmp_path / "out"
    run = vividface("degrade", folder, "-o", output, "--seed", "3")
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert "1 of 4 files failed: broken.mp4" in run.stderr and "4/4 files" in run.stderr
    names = ["a.mp4", "b.mkv", "c.mp4"]
    assert left(output) == sorted([*names, *(f"{name}.degradation.json" for name in names)])
    records = {name: read_record(output / name) for name in names}
    assert len({record["seed"] for record in records.values()}) == 3
    assert records["c.mp4"]["source"] == "c.webm" and records["c.mp4"]["seed"] == seed_for(3, "c.webm")
    alone = tmp_path / "alone.mp4"
    degrade_video(folder / "a.mp4", alone, seed=records["a.mp4"]["seed"])
    assert packets(alone, "video") == packets(output / "a.mp4", "video")


def test_a_files_seed_hangs_on_its_name_alone(folder, tmp_path):
    assert vividface("degrade", folder, "-o", tmp_path / "one", "--codec-out", "png", "--quiet").returncode == 0
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    (moved / "a.mp4").unlink()
    assert vividface("degrade", moved, "-o", tmp_path / "two", "--codec-out", "png", "--quiet").returncode == 0
    for name in ("b", "c"):
        assert torch.equal(rgb(tmp_path / "one" / name), rgb(tmp_path / "two" / name))
        assert read_record(tmp_path / "two" / name) == read_record(tmp_path / "one" / name)
    assert seed_for(0, "b.mkv") != seed_for(1, "b.mkv")


def test_presets_are_listed():
    run = vividface("degrade", "--list-presets")
    assert run.returncode == 0
    for name in preset_names():
        assert f"{name}: " in run.stdout
    assert "sigma=0.1..10" in run.stdout and "mpeg4 ignores crf" in run.stdout


def test_mpeg4_is_told_to_have_no_crf(folder, tmp_path):
    for source, output in ((folder / "a.mp4", "o.mp4"), (folder, "o")):
        run = vividface("degrade", source, "-o", tmp_path / output, "--set", "codec=mpeg4", "--quiet")
        assert run.returncode == 0 and run.stderr.count("mpeg4 ignores crf") == 1


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["--preset", "sepia"], "sepia"),
        (["--set", "sigma"], "NAME=VALUE"),
        (["--set", "sigma=2", "--set", "sigma=3"], "twice"),
        (["--set", "sigma=soft"], "soft"),
        (["--set", "crf=99"], "0 to 51"),
        (["--preset", "brightness_flicker", "--set", "sigma=2"], "brightness_flicker has no"),
        (["--seed", "-1"], "seed"),
        (["--codec-out", "betamax"], "betamax"),
        (["--codec-out", "ffv1"], "out.mp4"),
        (["--codec-out", "png"], "out.mp4"),
    ],
)
def test_bad_options_are_one_sentence(arguments, word, folder, tmp_path):
    source = folder / "a.mp4"
    output = tmp_path / "out.mp4"
    if arguments[-1] == "png":
        output.mkdir()
        (output / "kept.txt").write_text("mine")
    before = left(tmp_path)
    run = vividface("degrade", source, "-o", output, *arguments)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    line = run.stderr.strip().splitlines()[-1]
    assert line.startswith("vividface: ") and word in line, line
    assert left(tmp_path) == before


def test_bad_inputs_are_one_sentence(folder, tmp_path):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "a.mp4").write_bytes((folder / "a.mp4").read_bytes())
    (mixed / "a.png").write_bytes(b"")
    half = tmp_path / "half.mp4"
    half.write_bytes(clip("single_face").read_bytes()[:200_000])
    for source, output, word in (
        (tmp_path / "missing.mp4", "o.mp4", "missing.mp4"),
        (mixed, "o", "both videos and pictures"),
        (half, "o.mp4", "half.mp4"),
        (folder, "in", "input itself"),
        (folder / "a.mp4", "in/a.mp4", "input itself"),
        (folder / "a.mp4", "no/o.mp4", "does not exist"),
        (folder, "no/o", "can't be made"),
    ):
        run = vividface("degrade", source, "-o", tmp_path / output)
        assert run.returncode == 1 and "Traceback" not in run.stderr, run.stderr
        assert word in run.stderr.strip().splitlines()[-1], run.stderr
    assert left(tmp_path) == ["half.mp4", "in", "mixed"] and len(left(folder)) == 3


def test_ctrl_c_leaves_nothing(tmp_path):
    output = tmp_path / "out.mp4"
    command = [sys.executable, "-m", "vividface_core.cli.main", "degrade", clip("wolfgang"), "-o", output]
    process = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".out.mp4.*/.part*")) and time.monotonic() < deadline:
        time.sleep(0.02)  # until frames come out of the codec and into the file
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors and "stopped" in errors
    assert left(tmp_path) == []


def test_an_older_result_outlives_a_run_that_stops(spoken, tmp_path):
    output = tmp_path / "out.mp4"
    degrade_video(spoken, output, seed=1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    class Stop(Callbacks):
        def frame(self, frame):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        degrade_video(spoken, output, seed=2, callbacks=Stop())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_progress_is_told_frame_by_frame(spoken, tmp_path):
    told, seen = [], []

    class Keep(Callbacks):
        def progress(self, stage, done, total):
            told.append((stage, done, total))

        def frame(self, frame):
            seen.append(frame.index)

    result = degrade_video(spoken, tmp_path / "out.mp4", callbacks=Keep())
    shares = [done for _, done, _ in told]
    assert shares == sorted(shares) and told[-1] == ("degrade", result.frames, result.frames)
    assert seen == list(range(result.frames))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video(tmp_path):
    peaks = {}
    for frames in (60, 300):
        source = tmp_path / f"{frames}.mp4"
        run_ffmpeg("-i", clip("franck"), "-frames:v", frames, "-an", "-c:v", "libx264", "-preset", "veryfast", source)
        printed = python(
            "-m",
            "vividface_core.cli.main",
            "degrade",
            source,
            "-o",
            tmp_path / f"{frames}-out.mp4",
            "--set",
            "sigma=1",
            "--set",
            "scale=2",
            "--quiet",
        )
        peaks[frames] = float(printed.split("peak memory ")[1].split()[0])
        assert len(packets(tmp_path / f"{frames}-out.mp4", "video")) == frames
    # 240 more frames of 360×288 would be 300 MB as float tensors, 37 MB as 4:2:0 samples.
    assert peaks[300] < 1.05 * peaks[60], peaks
