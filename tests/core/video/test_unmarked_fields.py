"""Interlaced footage that nothing marks as such: told by its combs, made whole; nothing else is taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.assets import clip, run_ffmpeg
from tests.core.video.work import X264, make, restore
from vividface_core.video.interlace import is_combed
from vividface_core.video.reader import VideoReader, probe

FINE = [*X264, "-crf", "14"]


def woven(path: Path, order: str, *options: object) -> Path:
    """Two moments a frame, marked as whole frames."""
    top = "interleave_top" if order == "tff" else "interleave_bottom"
    weave = f"scroll=h=0.02,tinterlace={top},setfield=prog"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x96:r=50:d=0.5", "-vf", weave, "-r", "25", *options, path)
    return path


CODINGS = {".mp4": FINE, ".mkv": ["-c:v", "ffv1"], ".avi": ["-c:v", "mjpeg"]}


@pytest.mark.parametrize("suffix", CODINGS)
@pytest.mark.parametrize("order", ["tff", "bff"])
def test_found_and_made_whole(tmp_path: Path, order: str, suffix: str) -> None:
    source = woven(tmp_path / f"a{suffix}", order, *CODINGS[suffix])
    reader = VideoReader(source, deinterlace="auto")
    assert (reader.deinterlaces, reader.fields, reader.marked) == (True, order, False)
    frames = list(reader)
    assert len(frames) == len(list(VideoReader(source))) and not any(is_combed(frame.native) for frame in frames)


def test_told_once_and_left_alone_on_wish(tmp_path: Path) -> None:
    source = woven(tmp_path / "a.mkv", "tff", "-c:v", "ffv1")
    told = restore(source, tmp_path / "o.mkv", "ffv1").notices
    assert sum("isn't marked as interlaced, but its frames are" in line for line in told) == 1
    assert not any(is_combed(frame.native) for frame in VideoReader(tmp_path / "o.mkv"))
    assert not restore(source, tmp_path / "off.mkv", "ffv1", deinterlace="off").notices
    assert probe(source).fields is None


def test_a_still_camera_before_something_that_moves(tmp_path: Path) -> None:
    """Most of the picture has no combs."""
    moving = "color=gray:s=160x96:r=50:d=0.5[b];color=white:s=30x40:r=50:d=0.5[f];[b][f]overlay=x='n*4':y=30"
    source = tmp_path / "a.mkv"
    weave = f"{moving},tinterlace=interleave_top,setfield=prog"
    run_ffmpeg("-filter_complex", weave, "-r", "25", "-c:v", "ffv1", "-pix_fmt", "yuv420p", source)
    assert VideoReader(source, deinterlace="auto").fields == "tff"


def test_a_begin_without_motion(tmp_path: Path) -> None:
    """Nothing tells before the middle of the film, also in a container that keeps its length elsewhere."""
    still = "color=gray:s=160x96:r=50:d=1.2,setsar=1[a];testsrc2=s=160x96:r=50:d=1.2,scroll=h=0.02,setsar=1[b];"
    weave = "[a][b]concat,tinterlace=interleave_top,setfield=prog"
    source = tmp_path / "a.mkv"
    run_ffmpeg("-filter_complex", still + weave, "-r", "25", *FINE, "-g", "10", source)
    assert VideoReader(source, deinterlace="auto").fields == "tff"


WHOLE = {
    "moving": ["-vf", "scroll=h=0.02"],
    "dithered": ["-vf", "split[a][b];[a]palettegen=max_colors=16[p];[b][p]paletteuse=dither=bayer:bayer_scale=1"],
    "dithered by errors": ["-vf", "split[a][b];[a]palettegen=max_colors=16[p];[b][p]paletteuse=dither=sierra2_4a"],
    "lines": ["-vf", "geq=lum='if(mod(Y,2),200,60)':cb=128:cr=128"],
    "noise": ["-vf", "noise=alls=40:allf=t"],
}


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_frames_stay_as_they_are(tmp_path: Path, kind: str) -> None:
    source = make(tmp_path / "a.mkv", *WHOLE[kind], *FINE)
    assert not VideoReader(source, deinterlace="auto").deinterlaces


def test_a_gif_stays_as_it_is(tmp_path: Path) -> None:
    assert not VideoReader(make(tmp_path / "a.gif"), deinterlace="auto").deinterlaces


@pytest.mark.parametrize("name", ["franck", "cap12", "cap13", "wolfgang", "no_face", "carphone", "bikes"])
def test_films_stay_as_they_are(name: str) -> None:
    """Some of these ffmpeg's own filter takes for interlaced."""
    assert not VideoReader(clip(name), deinterlace="auto").deinterlaces
