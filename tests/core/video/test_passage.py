"""A passage that is sought equals the same frames read from the beginning."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from tests.assets import run_ffmpeg
from vividface_core.video.compare import side_by_side
from vividface_core.video.source import VideoFrames


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Five seconds at 24 frames, with B-frames and sound, a keyframe every 30 frames."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    sources = ["-f", "lavfi", "-i", "testsrc2=s=160x90:r=24:d=5", "-f", "lavfi", "-i", "sine=duration=5"]
    coding = ["-c:v", "libx264", "-preset", "veryfast", "-bf", 3, "-g", 30, "-sc_threshold", 0, "-pix_fmt", "yuv420p"]
    run_ffmpeg(*sources, *coding, "-c:a", "aac", path)
    return path


def test_frames_and_times_are_those_of_the_file(film):
    whole = list(VideoFrames(film).read())
    source = VideoFrames(film)
    for first, count in ((0, 3), (29, 4), (30, 1), (71, 10), (118, 5)):
        part = source.passage(whole[first].pts * source.file.time_base, count)
        found = list(part.read())
        assert [frame.index for frame in found] == list(range(min(count, 120 - first)))
        for frame, wanted in zip(found, whole[first:]):
            assert frame.pts == wanted.pts
            assert np.array_equal(frame.native.to_ndarray(), wanted.native.to_ndarray())
    part = source.passage(Fraction(3), 10)
    assert [frame.pts for frame in part.read(4, 7)] == [frame.pts for frame in whole[76:79]]
    assert part.info.span == (Fraction(3), Fraction(3) + Fraction(10, 24)) and not part.is_whole
    assert source.is_whole and source.count == 120
    every_third = VideoFrames(film, step=3).passage(Fraction(3), 5)
    assert [frame.pts for frame in every_third.read()] == [frame.pts for frame in whole[72:87:3]]


def test_what_is_read_in_a_passage_teaches_the_table_of_the_file_nothing(film, tmp_path):
    other = tmp_path / "other.mp4"
    other.write_bytes(film.read_bytes())
    source = VideoFrames(other)
    list(source.passage(Fraction(2), 5).read())
    wanted = [frame.pts for frame in VideoFrames(film).read()]
    assert [frame.pts for frame in source.read(10, 12)] == wanted[10:12]


def test_keyframes_are_those_of_the_packets(film):
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        keys = [p.pts * p.time_base for p in container.demux(stream) if p.size and p.is_keyframe]
    source = VideoFrames(film)
    assert len(keys) == 4
    for second in (Fraction(0), Fraction(5, 4), Fraction(2), Fraction(49, 10)):
        assert source.keyframe(second) == max(key for key in keys if key <= second)


def test_pictures_have_passages_too(tmp_path):
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=32x32:r=24:d=1", tmp_path / "%03d.png")
    source = VideoFrames(tmp_path)
    found = list(source.passage(Fraction(1, 2), 3).read())
    wanted = list(source.read(12, 15))
    assert len(found) == 3
    assert all(np.array_equal(one.native.to_ndarray(), two.native.to_ndarray()) for one, two in zip(found, wanted))


def test_a_comparison_at_half_the_speed_is_silent(film, tmp_path):
    part = VideoFrames(film).passage(Fraction(2), 24)
    side_by_side(part, part, tmp_path / "both.mp4", slower=2)
    with av.open(str(tmp_path / "both.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    assert times == [Fraction(number, 12) for number in range(24)]
    assert float(VideoFrames(tmp_path / "both.mp4").file.duration) == pytest.approx(2, abs=0.1)
