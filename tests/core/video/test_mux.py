"""Joining parts: times, audio, tags, untouched pixels; and what containers can't hold."""

from __future__ import annotations

import re
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.assets import clip
from tests.assets import ffmpeg as ffmpeg_program
from tests.core.video.test_files import cut, facts, ffmpeg, turn
from vividface_core.errors import InvalidOption, UnwritableVideo
from vividface_core.video.mux import MuxReport, check_output, mux
from vividface_core.video.pixel_formats import planes
from vividface_core.video.reader import VideoReader, probe
from vividface_core.video.writer import VideoWriter, part_suffix


def restore(source: Path, output: Path, preset: str, cuts: tuple[int, ...] = (9, 20)) -> MuxReport:
    """Like a run of three shots: a rectangle of every frame is changed, the parts are joined."""
    info, parts = probe(source), []
    bounds = [0, *cuts, None]
    for number, (start, end) in enumerate(zip(bounds, bounds[1:], strict=False)):
        parts.append(output.parent / f"part{number}{part_suffix(preset)}")
        with VideoWriter(parts[-1], info, preset) as writer:
            for frame in VideoReader(source, start_frame=start, end_frame=end):
                rgb = frame.rgb()
                changed = torch.zeros(rgb.shape[1:], dtype=torch.bool)
                changed[31:90, 41:100] = True
                writer.write(frame.with_rgb(1 - rgb, changed))
    report = mux(parts, info, output, preset)
    for part in parts:
        part.unlink()
    return report


def times(path: Path) -> list[Fraction]:
    info = probe(path)
    return [frame.pts * info.time_base - info.origin for frame in VideoReader(path)]


def payload(path: Path, kind: str = "a") -> list[str]:
    """MD5 of each packet of the audio (or subtitle) streams."""
    lines = ffmpeg("-i", path, "-map", f"0:{kind}", "-c", "copy", "-f", "framemd5", "-").decode().splitlines()
    return [line.split(",")[5].strip() for line in lines if not line.startswith("#")]


