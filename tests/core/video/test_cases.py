"""Every file of tests/cases, and those that are made by a recipe in place of a large one, with its right result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.assets import run_ffmpeg
from tests.core.video.work import CASES, restore
from vividface_core.errors import UnreadableVideo
from vividface_core.video.reader import VideoReader, probe

RIGHT = {
    # file: output, frames, facts of the output, words of the notices ("" for none)
    "windows-media.wmv": ("o.mkv", 24, {}, "converted to flac"),
    "cut-by-stream-copy.mp4": ("o.mp4", 14, {}, ""),
    "interlaced-h264.mp4": ("o.mp4", 12, {"fields": None}, "is interlaced"),
    "hdr10-static-metadata.mp4": ("o.mp4", 12, {"bit_depth": 10}, ""),
    "transparent-vp9.webm": ("o.mp4", None, {"has_alpha": False}, "Transparency"),
    "animated.webp": ("o.mp4", 8, {}, ""),
    "phone-rotated.mp4": ("o.mov", 24, {"rotation": 270}, ""),
    "black-and-white.mp4": ("o.mp4", 12, {"pix_fmt": "yuv420p"}, ""),
    "download-cut-short.mkv": ("o.mp4", 16, {}, "promises 1.02 s"),
    "pictures-with-exif": ("o.mp4", 3, {}, ""),
    "three-frames.mp4": ("o.mp4", 3, {}, ""),
}
REFUSED = {"matrix-ycgco.mp4": "colour matrix is ycgco"}


def test_no_case_is_without_its_right_result() -> None:
    there = {path.name for path in CASES.iterdir()} - {"README.md"}
    assert there == set(RIGHT) | set(REFUSED)


@pytest.mark.parametrize("name", RIGHT)
def test_a_case_has_its_right_result(tmp_path: Path, name: str) -> None:
    output, frames, facts, told = RIGHT[name]
    result = restore(CASES / name, tmp_path / output)
    with VideoReader(tmp_path / output) as reader:
        count = len(list(reader))
    assert count == result.frames and frames in (None, count)
    assert {key: getattr(reader.info, key) for key in facts} == facts
    assert told in " ".join(result.notices) and bool(result.notices) == bool(told), result.notices


@pytest.mark.parametrize("name", REFUSED)
def test_a_case_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnreadableVideo, match=REFUSED[name]):
        restore(CASES / name, tmp_path / "o.mp4")


def test_an_animated_png_called_png(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((48, 64, 3), 30 * k, np.uint8)) for k in range(1, 7)]
    pages[0].save(tmp_path / "a.png", save_all=True, append_images=pages[1:], duration=40)
    assert restore(tmp_path / "a.png", tmp_path / "o.mp4").frames == 6


def test_a_camcorders_tape(tmp_path: Path) -> None:
    """Two frames, whose rate ffmpeg guesses as that of its clock."""
    source = tmp_path / "tape.avi"
    tone = ("-f", "lavfi", "-i", "sine=r=48000:d=4")
    picture = ("-f", "lavfi", "-i", "testsrc2=s=720x480:r=30000/1001")
    run_ffmpeg(*picture, *tone, "-target", "ntsc-dv", "-ac", "2", "-t", "0.067", source)
    for output in ("o.mp4", "o.mov"):
        restore(source, tmp_path / output, deinterlace="off")
        info = probe(tmp_path / output)
        assert (info.fps.limit_denominator(2000), info.fields) == (probe(source).fps, "bff")
        assert abs(float(info.sample_aspect_ratio) - 8 / 9) < 0.01
        assert [stream.codec for stream in info.streams if stream.kind == "audio"] == [
            "aac" if output == "o.mp4" else "pcm_s16le"
        ]
