"""Carried, or told: fields, HDR, transparency, the way up, pixels' shape, pictures of every kind."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.assets import ffmpeg, run_ffmpeg
from tests.core.video.work import CASES, X264, make, restore, told
from vividface_core.video.display_matrix import set_display_matrix
from vividface_core.video.hdr import StaticHdr
from vividface_core.video.interlace import FieldMarker, field_order, is_combed
from vividface_core.video.orientation import matrix_of
from vividface_core.video.pixel_formats import planes
from vividface_core.video.reader import VideoReader, probe
from vividface_core.video.source import VideoFrames

HDR = StaticHdr((13250, 34500, 7500, 3000, 34000, 16000, 15635, 16450), (10_000_000, 1), (1000, 400))
"""As the recipe of hdr10-static-metadata.mp4 says."""
WRITTEN = [("h264", ".mp4"), ("h264", ".mkv"), ("h265", ".mp4"), ("h265", ".mkv"), ("prores", ".mov"), ("ffv1", ".mkv")]


def rgb_of(path: Path, *filters: str) -> np.ndarray:
    """All frames ``[T, H, W, 3]`` as the ffmpeg program shows them, brought upright by itself."""
    command = [
        ffmpeg(),
        "-v",
        "error",
        "-i",
        path,
        *(["-vf", ",".join(filters)] if filters else []),
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    width, height = probe(path).upright_size
    data = subprocess.run(list(map(str, command)), capture_output=True, check=True).stdout
    return np.frombuffer(data, np.uint8).reshape(-1, height, width, 3)


def moving(path: Path, *options: object, order: str = "tff") -> Path:
    """Fields of a moving picture, 25 frames of two moments each a second."""
    top = "interleave_top" if order == "tff" else "interleave_bottom"
    run_ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=160x96:r=50:d=0.4",
        "-vf",
        f"scroll=h=0.02,tinterlace={top},setfield={order}",
        "-r",
        "25",
        *options,
        path,
    )
    return path


INTERLACED = {
    "h264": (".mp4", "tff", [*X264, "-flags", "+ildct+ilme", "-x264opts", "tff=1"]),
    "h264 bottom": (".mkv", "bff", [*X264, "-flags", "+ildct+ilme", "-x264opts", "bff=1"]),
    "mpeg2": (".mpg", "tff", ["-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-q:v", "2"]),
    "ffv1": (".mkv", "tff", ["-c:v", "ffv1", "-flags", "+ildct"]),
    "prores": (".mov", "bff", ["-c:v", "prores_ks", "-flags", "+ildct"]),
}


@pytest.mark.parametrize("kind", INTERLACED)
def test_fields_stay_fields_where_they_are_wanted(tmp_path: Path, kind: str) -> None:
    suffix, order, options = INTERLACED[kind]
    source = moving(tmp_path / f"a{suffix}", *options, order=order)
    assert (probe(source).fields, probe(source).combed) == (order, True)
    for preset, ending in (("h264", ".mp4"), ("h264", ".mkv"), ("prores", ".mov"), ("ffv1", ".mkv"), ("ffv1", ".avi")):
        out = tmp_path / f"o{ending}"
        result = restore(source, out, preset, deinterlace="off")
        with av.open(str(out)) as container:
            orders = {field_order(frame) for frame in container.decode(video=0)}
        said = [line for line in result.notices if "interlaced" in line]
        assert orders == {order} and not said
    for preset, ending in (("h265", ".mp4"), ("png", "")):
        result = restore(source, tmp_path / f"p{ending}", preset, deinterlace="off")
        assert sum("interlaced" in line for line in result.notices) == 1


@pytest.mark.parametrize("kind", INTERLACED)
def test_whole_frames_are_made_of_fields_with_a_notice(tmp_path: Path, kind: str) -> None:
    suffix, order, options = INTERLACED[kind]
    source = moving(tmp_path / f"a{suffix}", *options, order=order)
    result = restore(source, tmp_path / "o.mkv", "ffv1")
    assert sum("is interlaced" in line for line in result.notices) == 1
    with VideoReader(tmp_path / "o.mkv") as reader:
        frames = list(reader)
    assert len(frames) == len(list(VideoReader(source)))
    assert reader.info.fields is None and not any(is_combed(frame.native) for frame in frames)


def test_deinterlacing_is_ffmpegs_and_the_same_at_every_start(tmp_path: Path) -> None:
    source = moving(tmp_path / "a.mkv", "-c:v", "ffv1", "-flags", "+ildct")
    whole = [planes(frame.native) for frame in VideoReader(source, deinterlace="auto")]
    command = [ffmpeg(), "-v", "error", "-i", source, "-vf", "bwdif=mode=send_frame", "-f", "rawvideo", "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    wanted = np.frombuffer(data, np.uint8).reshape(len(whole), -1)
    for number, (frame, reference) in enumerate(zip(whole, wanted, strict=True)):
        off = np.abs(np.concatenate([plane.ravel() for plane in frame]).astype(int) - reference)
        # Releases of ffmpeg treat the first frame, which has none before it, in different ways.
        assert off.max() <= 1 if number else off.mean() < 1
    with VideoReader(source, start_frame=4, end_frame=7, deinterlace="auto") as reader:
        part = list(reader)
    assert [frame.index for frame in part] == [4, 5, 6]
    for frame in part:
        assert all(map(np.array_equal, planes(frame.native), whole[frame.index]))


def test_marked_material_of_whole_frames_is_left_alone(tmp_path: Path) -> None:
    """Film on tape: marked as interlaced, both fields of one moment."""
    source = make(tmp_path / "a.mkv", "-vf", "scroll=h=0.02,setfield=tff", "-c:v", "ffv1", "-flags", "+ildct")
    assert (probe(source).fields, probe(source).combed) == ("tff", False)
    result = restore(source, tmp_path / "o.mkv", "ffv1")
    assert probe(tmp_path / "o.mkv").fields == "tff" and not result.notices


def test_fields_stay_where_nothing_is_touched(tmp_path: Path) -> None:
    source = moving(tmp_path / "a.mp4", *INTERLACED["h264"][2])
    result = restore(source, tmp_path / "o.mkv", "ffv1", strength=0.0)
    with VideoReader(source) as before, VideoReader(tmp_path / "o.mkv") as after:
        for one, other in zip(before, after, strict=True):
            assert all(map(np.array_equal, planes(one.native), planes(other.native)))
    assert after.info.fields == "tff" and not any("whole frames are made" in line for line in result.notices)


def test_marks_change_no_sample() -> None:
    frame = av.VideoFrame.from_ndarray(np.arange(96 * 64, dtype=np.uint8).reshape(96, 64) % 251, format="gray")
    marked = FieldMarker("bff").mark(frame, True)
    assert field_order(marked) == "bff" and field_order(FieldMarker("bff").mark(frame, False)) is None
    assert np.array_equal(marked.to_ndarray(), frame.to_ndarray())


@pytest.mark.parametrize(("preset", "suffix"), WRITTEN)
def test_hdr10_metadata_comes_along(tmp_path: Path, preset: str, suffix: str) -> None:
    out = tmp_path / f"o{suffix}"
    result = restore(CASES / "hdr10-static-metadata.mp4", out, preset)
    info = probe(out)
    assert info.hdr == HDR and not result.notices
    assert (info.color.transfer, info.color.primaries, info.bit_depth) == ("smpte2084", "bt2020", 10)
    again = tmp_path / f"again{suffix}"  # the container says it too, not only the frames
    run_ffmpeg("-i", out, "-c", "copy", "-frames:v", "2", again)
    assert probe(again).hdr == HDR


def test_hdr10_metadata_that_cannot_come_along_is_told(tmp_path: Path) -> None:
    source = CASES / "hdr10-static-metadata.mp4"
    assert any("mastering display" in line for line in restore(source, tmp_path / "o.avi", "ffv1").notices)
    assert any("PQ" in line for line in restore(source, tmp_path / "p", "png").notices)


@pytest.mark.parametrize(("preset", "suffix"), WRITTEN)
def test_hlg_keeps_its_tags(tmp_path: Path, preset: str, suffix: str) -> None:
    tags = "colorspace=bt2020nc:color_primaries=bt2020:color_trc=arib-std-b67:range=tv"
    source = make(
        tmp_path / "a.mp4",
        "-vf",
        f"format=yuv420p10le,setparams={tags}",
        "-c:v",
        "libx265",
        "-x265-params",
        "log-level=none",
    )
    restore(source, tmp_path / f"o{suffix}", preset)
    color = probe(tmp_path / f"o{suffix}").color
    assert (color.matrix, color.primaries, color.transfer) == ("bt2020nc", "bt2020", "arib-std-b67")


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_transparency_of_webm(tmp_path: Path, codec: str) -> None:
    source = make(
        tmp_path / "a.webm",
        "-vf",
        "format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='255*lt(X,40)',format=yuva420p",
        "-c:v",
        codec,
        "-auto-alt-ref",
        "0",
        "-deadline",
        "realtime",
    )
    assert probe(source).has_alpha
    for preset, suffix in (("prores", ".mov"), ("ffv1", ".mkv"), ("png", "")):
        restore(source, tmp_path / f"o{suffix}", preset)
        for frame in VideoReader(tmp_path / f"o{suffix}"):
            alpha = planes(frame.native)[3] / (2**12 if preset == "prores" else 256)
            assert alpha[:, :36].min() > 0.9 and alpha[:, 44:].max() < 0.1
    assert any("Transparency" in line for line in restore(source, tmp_path / "o.mp4").notices)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_the_whole_display_matrix(tmp_path: Path, degrees: int, mirrored: bool) -> None:
    source = make(tmp_path / "a.mp4", *X264, seconds=0.1)
    if degrees or mirrored:
        set_display_matrix(source, matrix_of(mirrored, degrees, 96, 64))
    wanted = rgb_of(source) / 255
    for frame, reference in zip(VideoReader(source), wanted, strict=True):
        assert np.abs(frame.rgb().permute(1, 2, 0).numpy() - reference).mean() < 0.06  # turned wrongly: 0.3
    for preset, suffix in (("h264", ".mp4"), ("prores", ".mov"), ("ffv1", ".mkv"), ("ffv1", ".avi"), ("png", "")):
        out = tmp_path / f"o{suffix}"
        result = restore(source, out, preset, strength=0.0)
        if suffix == ".avi":
            assert any("AVI" in line.upper() and "can't be recorded" in line for line in result.notices) == (
                bool(degrees) or mirrored
            )
        elif suffix != "":
            assert (probe(out).rotation, probe(out).mirrored) == (degrees, mirrored)
        if suffix != ".avi":
            shown = next(iter(VideoReader(out))).rgb().permute(1, 2, 0).numpy()
            assert np.abs(shown - wanted[0]).mean() < 0.06


@pytest.mark.parametrize("shape", ["16/15", "8/9", "10/11", "4/3", "1/2", "64/45"])
@pytest.mark.parametrize(
    ("preset", "suffix"), [("ffv1", ".mkv"), ("h264", ".mkv"), ("h264", ".mp4"), ("prores", ".mov")]
)
def test_pixels_keep_their_shape(tmp_path: Path, preset: str, suffix: str, shape: str) -> None:
    source = make(tmp_path / "a.mp4", "-vf", f"setsar={shape}", *X264, size="720x480", seconds=0.1)
    out = tmp_path / f"o{suffix}"
    result = restore(source, out, preset)
    assert not result.notices
    assert float(probe(out).sample_aspect_ratio) == pytest.approx(float(Fraction(shape)), rel=2e-3)
    assert "SAR" in told(out)


def test_pictures_of_a_folder_are_brought_upright_each(tmp_path: Path) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24] = 200
    picture[:, :16, 0] = 255
    folder = tmp_path / "f"
    folder.mkdir()
    turned = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture),
        7: np.rot90(picture[:, ::-1]),
        8: np.rot90(picture, -1),
    }
    turned[7] = np.rot90(picture, 2).transpose(1, 0, 2)
    for orientation, stored in turned.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.ascontiguousarray(stored)).save(
            folder / f"{orientation}.jpg", quality=98, subsampling=0, exif=exif
        )
    frames = list(VideoReader(folder))
    for frame in frames:
        shown = (frame.rgb().permute(1, 2, 0).numpy() * 255).round()
        assert np.abs(shown - picture).mean() < 4, frame.index
    restore(folder, tmp_path / "o.mp4", strength=0.0)
    assert np.abs(rgb_of(tmp_path / "o.mp4").astype(int) - picture).mean() < 8


def test_the_case_of_three_pictures(tmp_path: Path) -> None:
    first, second, third = (frame.rgb() for frame in VideoReader(CASES / "pictures-with-exif"))
    assert (second - first).abs().mean() < 0.1 > (third - second).abs().mean()


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.tif", "webp.bin", "png.bin", "tiff.png"])
def test_animated_pictures_by_content(tmp_path: Path, name: str) -> None:
    pages = [Image.fromarray(np.full((48, 64, 3), level, np.uint8)) for level in (20, 80, 140, 200)]
    kind = {"a.webp": "WEBP", "webp.bin": "WEBP", "a.png": "PNG", "png.bin": "PNG"}.get(name, "TIFF")
    path = tmp_path / name
    extra = {} if kind == "TIFF" else {"duration": 40, "loop": 0}
    pages[0].save(path, kind, save_all=True, append_images=pages[1:], **extra)
    frames = [frame.rgb().mean().item() * 255 for frame in VideoReader(path)]
    assert frames == pytest.approx([20, 80, 140, 200], abs=3)
    result = restore(path, tmp_path / "o.mp4", strength=0.0)
    assert result.frames == 4
    if kind != "TIFF":
        assert probe(tmp_path / "o.mp4").fps == 25


def test_animated_avif(tmp_path: Path) -> None:
    from PIL import features

    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    pages = [Image.fromarray(np.full((64, 64, 3), level, np.uint8)) for level in (20, 120, 220)]
    pages[0].save(tmp_path / "a.avif", save_all=True, append_images=pages[1:], duration=100)
    assert [round(frame.rgb().mean().item() * 255, -1) for frame in VideoReader(tmp_path / "a.avif")] == [20, 120, 220]


def test_transparency_of_an_animated_picture(tmp_path: Path) -> None:
    pages = [
        Image.fromarray(np.dstack([np.full((32, 32, 3), 90, np.uint8), np.full((32, 32), a, np.uint8)]), "RGBA")
        for a in (255, 100)
    ]
    pages[0].save(tmp_path / "a.webp", save_all=True, append_images=pages[1:], duration=40, lossless=True, exact=True)
    restore(tmp_path / "a.webp", tmp_path / "o.mkv", "ffv1")
    assert [int(planes(frame.native)[3].mean()) for frame in VideoReader(tmp_path / "o.mkv")] == [255, 100]


def test_numbered_pictures_keep_their_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    for number in (3, 4, 9, 10, 21):
        Image.fromarray(np.full((32, 32, 3), number * 10, np.uint8)).save(folder / f"shot_{number:04d}.png")
    restore(folder, tmp_path / "o", "png", strength=0.0)
    got = {path.name: Image.open(path).getpixel((0, 0))[0] for path in sorted((tmp_path / "o").iterdir())}
    assert got == {f"shot_{number:04d}.png": number * 10 for number in (3, 4, 9, 10, 21)}
    told = restore(folder, tmp_path / "o.mp4", strength=0.0).notices
    assert sum("14 numbers are missing" in line for line in told) == 1


def test_the_default_stream_is_taken(tmp_path: Path) -> None:
    source = tmp_path / "a.mkv"
    run_ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "color=red:s=64x48:d=0.2",
        "-f",
        "lavfi",
        "-i",
        "color=blue:s=96x64:d=0.2",
        "-map",
        "0",
        "-map",
        "1",
        "-c:v",
        "ffv1",
        "-disposition:v:0",
        "0",
        "-disposition:v:1",
        "default",
        source,
    )
    info = probe(source)
    assert (info.width, info.height) == (96, 64)
    assert sum("video stream 0" in line for line in restore(source, tmp_path / "o.mkv", "ffv1").notices) == 1


def test_attached_pictures(tmp_path: Path) -> None:
    for color, name in (("red", "c.png"), ("blue", "c.jpg")):
        run_ffmpeg("-f", "lavfi", "-i", f"color={color}:s=32x32", "-frames:v", "1", tmp_path / name)
    source = tmp_path / "a.mp4"
    run_ffmpeg(
        "-i",
        CASES / "three-frames.mp4",
        "-i",
        tmp_path / "c.png",
        "-i",
        tmp_path / "c.jpg",
        "-map",
        "0",
        "-map",
        "1",
        "-map",
        "2",
        "-c",
        "copy",
        "-disposition:v:1",
        "attached_pic",
        "-disposition:v:2",
        "attached_pic",
        source,
    )
    for suffix in (".mp4", ".mkv"):
        out = tmp_path / f"o{suffix}"
        assert not restore(source, out).notices
        with av.open(str(out)) as container:
            covers = [s for s in container.streams.video if s.disposition & av.stream.Disposition.attached_pic]
            assert [stream.codec_context.name for stream in covers] == ["png", "mjpeg"]
    left = [line for line in restore(source, tmp_path / "o.mov").notices if "attached" in line]
    assert left == ["2 attached pictures (png, mjpeg) are left out."]


def test_deinterlacing_is_told_by_the_source(tmp_path: Path) -> None:
    shutil.copy(CASES / "interlaced-h264.mp4", tmp_path / "a.mp4")
    source = VideoFrames(tmp_path / "a.mp4")
    assert source.deinterlaces and "is interlaced" in source.warnings[0]
    assert not source.as_stored().deinterlaces and source.as_stored().info.fields == "tff"