def warnings_of(path: Path) -> str:
    """What ffmpeg has to say on playing a file, its frames at the file's own times."""
    version = re.search(r"version n?(\d+)", subprocess.check_output([ffmpeg_program(), "-version"], text=True))
    source_clock = "demux" if version and int(version[1]) >= 7 else "-1"
    command = [ffmpeg_program(), "-v", "warning", "-i", str(path), "-enc_time_base", source_clock, "-f", "null", "-"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stderr


def decoding_times(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [packet.dts for packet in container.demux(video=0) if packet.size]


def audio_start(path: Path) -> float:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return float(stream.start_time * stream.time_base)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H.264 with B-frames and AAC."""
    path = cut("wolfgang", tmp_path_factory.mktemp("spoken") / "a.mp4", "-bf", "3", "-c:a", "copy", seconds=1.5)
    with av.open(str(path)) as container:
        assert any(frame.pict_type == av.video.frame.PictureType.B for frame in container.decode(video=0))
    return path


@pytest.fixture(scope="module")
def variable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames at uneven distances, finer than a millisecond."""
    path = tmp_path_factory.mktemp("variable") / "a.mp4"
    uneven = r"select=not(mod(n\,3))+lt(mod(n\,7)\,2),setpts=PTS+0.0071*mod(N\,3)/TB"
    rate = ("-fps_mode", "vfr", "-enc_time_base", "1/90000", "-video_track_timescale", "90000")
    cut("franck", path, "-vf", uneven, *rate, seconds=2)
    steps = {then - now for now, then in zip(times(path), times(path)[1:], strict=False)}
    assert len(steps) > 3
    return path


@pytest.mark.parametrize("source", ["spoken", "variable"])
@pytest.mark.parametrize(
    ("preset", "suffix"), [("h264", ".mp4"), ("h264", ".mov"), ("h265", ".mp4"), ("prores", ".mov")]
)
def test_times_are_exact(tmp_path: Path, request: pytest.FixtureRequest, source: str, preset: str, suffix: str) -> None:
    path, output = request.getfixturevalue(source), tmp_path / f"out{suffix}"
    report = restore(path, output, preset)
    assert times(output) == times(path)
    assert report.frames == len(times(path)) and report.notices == []
    made = decoding_times(output)
    assert made == sorted(set(made))
    assert abs(probe(output).duration - probe(path).duration) <= Fraction(1, 1000)
    assert warnings_of(output) == ""
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_audio_is_copied_packet_by_packet(tmp_path: Path, spoken: Path, suffix: str) -> None:
    output = tmp_path / f"out{suffix}"
    report = restore(spoken, output, "h264")
    assert payload(output) == payload(spoken) and len(payload(spoken)) > 60
    assert report.copied == 1
    assert audio_start(spoken) == pytest.approx(audio_start(output), abs=0.001)
    assert warnings_of(output) == ""


@pytest.mark.parametrize("source", ["spoken", "variable"])
def test_untouched_pixels_stay_bit_for_bit(tmp_path: Path, request: pytest.FixtureRequest, source: str) -> None:
    path, output = request.getfixturevalue(source), tmp_path / "out.mkv"
    restore(path, output, "ffv1")
    pairs = zip(times(path), times(output), strict=True)
    assert max(abs(before - after) for before, after in pairs) <= Fraction(1, 2000)  # Matroska counts milliseconds
    for before, after in zip(VideoReader(path), VideoReader(output), strict=True):
        assert after.native.format.name == before.native.format.name == "yuv420p"
        for number, (old, new) in enumerate(zip(planes(before.native), planes(after.native), strict=True)):
            cell = 2 if number else 1
            outside = np.ones(old.shape, bool)
            outside[31 // cell : -(-90 // cell), 41 // cell : -(-100 // cell)] = False
            assert np.array_equal(old[outside], new[outside])
            assert not np.array_equal(old[~outside], new[~outside])


@pytest.mark.parametrize(
    ("preset", "suffix"), [("h264", ".mp4"), ("h265", ".mkv"), ("ffv1", ".mkv"), ("prores", ".mov")]
)
def test_rotation_and_colour_tags_travel_along(tmp_path: Path, preset: str, suffix: str) -> None:
    plain, turned, output = tmp_path / "a.mp4", tmp_path / "b.mp4", tmp_path / f"out{suffix}"
    tags = ("-vf", "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv")
    cut("franck", plain, *tags, "-metadata", "title=A film")
    turn(plain, turned, 90)
    restore(turned, output, preset)
    before, after = probe(turned), probe(output)
    assert after.rotation == before.rotation == 90
    colors = [(c.matrix, c.primaries, c.transfer) for c in (before.color, after.color)]
    assert colors[0] == colors[1] == ("bt709", "bt709", "bt709")
    assert after.color.range == "tv"
    assert re.search(r"title\s+: A film", facts(output))


def test_streams_that_mp4_cannot_hold_are_converted_and_told(tmp_path: Path) -> None:
    subtitles, chapters, source = tmp_path / "s.srt", tmp_path / "c.txt", tmp_path / "a.mkv"
    subtitles.write_text("1\n00:00:00,100 --> 00:00:00,900\nHello\n\n")
    chapters.write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=700\ntitle=One\n")
    chirp = ("-f", "lavfi", "-i", "aevalsrc=sin(2*PI*t*(300+200*t)):s=48000")
    ffmpeg(
        "-i",
        clip("franck"),
        *chirp,
        "-i",
        subtitles,
        "-i",
        chapters,
        "-map",
        "0:v",
        "-map",
        "1",
        "-map",
        "2",
        "-map_metadata",
        3,
        "-t",
        1,
        "-c:a",
        "pcm_s16le",
        "-c:s",
        "srt",
        "-metadata:s:a",
        "language=fre",
        source,
    )
    output = tmp_path / "out.mp4"
    report = restore(source, output, "h264", cuts=(9,))
    assert report.notices == [
        "The audio stream 1 (pcm_s16le) was converted to aac: mp4 can't hold it.",
        "The subtitle stream 2 (subrip) was converted to mov_text: mp4 can't hold it.",
    ]
    streams = [(s.kind, s.codec, s.language) for s in probe(output).streams][:2]
    assert streams == [("audio", "aac", "fre"), ("subtitle", "mov_text", "und")]
    text = ffmpeg("-i", output, "-map", "0:s", "-f", "srt", "-").decode()
    assert "00:00:00,100 --> 00:00:00,900\nHello" in text.replace("\r", "")
    assert re.search(r"title\s+: One", facts(output))
    heard = [
        np.frombuffer(ffmpeg("-i", p, "-map", "0:a", "-ar", 8000, "-ac", 1, "-f", "s16le", "-"), np.int16)
        for p in (source, output)
    ]
    length = min(map(len, heard))
    assert np.corrcoef(heard[0][:length], heard[1][:length])[0, 1] > 0.95

    kept = restore(source, tmp_path / "out.mkv", "h264", cuts=(9,))
    assert kept.notices == [] and kept.copied == 2
    assert payload(tmp_path / "out.mkv", "s") == payload(source, "s")


def test_transport_stream_begins_at_zero(tmp_path: Path) -> None:
    source, output = tmp_path / "a.ts", tmp_path / "out.mp4"
    cut("wolfgang", source, "-c:a", "aac")
    report = restore(source, output, "h264")
    assert times(output) == times(source)
    assert abs(float(min(times(output)))) < 0.1
    assert any("clock began at" in line for line in report.notices)
    assert payload(output)  # ADTS framing is taken off, so the packets are other ones
    assert warnings_of(output) == ""


def test_silent_source_and_single_part(tmp_path: Path) -> None:
    source, output = cut("franck", tmp_path / "a.mp4", seconds=0.5), tmp_path / "out.mp4"
    report = restore(source, output, "h264", cuts=())
    assert (report.frames, report.copied, probe(output).streams) == (12, 0, ())
    assert times(output) == times(source)


def test_numbered_pictures(tmp_path: Path, spoken: Path) -> None:
    output = tmp_path / "pictures"
    report = restore(spoken, output, "png")
    names = sorted(path.name for path in output.iterdir())
    assert names == [f"{number:06d}.png" for number in range(len(times(spoken)))]
    assert report.notices[0] == "Pictures have no audio, so the source's is left out."
    first, source = next(iter(VideoReader(output))), next(iter(VideoReader(spoken)))
    difference = (first.rgb() - source.rgb()).abs()
    assert difference[:, 100:].max() <= 0.51 / 255 and difference.max() > 0.1
    with pytest.raises(UnwritableVideo, match="no empty folder"):
        check_output(output, "png")


@pytest.mark.parametrize(("suffix", "allowed"), [(".png", 0.51), (".jpg", 12)])
def test_one_picture_in_one_picture_out(tmp_path: Path, suffix: str, allowed: float) -> None:
    source, output = clip("multi_face"), tmp_path / f"out{suffix}"
    info = probe(source)
    part = tmp_path / "part.nut"
    with VideoWriter(part, info, "png") as writer:
        for frame in VideoReader(source):
            writer.write(frame)
    mux([part], info, output, "png")
    (result,) = VideoReader(output)
    assert (result.rgb() - frame.rgb()).abs().max() * 255 <= allowed
    assert f"Video: {({'.png': 'png', '.jpg': 'mjpeg'})[suffix]}" in facts(output)


def test_refusals(tmp_path: Path, spoken: Path) -> None:
    info = probe(spoken)
    with pytest.raises(InvalidOption, match=r"a\.avi doesn't fit the preset h264"):
        check_output(tmp_path / "a.avi", "h264")
    with pytest.raises(InvalidOption, match="is one picture, but the input is a video"):
        check_output(tmp_path / "a.png", "png", info)
    with pytest.raises(UnwritableVideo, match="does not exist"):
        mux([], info, tmp_path / "none" / "a.mp4", "h264")
    with pytest.raises(UnwritableVideo, match="no part to join"):
        mux([], info, tmp_path / "a.mp4", "h264")
    with pytest.raises(UnwritableVideo, match="VideoWriter's making"):
        mux([spoken], info, tmp_path / "a.mp4", "h264")
    parts = []
    for number, preset in enumerate(("h264", "h265")):
        parts.append(tmp_path / f"{number}.nut")
        with VideoWriter(parts[-1], info, preset) as writer:
            for frame in VideoReader(spoken, start_frame=5 * number, end_frame=5 * number + 5):
                writer.write(frame)
    with pytest.raises(UnwritableVideo, match="other settings"):
        mux(parts, info, tmp_path / "a.mp4", "h264")
    with pytest.raises(UnwritableVideo, match="out of order"):
        mux([parts[0], parts[0]], info, tmp_path / "a.mp4", "h264")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.nut", "1.nut"]


def test_an_existing_output_is_replaced_only_when_the_new_one_is_whole(tmp_path: Path, spoken: Path) -> None:
    output = tmp_path / "out.mp4"
    output.write_bytes(b"the old one")
    with pytest.raises(UnwritableVideo):
        mux([spoken], probe(spoken), output, "h264")
    assert output.read_bytes() == b"the old one"
    restore(spoken, output, "h264")
    assert times(output) == times(spoken)
