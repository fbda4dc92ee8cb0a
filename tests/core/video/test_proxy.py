"""Copies that a browser plays, of files that it wouldn't."""

from __future__ import annotations

import pytest

from tests.assets import run_ffmpeg
from vividface_core.video.proxy import is_playable, write_proxy
from vividface_core.video.source import VideoFrames


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix"),
    [
        ("ffv1", "gbrp", ".mkv"),
        ("ffv1", "gbrp16le", ".nut"),
        ("ffv1", "bgra", ".mkv"),
        ("png", "rgb24", ".mov"),
        ("ffv1", "yuv444p10le", ".mkv"),
        ("ffv1", "gray", ".mkv"),
    ],
)
def test_whatever_the_samples_are_the_copy_is_8_bits_in_420(tmp_path, codec, pix_fmt, suffix):
    path = tmp_path / f"source{suffix}"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x90:r=8:d=1", "-c:v", codec, "-pix_fmt", pix_fmt, path)
    source = VideoFrames(path)
    assert not is_playable(source.info)
    copy = write_proxy(source, tmp_path / "copy.mp4", lambda *_: None)
    assert is_playable(VideoFrames(copy).info)
    pairs = list(zip(source.read(), VideoFrames(copy).read()))
    assert len(pairs) == 8
    # Coarse chroma blurs the pattern's thin coloured lines; a wrong matrix or range would shift whole areas.
    assert max(float((one.rgb() - two.rgb()).abs().median()) for one, two in pairs) < 0.02
