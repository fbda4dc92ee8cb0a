"""Reading: exact seeking, timestamps, damage, constant memory."""

from __future__ import annotations

import gc
import hashlib
from pathlib import Path

import av
import psutil
import pytest

from tests.assets import clip
from tests.core.video.test_files import cut, ffmpeg, frame_times
from vividface_core.errors import InvalidOption, UnreadableVideo
from vividface_core.video import decoding
from vividface_core.video.frame import Frame
from vividface_core.video.pixel_formats import planes
from vividface_core.video.reader import VideoReader, probe


def _prints(frames) -> list[tuple[int, int, int, str]]:
    return [(f.index, f.pts, f.duration, _print(f)) for f in frames]


def _print(frame: Frame) -> str:
    return hashlib.md5(b"".join(plane.tobytes() for plane in planes(frame.native))).hexdigest()


def _ffmpeg_prints(path: Path, count: int) -> list[str]:
    lines = ffmpeg("-i", path, "-frames:v", count, "-f", "framemd5", "-").decode().splitlines()
    return [line.split(",")[-1].strip() for line in lines if not line.startswith("#")]


def test_frames_are_ffmpegs_own() -> None:
    frames = list(VideoReader(clip("franck"), end_frame=30))
    assert [_print(frame) for frame in frames] == _ffmpeg_prints(clip("franck"), 30)
    assert [frame.index for frame in frames] == list(range(30))


@pytest.mark.parametrize("fresh", [True, False], ids=["unknown file", "file read before"])
@pytest.mark.parametrize("start", [1, 137, 249, 250, 299])
def test_start_frame_is_exact(monkeypatch: pytest.MonkeyPatch, start: int, fresh: bool) -> None:
    path = clip("franck")
    monkeypatch.setattr(decoding, "_tables", {})
    expected = _prints(VideoReader(path, end_frame=310))[start : start + 6]
    if fresh:
        decoding._tables.clear()
    assert _prints(VideoReader(path, start_frame=start, end_frame=start + 6)) == expected


def test_seeking_does_not_decode_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip("franck")
    list(VideoReader(path, end_frame=1300))
    passes = []
    original = decoding.DecodePass.__init__

    def noted(self, *args, **kwargs) -> None:
        original(self, *args, **kwargs)
        passes.append(self)

    monkeypatch.setattr(decoding.DecodePass, "__init__", noted)
    assert next(iter(VideoReader(path, start_frame=1290))).index == 1290
    assert passes[-1].packets < 400  # its keyframes are at most 250 frames apart


@pytest.mark.parametrize(
    "options",
    [
        ("-x264-params", "open-gop=1:keyint=12"),
        ("-c:v", "libx265", "-x265-params", "open-gop=1:keyint=12:log-level=none"),
    ],
    ids=["h264", "h265"],
)
def test_start_frame_is_exact_with_open_groups(tmp_path: Path, options: tuple[str, ...]) -> None:
    path = cut("franck", tmp_path / "a.mp4", *options, seconds=2)
    expected = _prints(VideoReader(path))
    for start in range(1, 48, 3):
        assert _prints(VideoReader(path, start_frame=start, end_frame=start + 3)) == expected[start : start + 3]


def test_edit_list_hides_the_same_frames_everywhere(tmp_path: Path) -> None:
    whole = cut("franck", tmp_path / "a.mp4", "-g", "48", seconds=3)
    path = tmp_path / "b.mp4"
    ffmpeg("-ss", "0.5", "-i", whole, "-c", "copy", path)  # the copy begins at a keyframe and hides 12 frames of it
    frames = _prints(VideoReader(path))
    assert [frame[3] for frame in frames] == _ffmpeg_prints(path, 999)
    assert len(frames) == probe(path).frame_count < len(_prints(VideoReader(whole)))
    assert _prints(VideoReader(path, start_frame=20)) == frames[20:]


def test_variable_rate_times(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    cut("franck", path, "-vf", r"select=not(mod(n\,3))+lt(mod(n\,7)\,2)", "-fps_mode", "vfr", seconds=2)
    times = frame_times(path)
    unit = probe(path).time_base
    assert [frame.pts * unit for frame in VideoReader(path)] == times
    assert len({then - now for now, then in zip(times, times[1:], strict=False)}) > 2, "the rate doesn't vary"


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".avi", "mpeg4"), (".h264", "libx264"), (".webm", "libvpx"), (".ts", "libx264"), (".gif", "gif")],
)
def test_other_containers(tmp_path: Path, suffix: str, codec: str) -> None:
    path = cut("franck", tmp_path / f"a{suffix}", "-vf", "scale=96:64", "-c:v", codec, seconds=1)
    frames = _prints(VideoReader(path))
    times = [frame[1] for frame in frames]
    assert len(frames) == len(frame_times(path))
    assert times == sorted(set(times))
    assert _prints(VideoReader(path, start_frame=9, end_frame=12)) == frames[9:12]


