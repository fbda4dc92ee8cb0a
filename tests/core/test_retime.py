"""Videos at another rate: which frame is shown when, what stays."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tests.assets import run_ffmpeg
from vividface_core.video.reader import VideoReader
from vividface_core.video.retime import rate_of, write_at_rate
from vividface_core.video.source import VideoFrames


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """One second at 24 fps, each frame of another grey, with a tone."""
    path = tmp_path_factory.mktemp("retime") / "in.mkv"
    run_ffmpeg(
        *("-f", "lavfi", "-i", "color=black:s=32x32:r=24:d=1,format=gray,geq=lum='40+8*N',format=yuv420p"),
        *("-f", "lavfi", "-i", "sine=d=1", "-c:v", "ffv1", "-c:a", "flac", path),
    )
    return path


def greys(path) -> list[int]:
    with VideoReader(path) as reader:
        return [int(frame.native.to_ndarray()[0, 0]) for frame in reader]


@pytest.mark.parametrize("rate", [Fraction(12), Fraction(25), Fraction(30000, 1001), Fraction(48)])
def test_each_frame_is_the_one_that_is_shown_at_its_time(counted, tmp_path, rate):
    output = write_at_rate(VideoFrames(counted), tmp_path / "out.mkv", rate)
    before, after, source = greys(counted), greys(output), VideoFrames(output)
    assert after == [before[int(number / rate * 24)] for number in range(len(after))]
    assert len(after) == -(-rate.numerator // rate.denominator)
    assert float(source.fps) == pytest.approx(float(rate), abs=0.02)
    assert [stream.kind for stream in source.info.streams] == ["audio"]


def test_a_part_keeps_its_own_time(counted, tmp_path):
    output = write_at_rate(VideoFrames(counted, 6, 18), tmp_path / "out.mkv", Fraction(12))
    assert greys(output) == greys(counted)[6:18:2]
    assert VideoFrames(output).info.duration == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("said", "meant"),
    [(24, Fraction(24)), (29.97, Fraction(30000, 1001)), (23.976, Fraction(24000, 1001)), (12.5, Fraction(25, 2))],
)
def test_rates_as_people_write_them(said, meant):
    assert rate_of(said) == meant


def test_pixels_stay_bit_for_bit(counted, tmp_path):
    output = write_at_rate(VideoFrames(counted), tmp_path / "out.mkv", Fraction(24))
    pairs = zip(VideoFrames(counted).read(), VideoFrames(output).read())
    assert all(np.array_equal(a.native.to_ndarray(), b.native.to_ndarray()) for a, b in pairs)
