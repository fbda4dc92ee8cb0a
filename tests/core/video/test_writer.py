"""Encoding one part: formats, sizes, exact times, refusals."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch

from tests.assets import clip
from tests.core.video.test_files import cut, same_planes
from vividface_core.errors import InvalidOption, UnwritableVideo
from vividface_core.video.frame import from_tensor
from vividface_core.video.info import ColorInfo, VideoInfo
from vividface_core.video.pixel_formats import planes
from vividface_core.video.presets import choose_coding, load_preset, preset_names
from vividface_core.video.reader import VideoReader, probe
from vividface_core.video.writer import VideoWriter, part_suffix


def write(path: Path, source: Path, preset: str, end: int = 12) -> VideoWriter:
    with VideoReader(source, end_frame=end) as reader, VideoWriter(path, reader.info, preset) as writer:
        for frame in reader:
            writer.write(frame)
    return writer


def _info(pix_fmt: str, size: tuple[int, int] = (64, 48), range_: str = "tv") -> VideoInfo:
    color = ColorInfo("bt709", range_)
    depth = load_depth(pix_fmt)
    return VideoInfo(Path("x"), *size, Fraction(24), Fraction(1, 24), pix_fmt=pix_fmt, bit_depth=depth, color=color)


def load_depth(pix_fmt: str) -> int:
    return av.VideoFormat(pix_fmt, 16, 16).components[0].bits


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_keeps_count_and_times(tmp_path: Path, preset: str) -> None:
    path = tmp_path / f"part{part_suffix(preset)}"
    write(path, clip("wolfgang"), preset)
    source, made = probe(clip("wolfgang")), probe(path)
    expected = [frame.pts * source.time_base for frame in VideoReader(clip("wolfgang"), end_frame=12)]
    assert [frame.pts * made.time_base for frame in VideoReader(path)] == expected
    assert (made.width, made.height) == (640, 360)
    assert list(tmp_path.iterdir()) == [path], "something was left beside the part"


@pytest.mark.parametrize(
    ("preset", "source", "chosen"),
    [
        ("h264", "yuv420p", "yuv420p"),
        ("h264", "yuv420p10le", "yuv420p10le"),
        ("h264", "yuv444p12le", "yuv444p10le"),
        ("h264", "gbrp", "yuv420p"),
        ("h264", "yuva444p", "yuv444p"),
        ("h264", "yuv411p", "yuv422p"),
        ("h265", "yuv422p12le", "yuv422p12le"),
        ("h265", "gbrp16le", "yuv420p12le"),
        ("prores", "yuv420p", "yuv422p10le"),
        ("prores", "yuva420p", "yuva444p10le"),
        ("prores", "gbrap", "yuva444p10le"),
        ("ffv1", "yuv420p", "yuv420p"),
        ("ffv1", "gbrap", "gbrap"),
        ("ffv1", "gray16le", "gray16le"),
        ("ffv1", "yuva420p10le", "yuva420p10le"),
        ("ffv1", "gbrp12le", "gbrp12le"),
        ("png", "yuv420p", "gbrp"),
        ("png", "yuv420p10le", "gbrp16le"),
        ("png", "yuva420p", "gbrap"),
        ("png", "gray", "gray"),
    ],
)
def test_pixel_format_that_loses_least(preset: str, source: str, chosen: str) -> None:
    assert choose_coding(load_preset(preset), _info(source)).layout.name == chosen


@pytest.mark.parametrize(("preset", "chosen"), [("h264", "yuv444p"), ("h265", "yuv444p"), ("ffv1", "yuv420p")])
def test_odd_size_is_kept(tmp_path: Path, preset: str, chosen: str) -> None:
    source = tmp_path / "odd.mkv"
    cut("franck", source, "-vf", "scale=319:239", "-c:v", "ffv1", seconds=0.2)
    writer = write(tmp_path / "part.nut", source, preset)
    frames = list(VideoReader(tmp_path / "part.nut"))
    assert {(f.width, f.height, f.native.format.name) for f in frames} == {(319, 239, chosen)}
    assert any("319x239 is odd" in line for line in writer.notices) == (chosen != "yuv420p")
    original = list(VideoReader(source))
    difference = torch.stack([(a.rgb() - b.rgb()).abs().mean() for a, b in zip(original, frames, strict=True)])
    assert difference.max() < 3 / 255


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuva444p", "gbrp", "gbrap", "gbrp10le", "gray"])
def test_ffv1_keeps_every_sample(tmp_path: Path, pix_fmt: str) -> None:
    source = tmp_path / "a.mkv"
    stored = {"gbrp": "bgr0", "gbrap": "bgra"}.get(pix_fmt, pix_fmt)
    cut("franck", source, "-pix_fmt", stored, "-c:v", "ffv1", seconds=0.2)
    write(tmp_path / "part.nut", source, "ffv1")
    pairs = list(zip(VideoReader(source), VideoReader(tmp_path / "part.nut"), strict=True))
    assert len(pairs) == 5 and pairs[0][0].native.format.name == pix_fmt
    assert all(same_planes(a.native, b.native) for a, b in pairs)


def test_alpha_is_kept_or_its_loss_is_told(tmp_path: Path) -> None:
    source = tmp_path / "a.mkv"
    ramp = "format=yuva444p,geq=lum=lum(X\\,Y):cb=cb(X\\,Y):cr=cr(X\\,Y):a=X*255/359"
    cut("franck", source, "-vf", ramp, "-c:v", "ffv1", seconds=0.1)
    assert "Transparency is left out" in write(tmp_path / "h.nut", source, "h264").notices[0]
    assert write(tmp_path / "p.mov", source, "prores").notices == ()
    alpha = planes(next(iter(VideoReader(tmp_path / "p.mov"))).native)[3]
    expected = planes(next(iter(VideoReader(source))).native)[3]
    assert abs(alpha.astype(int) - expected.astype(int) * 16).max() <= 16  # read back with 12 bits


@pytest.mark.parametrize("holes", [False, True])
def test_a_gif_loses_only_a_transparency_that_it_has(tmp_path: Path, holes: bool) -> None:
    source = tmp_path / "a.gif"
    clear = "format=rgba,geq=r=r(X\\,Y):g=g(X\\,Y):b=b(X\\,Y):a=255*gt(X\\,40),"
    cut(
        "franck",
        source,
        "-vf",
        "trim=duration=0.3," + (clear if holes else "") + "split[a][b];[a]palettegen[p];[b][p]paletteuse",
        seconds=0.3,
    )
    assert VideoReader(source).info.has_alpha
    told = write(tmp_path / "h.nut", source, "h264").notices
    assert any("Transparency is left out" in notice for notice in told) == holes


def test_full_range_becomes_limited_where_the_codec_has_no_other(tmp_path: Path) -> None:
    source = tmp_path / "a.mkv"
    scale = ("-vf", "scale=out_range=pc,format=yuv420p", "-color_range", "pc")
    cut("franck", source, *scale, "-c:v", "ffv1", seconds=0.1)
    writer = write(tmp_path / "p.mov", source, "prores")
    assert writer.notices == ("prores has tv range only; the samples were converted from pc range.",)
    a, b = next(iter(VideoReader(source))), next(iter(VideoReader(tmp_path / "p.mov")))
    assert (a.color.range, b.color.range) == ("pc", "tv")
    assert (a.rgb() - b.rgb()).abs().mean() < 2 / 255


def test_restored_part_begins_with_a_closed_group(tmp_path: Path) -> None:
    for preset in ("h264", "h265"):
        path = tmp_path / f"{preset}.nut"
        write(path, clip("franck"), preset, end=30)
        with av.open(str(path)) as container:
            packets = [p for p in container.demux(video=0) if p.size]
        assert packets[0].is_keyframe
        assert min(p.pts for p in packets) == packets[0].pts == 0


def test_stopping_leaves_nothing(tmp_path: Path) -> None:
    frame = from_tensor(torch.rand(3, 16, 16))
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "a.nut", _info("gbrp", (16, 16)), "ffv1") as writer:
        writer.write(frame)
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_refusals(tmp_path: Path) -> None:
    info, frame = _info("gbrp", (16, 16)), from_tensor(torch.zeros(3, 16, 16))
    with pytest.raises(InvalidOption, match="no preset 'vhs'; choose one of h264"):
        VideoWriter(tmp_path / "a.nut", info, "vhs")
    with pytest.raises(InvalidOption):
        part_suffix("vhs")
    with pytest.raises(UnwritableVideo, match="does not exist"):
        VideoWriter(tmp_path / "none" / "a.nut", info, "ffv1")
    with pytest.raises(UnwritableVideo, match="No frame was written"):
        VideoWriter(tmp_path / "a.nut", info, "ffv1").close()
    with pytest.raises(UnwritableVideo, match="not later"), VideoWriter(tmp_path / "a.nut", info, "ffv1") as writer:
        writer.write(frame)
        writer.write(frame)
    with pytest.raises(UnwritableVideo, match="is 16x16, the part 32x16"):
        VideoWriter(tmp_path / "a.nut", info, "ffv1", size=(32, 16)).write(frame)
    with pytest.raises(UnwritableVideo, match="can't be written .2x2, preset h265"):
        with VideoWriter(tmp_path / "a.nut", replace(info, width=2, height=2), "h265") as writer:
            writer.write(from_tensor(torch.zeros(3, 2, 2)))
    assert not list(tmp_path.iterdir())


def test_full_disk_is_said(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / ".a.nut.writing").symlink_to(full)
    noise = [torch.rand(3, 256, 256, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    with pytest.raises(UnwritableVideo, match="disk is full"):
        with VideoWriter(tmp_path / "a.nut", _info("gbrp", (256, 256)), "ffv1") as writer:
            for number, rgb in enumerate(noise):
                writer.write(from_tensor(rgb, index=number, pts=number))
