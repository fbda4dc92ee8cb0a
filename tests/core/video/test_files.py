"""What is known of a file before its pixels are used; also the small files that the other video tests are made of."""

from __future__ import annotations

import re
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.assets import clip
from tests.assets import ffmpeg as ffmpeg_program
from vividface_core.errors import UnreadableVideo
from vividface_core.video.pixel_formats import canonical, canonical_name, layout, planes
from vividface_core.video.reader import VideoReader, probe


def ffmpeg(*arguments: str | Path) -> bytes:
    """Run the real program; its standard output."""
    command = [ffmpeg_program(), "-y", "-v", "error", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def facts(path: Path) -> str:
    """What ffmpeg itself says about a file."""
    return subprocess.run([ffmpeg_program(), "-i", str(path)], capture_output=True, text=True).stderr


def frame_times(path: Path) -> list[Fraction]:
    """Presentation time of each decoded frame in seconds, as ffmpeg has it."""
    command = [ffmpeg_program(), "-copyts", "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough"]
    command += ["-vf", "showinfo", "-f", "null", "-"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    unit = Fraction(re.search(r"config in time_base: (\S+),", said)[1])
    return [int(pts) * unit for pts in re.findall(r"\] n: *\d+ pts: *(-?\d+) ", said)]


def turn(plain: Path, turned: Path, degrees: int) -> None:
    """A copy with a rotation tag, in the way of this ffmpeg's version."""
    ffmpeg("-i", plain, "-c", "copy", "-metadata:s:v", f"rotate={degrees}", turned)
    if "rotation of" not in facts(turned):
        ffmpeg("-display_rotation", str(degrees), "-i", plain, "-c", "copy", turned)  # ffmpeg from 6 on


def cut(name: str, target: Path, *options: str, seconds: float = 1) -> Path:
    """The beginning of a real clip, encoded anew with ``options``."""
    ffmpeg("-i", clip(name), "-t", str(seconds), *options, target)
    return target


def same_planes(a: av.VideoFrame, b: av.VideoFrame) -> bool:
    return a.format.name == b.format.name and all(map(np.array_equal, planes(a), planes(b)))


def test_facts_of_a_tagged_file(tmp_path: Path) -> None:
    tags = ("-vf", "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv")
    info = probe(cut("wolfgang", tmp_path / "a.mp4", *tags, "-c:a", "copy", "-metadata:s:a", "language=deu"))
    assert (info.width, info.height, info.fps) == (640, 360, Fraction(24000, 1001))
    assert info.time_base.denominator % 24000 == 0
    assert info.frame_count == 24
    assert info.duration == 24 / info.fps
    assert (info.pix_fmt, info.bit_depth, info.codec, info.has_alpha) == ("yuv420p", 8, "h264", False)
    color = info.color
    assert (color.matrix, color.range, color.primaries, color.transfer) == ("bt709", "tv", "bt709", "bt709")
    assert color.matrix_tagged and color.range_tagged
    assert [(s.kind, s.codec, s.language) for s in info.streams] == [("audio", "aac", "deu")]


@pytest.mark.parametrize(("lines", "matrix"), [(480, "smpte170m"), (720, "bt709")])
def test_untagged_file_gets_what_players_assume(tmp_path: Path, lines: int, matrix: str) -> None:
    path = cut("franck", tmp_path / "a.mkv", "-vf", f"scale=-2:{lines}", "-c:v", "ffv1", seconds=0.1)
    color = probe(path).color
    assert (color.matrix, color.range, color.matrix_tagged) == (matrix, "tv", False)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_told_and_not_applied(tmp_path: Path, degrees: int) -> None:
    plain = cut("franck", tmp_path / "a.mp4", seconds=0.2)
    turned = tmp_path / "b.mp4"
    turn(plain, turned, degrees)
    info = probe(turned)
    assert info.rotation == degrees
    assert (info.width, info.height) == (360, 288)


def test_ten_bit_and_sample_aspect(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    cut("franck", path, "-vf", "setsar=16/15", "-pix_fmt", "yuv422p10le", "-c:v", "ffv1", seconds=0.2)
    info = probe(path)
    assert (info.pix_fmt, info.bit_depth, info.sample_aspect_ratio) == ("yuv422p10le", 10, Fraction(16, 15))


def test_transport_stream_tells_where_its_clock_begins(tmp_path: Path) -> None:
    path = cut("franck", tmp_path / "a.ts", seconds=0.5)
    info = probe(path)
    assert float(info.origin) == pytest.approx(float(re.search(r"start: ([\d.]+)", facts(path))[1]), abs=1e-6)
    assert info.origin > 1


@pytest.mark.parametrize(
    ("packed", "planar"),
    [
        ("nv12", "yuv420p"),
        ("yuyv422", "yuv422p"),
        ("rgb24", "gbrp"),
        ("bgra", "gbrap"),
        ("rgb48be", "gbrp16le"),
        ("p010le", "yuv420p10le"),
        ("yuvj420p", "yuv420p"),
        ("gray16be", "gray16le"),
    ],
)
def test_packed_formats_become_planar_without_loss(packed: str, planar: str) -> None:
    source = next(av.open(str(clip("franck"))).decode(video=0))
    frame = source.reformat(width=384, format=packed)  # lines without padding
    assert canonical_name(packed) == planar
    result = canonical(frame)
    assert result.format.name == planar and layout(planar) is not None
    back = result.reformat(format=packed) if packed != "yuvj420p" else frame
    assert [bytes(plane) for plane in back.planes] == [bytes(plane) for plane in frame.planes]


def test_folder_in_natural_order(tmp_path: Path) -> None:
    for number, level in ((1, 10), (2, 20), (10, 100)):
        Image.new("RGB", (16, 16), (level,) * 3).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    with VideoReader(tmp_path) as reader:
        levels = [round(float(frame.rgb().mean()) * 255) for frame in reader]
        assert (reader.info.kind, reader.info.frame_count, levels) == ("folder", 3, [10, 20, 100])
    assert [frame.index for frame in VideoReader(tmp_path, start_frame=1, end_frame=2)] == [1]


def test_single_picture_and_its_alpha(tmp_path: Path) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (7, 5, 4), np.uint8)
    path = tmp_path / "100%d.png"
    Image.fromarray(rgba).save(path)
    (frame,) = VideoReader(path)
    assert probe(path).kind == "image" and probe(path).has_alpha
    assert np.array_equal(np.stack(planes(frame.native)), rgba.transpose(2, 0, 1)[[1, 2, 0, 3]])


def test_pictures_of_different_sizes_are_refused(tmp_path: Path) -> None:
    for number, size in ((1, 16), (2, 18)):
        Image.new("RGB", (size, size)).save(tmp_path / f"{number}.png")
    with pytest.raises(UnreadableVideo, match=r"2\.png is 18x18, but 1\.png is 16x16"):
        list(VideoReader(tmp_path))
