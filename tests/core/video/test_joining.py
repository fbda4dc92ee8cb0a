"""Nothing fails after the work: sound of any kind, odd rates, names at the edge, consoles of older code pages."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.assets import run_ffmpeg
from tests.core.video.work import CASES, X264, errors_of, make, restore
from vividface_core.degrade.files import degrade_video, read_record
from vividface_core.errors import UnwritableVideo
from vividface_core.video.reader import probe


def _decoded(container):
    for packet in container.demux(audio=0):
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue  # damaged


def loudness(path: Path, step: float = 0.05) -> np.ndarray:
    """Root mean square of the sound in each ``step`` of its time, at the times that the file gives."""
    rate, heard, end = 48000, np.zeros(48000 * 4, np.float32), 0
    with av.open(str(path)) as container:
        for frame in _decoded(container):
            begin = end if frame.pts is None else round(frame.pts * frame.time_base * rate)
            for part in av.AudioResampler("fltp", "mono", rate).resample(frame):
                samples = part.to_ndarray()[0]
                end = begin + len(samples)
                heard[max(0, begin) : end] = samples[max(0, -begin) :]
    length = int(rate * step)
    return np.sqrt((heard.reshape(-1, length) ** 2).mean(1))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_windows_media_keeps_its_sound(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"o{suffix}"
    result = restore(CASES / "windows-media.wmv", out)
    assert result.frames == 24
    assert sum("wmav2" in line and "converted" in line for line in result.notices) == 1
    assert loudness(out)[2:18] == pytest.approx(loudness(CASES / "windows-media.wmv")[2:18], rel=0.1)
    assert not errors_of(out)


def test_degrading_windows_media(tmp_path: Path) -> None:
    assert degrade_video(CASES / "windows-media.wmv", tmp_path / "o.mp4").frames == 24


@pytest.mark.parametrize(
    "codec",
    [
        "wmav1",
        "wmav2",
        "adpcm_ms",
        "pcm_alaw",
        "libmp3lame",
        "ac3",
        "dca",
        "libvorbis",
        "libopus",
        "flac",
        "g722",
        "pcm_f64le",
        "mp2",
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_of_every_kind_comes_along(tmp_path: Path, codec: str, suffix: str) -> None:
    strict = ["-strict", "-2"] if codec == "dca" else []
    rate = ["-ar", "16000"] if codec == "g722" else []
    source = make(tmp_path / "a.mkv", *X264, "-c:a", codec, *rate, *strict, sound=True)
    out = tmp_path / f"o{suffix}"
    restore(source, out)
    assert loudness(out)[2:8].min() > 0.05 and not errors_of(out)


@pytest.mark.parametrize("codec", ["dca", "ac3", "libmp3lame", "flac", "libvorbis"])
def test_damaged_sound_costs_its_own_time_only(tmp_path: Path, codec: str) -> None:
    whole = make(tmp_path / "a.mkv", *X264, "-c:a", codec, "-strict", "-2", seconds=1.5, sound=True)
    source = tmp_path / "b.mkv"
    with av.open(str(whole)) as read, av.open(str(source), "w") as write:
        streams = {stream.index: write.add_stream_from_template(stream, opaque=True) for stream in read.streams}
        noise = np.random.default_rng(3)
        for packet in read.demux():
            time = float(packet.pts * packet.time_base) if packet.pts is not None else -1
            if packet.stream.type == "audio" and 0.3 < time < 0.6:
                packet.update(noise.bytes(packet.size))
            if packet.size:
                packet.stream = streams[packet.stream.index]
                write.mux(packet)
    for suffix in (".mp4", ".mov", ".mkv"):
        out = tmp_path / f"o{suffix}"
        assert restore(source, out).frames == 36
        after, before = loudness(out)[16:26], loudness(whole)[16:26]
        assert after == pytest.approx(before, rel=0.2)  # what follows the damage is in time


def test_sound_after_a_hole_stays_in_time(tmp_path: Path) -> None:
    """Half a second is missing from the middle; AVI has no times for sound."""
    source = tmp_path / "a.mkv"
    run_ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=96x64:r=24:d=2",
        "-f",
        "lavfi",
        "-i",
        "sine=r=48000:d=2",
        "-af",
        "aselect=not(between(t\\,0.5\\,1.0))",
        *X264,
        "-c:a",
        "flac",
        source,
    )
    for suffix, preset in ((".avi", "ffv1"), (".mp4", "h264")):
        out = tmp_path / f"o{suffix}"
        restore(source, out, preset)
        heard = loudness(out)
        assert heard[12:19].max() < 0.01 < 0.05 < heard[2:9].min()
        assert heard[22:38].min() > 0.05


@pytest.mark.parametrize(
    ("standard", "rate", "lines"), [("ntsc", Fraction(30000, 1001), 480), ("pal", Fraction(25), 576)]
)
def test_dv_has_the_rate_of_its_standard(tmp_path: Path, standard: str, rate: Fraction, lines: int) -> None:
    tape, file = tmp_path / "a.dv", tmp_path / "a.avi"
    run_ffmpeg(
        "-f",
        "lavfi",
        "-i",
        f"testsrc2=s=720x{lines}:r={rate}:d=1",
        "-f",
        "lavfi",
        "-i",
        "sine=r=48000:d=1",
        "-target",
        f"{standard}-dv",
        "-t",
        "0.17",
        tape,
    )
    run_ffmpeg("-i", tape, "-c", "copy", file)
    assert probe(tape).fps == probe(file).fps == rate
    for suffix, preset in ((".mp4", "h264"), (".mov", "prores"), (".avi", "ffv1"), (".mkv", "ffv1")):
        out = tmp_path / f"o{suffix}"
        notices = restore(tape, out, preset).notices
        assert float(probe(out).fps) == pytest.approx(float(rate), rel=1e-3)
        kept, told = probe(out).sample_aspect_ratio is not None, any("pixels' shape" in line for line in notices)
        assert kept != told and kept == (suffix != ".avi") and not errors_of(out)


@pytest.mark.parametrize("source_suffix", [".mp4", ".mkv", ".ts", ".flv"])
@pytest.mark.parametrize("rate", ["24", "30000/1001", "60"])
def test_avi_has_the_sources_rate(tmp_path: Path, rate: str, source_suffix: str) -> None:
    source = tmp_path / f"a{source_suffix}"
    run_ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=96x64:r={rate}:d=1", *X264, source)
    out = tmp_path / "o.avi"
    result = restore(source, out, "ffv1")
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert float(stream.average_rate) == pytest.approx(float(Fraction(rate)), rel=2e-3)
        # An FLV's picture begins two frames later than its clock; AVI can only begin with empty ones.
        assert stream.frames == result.frames + (2 if source_suffix == ".flv" else 0)
    assert not any("varies" in line for line in result.notices)


def test_names_at_the_edge(tmp_path: Path) -> None:
    source = CASES / "three-frames.mp4"
    longest = tmp_path / ("n" * 251 + ".mp4")
    cyrillic = tmp_path / ("в" * 125 + ".mkv")  # 254 bytes
    for out in (longest, cyrillic):
        assert restore(source, out).frames == 3
    degraded = tmp_path / ("d" * 251 + ".mp4")
    assert degrade_video(source, degraded).frames == 3
    assert read_record(degraded)["frames"] == 3
    left = {path.name for path in tmp_path.iterdir()} - {longest.name, cyrillic.name, degraded.name}
    assert len(left) == 1 and left.pop().endswith(".degradation.json")
    with pytest.raises(UnwritableVideo, match="too long"):
        restore(source, tmp_path / ("n" * 252 + ".mp4"))


@pytest.mark.parametrize("name", ["20:15:03.mp4", "a: b.mp4", "http:x.mp4", "-a.mp4", "50%d.mp4", "pipe:0.mkv"])
def test_a_colon_in_a_relative_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes((CASES / "three-frames.mp4").read_bytes())
    assert restore(Path(name), Path("plain.mp4")).frames == 3
    assert restore(Path("plain.mp4"), Path(f"out {name}")).frames == 3
    assert degrade_video(Path(name), Path(f"d {name}")).frames == 3


def test_a_console_of_an_older_code_page(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    out = tmp_path / "выход.mkv"
    for command in (["restore", "--strength", "0"], ["degrade"]):
        line = [
            sys.executable,
            "-m",
            "vividface_core.cli.main",
            command[0],
            str(CASES / "three-frames.mp4"),
            "-o",
            str(out),
            *command[1:],
            "--quiet",
            "--overwrite",
        ]
        run = subprocess.run(line, env=environment, capture_output=True)
        assert run.returncode == 0, run.stderr.decode("cp1252")
        assert b"\\u0432\\u044b\\u0445\\u043e\\u0434.mkv: 3 frames" in run.stdout


def test_what_would_fail_at_the_end_fails_before_the_work(tmp_path: Path) -> None:
    from tests.core.video.test_sources import Darker
    from vividface_core.pipeline.restore import RestoreOptions, restore_video

    class Never(Darker):
        def restore(self, clip, **options):
            raise AssertionError("the work began")

    source = make(tmp_path / "a.mkv", "-c:v", "ffv1", size="16x8")
    for preset, name in (("h265", "o.mp4"), ("h264", "n" * 252 + ".mp4")):
        with pytest.raises(UnwritableVideo):
            restore_video(source, tmp_path / name, Never(), RestoreOptions(preset=preset, whole_frame=True))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mkv"]
