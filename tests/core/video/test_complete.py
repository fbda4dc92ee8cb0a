"""Nothing whole is refused, nothing cut passes: cuts by stream copy, and files that end too early."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from tests.assets import run_ffmpeg
from vividface_core.errors import UnreadableVideo
from vividface_core.video.reader import VideoReader, probe

X264 = "-c:v libx264 -preset veryfast -pix_fmt yuv420p".split()
CODINGS = {
    "b-frames": [*X264, "-x264-params", "keyint=8:bframes=3:scenecut=0"],
    "pyramid, open groups": [*X264, "-x264-params", "keyint=12:bframes=4:b-pyramid=2:open-gop=1:scenecut=0"],
    "long group": [*X264, "-x264-params", "keyint=250:bframes=3"],
    "h265": ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=8:bframes=3:log-level=none"],
    "mpeg4": ["-c:v", "mpeg4", "-g", "8", "-bf", "2", "-q:v", "4"],
    "key frames": ["-c:v", "mjpeg", "-q:v", "5"],
}
STARTS = (0.0, 0.1, 0.21, 0.4, 0.52, 0.77, 0.9)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two seconds with sound in each coding."""
    folder, made = tmp_path_factory.mktemp("codings"), {}
    for number, (name, options) in enumerate(CODINGS.items()):
        made[name] = folder / f"{number}.mkv"
        run_ffmpeg(
            "-f",
            "lavfi",
            "-i",
            "testsrc2=s=96x64:r=24:d=1.5",
            "-f",
            "lavfi",
            "-i",
            "sine=d=1.5",
            *options,
            "-c:a",
            "aac",
            made[name],
        )
    return made


def shown(path: Path) -> int:
    """Frames that ffmpeg's own library shows of a file, packets outside its edit list left out."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("coding", CODINGS)
def test_cuts_by_stream_copy_are_whole(sources, tmp_path: Path, coding: str, suffix: str) -> None:
    for number, start in enumerate(STARTS):
        path, length = tmp_path / f"cut{suffix}", ("-t", "0.45") if number % 2 else ()
        run_ffmpeg("-ss", str(start), "-i", sources[coding], *length, "-c", "copy", path)
        with VideoReader(path) as reader:
            frames = list(reader)
        assert len(frames) == shown(path) > 0
        assert not [line for line in reader.warnings if "cut off" in line]


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".mp4", [*X264, "-movflags", "+faststart"]),
        (".mov", ["-c:v", "mjpeg", "-movflags", "+faststart"]),
        (".mp4", [*X264, "-g", "6", "-movflags", "frag_keyframe+empty_moov"]),
        (".mkv", X264),
        (".mkv", ["-c:v", "ffv1"]),
        (".webm", ["-c:v", "libvpx", "-deadline", "realtime"]),
        (".ts", X264),
        (".ts", ["-c:v", "mpeg2video"]),
        (".m2ts", X264),
        (".avi", ["-c:v", "mpeg4"]),
        (".flv", X264),
        (".wmv", ["-c:v", "wmv2"]),
        (".mpg", ["-c:v", "mpeg2video"]),
        (".ogv", ["-c:v", "libtheora"]),
        (".mxf", ["-c:v", "mpeg2video"]),
        (".gif", []),
        (".ivf", ["-c:v", "libvpx", "-deadline", "realtime"]),
    ],
)
def test_what_was_cut_does_not_pass_and_what_is_whole_does(tmp_path: Path, suffix: str, options: list[str]) -> None:
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    sound = [] if suffix in (".gif", ".ivf") else ["-f", "lavfi", "-i", "sine=r=48000:d=1"]
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=1", *sound, *options, whole)
    with VideoReader(whole) as reader:
        count = len(list(reader))
    assert count == 25 and not reader.warnings
    data = whole.read_bytes()
    for share in (0.5, 0.8, 0.9, 0.97):
        cut.write_bytes(data[: int(len(data) * share)])
        frames, said = [], ""
        with VideoReader(cut) as reader:
            try:
                frames.extend(reader)
            except UnreadableVideo as error:
                said = str(error)
        said += " ".join(reader.warnings)
        assert "cut off" in said, f"{share} of {suffix}"
        assert 0 < len(frames) <= count


def test_the_seconds_that_are_missing_are_told(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240:r=24:d=2", *X264, whole)
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    with VideoReader(cut) as reader:
        last = list(reader)[-1]
    end = (last.pts + last.duration) * reader.info.time_base
    assert f"promises 2.00 s, its data ends at {float(end):.2f} s" in reader.warnings[-1]


def test_count_is_of_the_frames_that_the_edit_list_shows(sources, tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    run_ffmpeg("-ss", "0.4", "-i", sources["b-frames"], "-c", "copy", path)
    assert probe(path).frame_count == shown(path) < 36
