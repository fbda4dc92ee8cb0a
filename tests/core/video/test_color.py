"""RGB <-> YUV against ffmpeg's own conversion, and frames whose untouched samples stay untouched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.core.video.test_files import cut, ffmpeg
from vividface_core.errors import UnreadableVideo
from vividface_core.video.colorspace import convert, from_rgb, luma_weights, to_rgb
from vividface_core.video.frame import Frame, from_tensor, iter_chunks
from vividface_core.video.info import ColorInfo
from vividface_core.video.pixel_formats import layout, planes
from vividface_core.video.reader import VideoReader

_EXACT = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"


def _tagged(tmp_path: Path, pix_fmt: str, matrix: str, range_: str) -> Path:
    scale = f"scale=out_color_matrix={matrix}:out_range={range_}:flags={_EXACT},format={pix_fmt}"
    tags = ("-colorspace", matrix, "-color_range", range_)
    return cut("franck", tmp_path / "a.mkv", "-vf", scale, "-c:v", "ffv1", *tags, seconds=0.1)


def _chroma_place(side: str, pix_fmt: str) -> str:
    vertical = 128 if "420" in pix_fmt else 0
    return f"{side}_h_chr_pos=0:{side}_v_chr_pos={vertical}"


@pytest.mark.parametrize("range_", ["tv", "pc"])
@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le"])
def test_both_directions_agree_with_ffmpeg(tmp_path: Path, pix_fmt: str, matrix: str, range_: str) -> None:
    path = _tagged(tmp_path, pix_fmt, matrix, range_)
    frame = next(iter(VideoReader(path)))
    assert (frame.color.matrix, frame.color.range, frame.native.format.name) == (matrix, range_, pix_fmt)
    size = (frame.height, frame.width, 3)

    scale = f"scale={_chroma_place('in', pix_fmt)}:in_color_matrix={matrix}:in_range={range_}:flags={_EXACT}"
    raw = ffmpeg("-i", path, "-frames:v", 1, "-vf", scale, "-pix_fmt", "rgb24", "-f", "rawvideo", "-")
    theirs = np.frombuffer(raw, np.uint8).reshape(size)
    ours = (frame.rgb() * 255).round().permute(1, 2, 0).numpy()
    assert np.abs(ours - theirs).max() <= 1

    (tmp_path / "rgb").write_bytes(raw)
    scale = f"scale={_chroma_place('out', pix_fmt)}:out_color_matrix={matrix}:out_range={range_}:flags={_EXACT}"
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{frame.width}x{frame.height}", "-i", tmp_path / "rgb")
    shape = layout(pix_fmt)
    raw = ffmpeg(*source, "-vf", scale, "-pix_fmt", pix_fmt, "-f", "rawvideo", "-")
    reference = np.frombuffer(raw, shape.dtype).astype(int)
    rgb = torch.from_numpy(theirs.copy()).permute(2, 0, 1) / 255
    made = np.concatenate([plane.ravel() for plane in from_rgb(rgb, shape, frame.color)])
    # swscale shifts 8-bit RGB by two bits for full-range 10 bit, so that its white is 1020, where the standard says
    # 1023: three code values of 10 bit, less than one of 8 bit.
    allowed = 3 if (shape.depth, range_) == (10, "pc") else 1
    assert np.abs(made.astype(int) - reference).max() <= allowed


def test_white_black_and_primaries_have_the_standards_values() -> None:
    colors = torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]]).T.reshape(3, 1, 4)
    luma, cb, cr = from_rgb(colors, layout("yuv444p"), ColorInfo("bt709", "tv"))
    assert luma.tolist() == [[235, 16, 63, 32]] and cb.tolist() == [[128, 128, 102, 240]]
    assert cr.tolist() == [[128, 128, 240, 118]]
    luma, cb, _ = from_rgb(colors, layout("yuv444p10le"), ColorInfo("bt709", "pc"))
    assert luma[0, :2].tolist() == [1023, 0] and cb[0, :2].tolist() == [512, 512]


@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv444p10le", "gbrp", "gbrp12le", "gray16le"])
@pytest.mark.parametrize("range_", ["tv", "pc"])
def test_round_trip_without_subsampling_is_exact_to_rounding(pix_fmt: str, range_: str) -> None:
    shape, color = layout(pix_fmt), ColorInfo("bt709", range_)
    rgb = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(1))
    if shape.family == "gray":
        rgb = rgb[:1].expand(3, -1, -1)
    frame = from_tensor(torch.zeros(3, 24, 32))
    native = convert(frame.native, frame.color, pix_fmt, color)
    made = Frame(0, 0, 0, native, color).with_rgb(rgb, None)
    step = 2.2 / 219 if shape.depth == 8 else 2.2 / 876
    assert (made.rgb() - rgb).abs().max() <= step


def test_full_range_chroma_keeps_its_zero_in_another_depth() -> None:
    color = ColorInfo("bt709", "pc")
    grey = from_tensor(torch.full((3, 4, 4), 0.5))
    eight = convert(grey.native, grey.color, "yuv420p", color)
    ten = convert(eight, color, "yuv422p10le", color)
    assert [set(plane.ravel().tolist()) for plane in planes(ten)[1:]] == [{512}, {512}]


def test_ictcp_is_refused_in_one_sentence() -> None:
    with pytest.raises(UnreadableVideo, match="colour matrix is ictcp"):
        luma_weights("ictcp")


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuv444p", "gbrp", "yuv411p", "gray"])
@pytest.mark.parametrize("scale", ["360:288", "319:239"])
def test_only_changed_samples_change(tmp_path: Path, pix_fmt: str, scale: str) -> None:
    path = tmp_path / "a.mkv"
    cut("franck", path, "-vf", f"scale={scale}", "-pix_fmt", pix_fmt, "-c:v", "ffv1", seconds=0.1)
    frame = next(iter(VideoReader(path)))
    before = [plane.copy() for plane in planes(frame.native)]
    changed = torch.zeros(frame.height, frame.width, dtype=torch.bool)
    changed[31:90, 41:100] = True
    changed[-1, -1] = True
    rgb = 1 - frame.rgb()
    after = frame.with_rgb(rgb, changed)
    whole = frame.with_rgb(rgb, None)
    shape = layout(pix_fmt)
    for number, (old, new, full) in enumerate(zip(before, planes(after.native), planes(whole.native), strict=True)):
        cell = (1 << shape.log2_h, 1 << shape.log2_w) if shape.is_chroma(number) else (1, 1)
        rows, columns = np.nonzero(changed.numpy())
        touched = np.zeros(old.shape, bool)
        touched[rows // cell[0], columns // cell[1]] = True
        assert np.array_equal(new[~touched], old[~touched])
        assert np.array_equal(new[touched], full[touched])  # converting the box alone changes nothing
        assert np.abs(new[touched].astype(int) - old[touched]).mean() > 2
    assert all(map(np.array_equal, before, planes(frame.native))), "the source frame itself was written to"


def test_nothing_changed_is_the_same_frame_and_alpha_stays() -> None:
    frame = from_tensor(torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(2)))
    assert frame.with_rgb(torch.zeros(3, 8, 8), torch.zeros(8, 8, dtype=torch.bool)) is frame
    native = convert(frame.native, frame.color, "gbrap", frame.color)
    planes(native)[3][:] = np.arange(64).reshape(8, 8)
    made = Frame(0, 0, 0, native, frame.color).with_rgb(torch.ones(3, 8, 8), None)
    assert np.array_equal(planes(made.native)[3], np.arange(64).reshape(8, 8))
    assert to_rgb(made.native, frame.color).min() == 1


def test_wrong_sizes_are_refused() -> None:
    frame = from_tensor(torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match="changed is"):
        frame.with_rgb(torch.zeros(3, 8, 8), torch.zeros(4, 4, dtype=torch.bool))


def test_chunks_cover_all_frames_once() -> None:
    frames = [from_tensor(torch.zeros(3, 2, 2), index=i) for i in range(7)]
    assert [[f.index for f in chunk] for chunk in iter_chunks(frames, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