def test_memory_stays_constant() -> None:
    process = psutil.Process()

    def peak(last: int) -> int:
        highest = 0
        for frame in VideoReader(clip("bigbuckbunny"), end_frame=last):
            if frame.index % 8 == 0:
                highest = max(highest, process.memory_info().rss)
        gc.collect()
        return highest

    short = peak(40)
    assert peak(132) - short < 32 << 20  # 92 more frames of 1280x720 would be 120 MiB


def _expect(path: Path, words: str) -> None:
    with pytest.raises(UnreadableVideo, match=words) as caught:
        list(VideoReader(path))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_video_is_said(tmp_path: Path) -> None:
    _expect(tmp_path / "missing.mp4", "does not exist")
    (tmp_path / "text.mp4").write_text("This is a letter.\n" * 40)
    _expect(tmp_path / "text.mp4", "no media file")
    (tmp_path / "empty.mp4").write_bytes(b"")
    _expect(tmp_path / "empty.mp4", "can't be opened")
    (tmp_path / "text.png").write_text("This is a letter.")
    _expect(tmp_path / "text.png", "can't be read as a picture")
    (tmp_path / "folder").mkdir()
    _expect(tmp_path / "folder", "holds no picture")
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", tmp_path / "sound.mp4")
    _expect(tmp_path / "sound.mp4", "no video stream .it holds audio")


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "sine=d=0.2",
        "-f",
        "lavfi",
        "-i",
        "color=s=16x16",
        "-frames:v",
        1,
        "-c:v",
        "mjpeg",
        "-disposition:v",
        "attached_pic",
        tmp_path / "song.m4a",
    )
    _expect(tmp_path / "song.m4a", "no video stream")


def test_unfinished_and_empty_files(tmp_path: Path) -> None:
    whole = cut("franck", tmp_path / "a.mp4")
    (tmp_path / "unfinished.mp4").write_bytes(whole.read_bytes()[:-2000])  # its index is at the end
    _expect(tmp_path / "unfinished.mp4", "never finished")
    ffmpeg("-f", "lavfi", "-i", "color=s=16x16:d=1", "-frames:v", 0, "-c:v", "libx264", tmp_path / "none.mkv")
    with pytest.raises(UnreadableVideo):
        probe(tmp_path / "none.mkv")


def test_cut_off_file_gives_what_is_there_and_then_says_so(tmp_path: Path) -> None:
    whole = cut("franck", tmp_path / "a.mp4", "-movflags", "+faststart", seconds=3)
    path = tmp_path / "b.mp4"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    expected, got = _prints(VideoReader(whole)), []
    with pytest.raises(UnreadableVideo, match=r"cut off: it should have 72 frames, but .* frame (\d+)\.") as caught:
        for frame in VideoReader(path):
            got.append((frame.index, frame.pts, frame.duration, _print(frame)))
    assert 10 < len(got) < 72 and got == expected[: len(got)]
    assert f"after frame {len(got) - 1}." in str(caught.value)
    assert _prints(VideoReader(path, end_frame=len(got))) == got  # the part that is there can be used


def test_damage_in_the_middle_costs_its_own_frames_only(tmp_path: Path) -> None:
    whole = cut("franck", tmp_path / "a.mp4", "-x264-params", "keyint=12", seconds=3)
    with av.open(str(whole)) as container:
        packet = [p for p in container.demux(video=0) if p.size][36]
        place, size = packet.pos, packet.size
    data = bytearray(whole.read_bytes())
    data[place : place + size] = bytes(255 - byte for byte in data[place : place + size])
    path = tmp_path / "b.mp4"
    path.write_bytes(data)
    reader, expected = VideoReader(path), _prints(VideoReader(whole))
    got = _prints(reader)
    assert reader.warnings and all(line.startswith("b.mp4: ") for line in reader.warnings)
    assert 60 <= len(got) < 72
    assert {time for _, time, _, _ in got} < {time for _, time, _, _ in expected}
    assert [frame[0] for frame in got] == list(range(len(got)))
    assert [frame[3] for frame in got[-12:]] == [frame[3] for frame in expected[-12:]]
    assert _prints(VideoReader(path, start_frame=50, end_frame=55)) == got[50:55]


def test_one_pixel(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    cut("franck", path, "-vf", "scale=1:1", "-pix_fmt", "yuv444p", "-c:v", "ffv1", seconds=0.1)
    assert [tuple(frame.rgb().shape) for frame in VideoReader(path)] == [(3, 1, 1)] * len(list(VideoReader(path)))


def test_impossible_ranges() -> None:
    with pytest.raises(InvalidOption):
        VideoReader(clip("franck"), start_frame=5, end_frame=4)
    assert list(VideoReader(clip("franck"), start_frame=4, end_frame=4)) == []
