"""One way from YUV to RGB, whatever the matrix; and nothing without colour gets any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.assets import run_ffmpeg
from tests.core.video.test_sources import Darker
from tests.core.video.work import CASES, X264, make
from vividface_core.errors import UnreadableVideo
from vividface_core.pipeline.restore import RestoreOptions, restore_frames, restore_video
from vividface_core.video.color_tags import MATRICES
from vividface_core.video.pixel_formats import planes
from vividface_core.video.reader import VideoReader, probe
from vividface_core.video.shots import _thumbnail, detect_shots

UNKNOWN = [
    number
    for number, name in MATRICES.items()
    if name
    in ("ycgco", "smpte2085", "chroma-derived-nc", "chroma-derived-c", "ictcp", "ipt-c2", "ycgco-re", "ycgco-ro")
]


class Tinting(Darker):
    """Makes everything greenish, as a model may."""

    name = "tinting"

    def restore(self, clip, **options):
        return (clip * torch.tensor([0.8, 1.0, 0.7]).view(1, 3, 1, 1) + 0.02).clamp(0, 1)


def tagged(path: Path, number: int) -> Path:
    plain = make(path.with_name(f"plain{number}.mp4"), *X264, seconds=0.2)
    run_ffmpeg("-i", plain, "-c", "copy", "-bsf:v", f"h264_metadata=matrix_coefficients={number}", path)
    return path


@pytest.mark.parametrize("number", UNKNOWN)
def test_unknown_matrices_are_named_before_any_work(tmp_path: Path, number: int) -> None:
    source = tagged(tmp_path / "a.mp4", number)
    with pytest.raises(UnreadableVideo, match=f"colour matrix is {MATRICES[number]}, which can't be converted"):
        restore_video(source, tmp_path / "o.mp4", Darker(), RestoreOptions(whole_frame=True))
    assert not (tmp_path / "o.mp4").exists()


def test_the_case_of_ycgco() -> None:
    with pytest.raises(UnreadableVideo, match="colour matrix is ycgco"):
        probe(CASES / "matrix-ycgco.mp4")


@pytest.mark.parametrize("number", [1, 4, 5, 6, 7, 9, 10])
def test_known_matrices_pass_every_step(tmp_path: Path, number: int) -> None:
    source = tagged(tmp_path / "a.mp4", number)
    options = RestoreOptions(whole_frame=True, color="none", preset="ffv1")
    assert restore_video(source, tmp_path / "o.mkv", Darker(), options).frames == 5
    assert len(list(detect_shots(VideoReader(source)))) == 1


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuv444p", "gbrp", "gray", "yuv411p", "yuva420p"])
def test_thumbnails_are_the_picture_made_smaller(tmp_path: Path, pix_fmt: str) -> None:
    source = make(tmp_path / "a.mkv", "-c:v", "ffv1", "-pix_fmt", pix_fmt, size="640x360", seconds=0.1)
    frame = next(iter(VideoReader(source)))
    small = torch.nn.functional.interpolate(frame.rgb()[None], (144, 256), mode="area")[0]
    got = _thumbnail(frame)[..., ::-1].astype(np.float32).transpose(2, 0, 1) / 255
    assert got.shape == (3, 144, 256) and np.abs(got - small.numpy()).mean() < 0.02


@pytest.mark.parametrize(
    ("preset", "suffix"),
    [("h264", ".mp4"), ("h265", ".mp4"), ("prores", ".mov"), ("ffv1", ".mkv"), ("ffv1", ".avi"), ("png", "")],
)
@pytest.mark.parametrize("source_format", ["yuv420p", "yuv422p10le", "gray", "gbrp", "coded"])
def test_black_and_white_stays_so(tmp_path: Path, source_format: str, preset: str, suffix: str) -> None:
    if source_format == "coded":
        source = CASES / "black-and-white.mp4"
    else:
        source = make(tmp_path / "a.mkv", "-vf", f"format=gray,format={source_format}", "-c:v", "ffv1", seconds=0.1)
    out = tmp_path / f"o{suffix}"
    options = RestoreOptions(whole_frame=True, color="none", preset=preset)
    restore_video(source, out, Tinting(), options)
    for frame in VideoReader(out):
        if frame.native.format.name.startswith("gb"):
            green, blue, red = (plane.astype(int) for plane in planes(frame.native)[:3])
            assert max(np.abs(green - blue).max(), np.abs(green - red).max()) <= 1
        elif frame.native.format.name.startswith("yuv"):
            step = 1 << (probe(out).bit_depth - 8)
            for plane in planes(frame.native)[1:3]:
                assert np.abs(plane.astype(int) - 128 * step).max() <= step


def test_black_and_white_frames_in_memory_stay_so() -> None:
    clip = torch.rand(5, 1, 64, 64).expand(-1, 3, -1, -1).contiguous()
    result, _ = restore_frames(clip, Tinting(), RestoreOptions(whole_frame=True, color="none"))
    assert (result.amax(1) - result.amin(1)).max() < 1e-6 and (result - clip).abs().mean() > 0.01


def test_colour_is_still_restored(tmp_path: Path) -> None:
    source = make(tmp_path / "a.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv444p", seconds=0.1)
    restore_video(source, tmp_path / "o.mkv", Tinting(), RestoreOptions(whole_frame=True, color="none", preset="ffv1"))
    before, after = (next(iter(VideoReader(path))).rgb() for path in (source, tmp_path / "o.mkv"))
    assert after[1].mean() - after[2].mean() > before[1].mean() - before[2].mean() + 0.05
