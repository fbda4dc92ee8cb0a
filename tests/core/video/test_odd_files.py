"""Files that aren't what they seem: pipes, cut and animated pictures, metadata that no encoder takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageCms

from benchmarks.odd_inputs.material import X265
from benchmarks.odd_inputs.sei import CAPTIONS, HDR10_PLUS, with_sei
from tests.core.video.work import X264, make, restore
from vividface_core.cli.main import main
from vividface_core.errors import UnreadableVideo, UnwritableVideo
from vividface_core.video.clips import clips_in
from vividface_core.video.mux import check_output
from vividface_core.video.picture_kinds import is_cut_picture
from vividface_core.video.pixel_formats import planes
from vividface_core.video.reader import VideoReader, probe


def picture(path: Path, mode: str = "RGB", **options: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.linear_gradient("L").resize((64, 48)).convert(mode).save(path, **options)
    return path


def test_a_pipe_is_refused_not_waited_for(tmp_path: Path, capsys) -> None:
    os.mkfifo(tmp_path / "in.mp4")
    for words in (["restore", "-o", "o.mp4", "--model", "nobody"], ["degrade", "-o", "o.mp4"], ["metrics"]):
        assert main([words[0], str(tmp_path / "in.mp4"), *words[1:]]) == 1
        assert "no ordinary file" in capsys.readouterr().err
    with pytest.raises(UnreadableVideo, match="no ordinary file"):
        probe(Path("/dev/zero"))
    with pytest.raises(UnwritableVideo, match="no ordinary file"):
        check_output(tmp_path / "in.mp4", "h264")


def test_a_pipe_among_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "f" / "1.png")
    os.mkfifo(tmp_path / "f" / "2.png")
    with pytest.raises(UnreadableVideo, match=r"2\.png .*no ordinary file"):
        list(VideoReader(tmp_path / "f"))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp"])
def test_a_picture_that_was_cut(tmp_path: Path, name: str) -> None:
    data = picture(tmp_path / "whole" / name).read_bytes()
    assert not is_cut_picture(data) and not VideoReader(tmp_path / "whole" / name).warnings
    cut = tmp_path / name
    cut.write_bytes(data[: len(data) * 3 // 4])
    try:
        with VideoReader(cut) as reader:
            list(reader)
        said = " ".join(reader.warnings)
    except UnreadableVideo as error:
        said = str(error)
    assert "cut off" in said


def test_a_thumbnails_end_is_not_the_pictures(tmp_path: Path) -> None:
    small = picture(tmp_path / "small.jpg").read_bytes()
    head = b"Exif\0\0" + small
    data = (tmp_path / "small.jpg").read_bytes()
    with_thumbnail = data[:2] + b"\xff\xe1" + (len(head) + 2).to_bytes(2, "big") + head + data[2:]
    assert not is_cut_picture(with_thumbnail) and is_cut_picture(with_thumbnail[:-60])


@pytest.mark.parametrize(("name", "kind"), [("2.png", "PNG"), ("2.webp", "WEBP"), ("2.tif", "TIFF")])
def test_an_animation_in_a_folder_is_no_picture(tmp_path: Path, name: str, kind: str) -> None:
    picture(tmp_path / "f" / "1.png")
    pages = [Image.new("RGB", (64, 48), (level, 0, 0)) for level in (10, 200)]
    pages[0].save(tmp_path / "f" / name, kind, save_all=True, append_images=pages[1:])
    with pytest.raises(UnreadableVideo, match="several pictures"):
        list(VideoReader(tmp_path / "f"))


def test_pictures_that_are_not_read_are_told(tmp_path: Path) -> None:
    for name in ("1.png", "2.avif", "3.gif", "notes.txt"):
        (picture if name != "notes.txt" else Path.touch)(tmp_path / "f" / name)
    (tmp_path / "f" / "4.heic").write_bytes(b"x")
    (tmp_path / "f" / "gone.png").symlink_to("nowhere")
    with VideoReader(tmp_path / "f") as reader:
        assert len(list(reader)) == 2
    assert restore(tmp_path / "f", tmp_path / "o.mp4").frames == 2
    assert any("2 other pictures of the folder (3.gif, 4.heic)" in line for line in reader.warnings)


def test_transparency_of_a_single_avif(tmp_path: Path) -> None:
    Image.new("RGBA", (64, 64), (10, 200, 30, 90)).save(tmp_path / "a.avif")
    (frame,) = VideoReader(tmp_path / "a.avif")
    assert probe(tmp_path / "a.avif").kind == "image" and abs(int(planes(frame.native)[3].mean()) - 90) < 4


def test_transparency_that_a_jpeg_has_no_place_for(tmp_path: Path) -> None:
    Image.new("RGBA", (64, 48), (10, 200, 30, 90)).save(tmp_path / "a.png")
    assert any("Transparency" in line for line in restore(tmp_path / "a.png", tmp_path / "o.jpg", "png").notices)
    picture(tmp_path / "ink.jpg", "CMYK")
    assert not restore(tmp_path / "ink.jpg", tmp_path / "o2.jpg", "png").notices


@pytest.mark.parametrize("space, told", [("sRGB", False), ("XYZ", True)])
def test_a_colour_profile(tmp_path: Path, space: str, told: bool) -> None:
    """In a process of its own, which the binding would end if it were asked for a PNG's profile."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()
    for name in ("a.png", "a.jpg"):
        picture(tmp_path / name, icc_profile=profile)
    code = (
        "import gc, sys; from vividface_core.video.reader import VideoReader\n"
        "for path in sys.argv[1:]:\n"
        "    reader = VideoReader(path); list(reader); print(reader.info.unwritten); del reader; gc.collect()"
    )
    run = [sys.executable, "-c", code, str(tmp_path / "a.png"), str(tmp_path / "a.jpg")]
    found = subprocess.run(run, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert ["profile" in line for line in found.stdout.splitlines()] == [told, told]


@pytest.mark.parametrize(
    ("name", "payload", "options", "told"),
    [
        ("a.h264", CAPTIONS, X264, "closed captions"),
        (
            "a.hevc",
            HDR10_PLUS,
            ["-pix_fmt", "yuv420p10le", *X265],
            "HDR10+",
        ),
    ],
)
def test_metadata_of_frames_is_told(tmp_path: Path, name: str, payload: bytes, options: list[str], told: str) -> None:
    source = make(tmp_path / name, *options)
    assert probe(source).unwritten == ()
    with_sei(name, payload, hevc=name.endswith("hevc"))(tmp_path)
    assert probe(source).unwritten == (told,)
    notices = restore(source, tmp_path / "o.mp4").notices
    assert sum(f"Metadata of the frames is left out: {told}" in line for line in notices) == 1


def test_videos_of_all_usual_suffixes_count(tmp_path: Path) -> None:
    for name in ("a.WMV", "b.flv", "c.m2ts", "d.3gp", "e.mp4", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in clips_in(tmp_path)] == ["a.WMV", "b.flv", "c.m2ts", "d.3gp", "e.mp4"]
