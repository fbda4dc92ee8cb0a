"""The stream and its codec: the same frames as on tensors, what the bitstream says of itself, the same bytes again."""

from __future__ import annotations

import io
import re
from fractions import Fraction
from itertools import islice

import av
import numpy as np
import pytest
import torch

from tests.assets import clip
from vividface_core.degrade import Degradation, load_preset, preset_names, through_h264
from vividface_core.degrade.codec import Coder
from vividface_core.video.presets import deterministic_x264_params
from vividface_core.video.source import VideoFrames

NAMES = [
    *(name for name in preset_names() if name != "real_world"),
    *(part.name for _, part in load_preset("real_world").parts),
]

NAMES = [
    *(name for name in preset_names() if name != "real_world"),
    *(part.name for _, part in load_preset("real_world").parts),
]


def real(count: int, name: str = "carphone") -> torch.Tensor:
    return torch.stack([frame.rgb() for frame in VideoFrames(clip(name)).read(0, count)])


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_gives_what_the_tensor_gives_whatever_the_codec_holds_back(name):
    frames = real(70)  # more than x264 looks ahead
    drawn = load_preset(name).sample(6)
    taken = 0

    def source():
        nonlocal taken
        for frame in frames:
            taken += 1
            yield frame

    streamed = []
    for result in drawn.stream(source()):
        streamed.append(result)
        assert taken - len(streamed) < 60, "frames wait for their turn in bounded number"
    assert torch.equal(torch.stack(streamed), drawn(frames))
    assert streamed[0].shape == frames[0].shape and 0 <= float(streamed[0].min()) <= float(streamed[0].max()) <= 1


def test_progress_is_told_and_may_stop():
    told = []
    load_preset("vividface").sample(0)(real(5), lambda done, total: told.append((done, total)))
    assert told == sorted(told) and told[-1] == (10, 10)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_preset("vividface").sample(0)(real(5), stop)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (33, 21)])
@pytest.mark.parametrize("name", NAMES)
def test_small_and_odd_sizes_come_back_in_their_size(name, size):
    frames = torch.rand(3, 3, *size)
    assert load_preset(name).sample(1)(frames).shape == frames.shape


def test_the_stream_through_x264_is_that_of_an_mp4_file():
    """An independent way: a file in memory, written and read by PyAV's containers."""
    frames = real(60)
    memory = io.BytesIO()
    with av.open(memory, "w", format="mp4") as sink:
        stream = sink.add_stream("libx264", rate=Fraction(25))
        stream.height, stream.width, stream.pix_fmt = 144, 176, "yuv420p"
        stream.options = {"crf": "21", "x264-params": ":".join(["threads=1", *deterministic_x264_params()])}
        for picture in (frames * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy():
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        sink.mux(stream.encode())
    memory.seek(0)
    with av.open(memory) as source:
        wanted = np.stack([frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)])
    got = (through_h264(frames, 21) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(got, wanted)


@pytest.mark.parametrize("sigma", [0.8, 2.0, 5.0])
def test_the_streams_blur_has_the_asked_standard_deviation(sigma):
    point = torch.zeros(1, 3, 100, 100)
    point[..., 50, 50] = 1
    (spread,) = Degradation(sigma, 1.0, 0.0, None).stream(point)
    at = torch.arange(100.0) - 50
    measured = float((spread[0].sum(0) * at**2).sum() / spread[0].sum()) ** 0.5
    assert abs(measured - sigma) < 0.03 * sigma


@pytest.mark.parametrize("scale", [1.5, 2.0, 4.0])
def test_what_the_smaller_picture_cant_hold_is_gone(scale):
    """White noise has all frequencies; those above half the small picture's sampling rate can't come back."""
    white = torch.randn(2, 3, 192, 192) * 0.1 + 0.5
    result = torch.stack(list(Degradation(0.0, scale, 0.0, None).stream(white)))
    after, before = ((torch.fft.fft2(clip - 0.5).abs() ** 2).mean((0, 1)) for clip in (result, white))
    power = after / before
    f = torch.fft.fftfreq(192).abs()
    above = torch.maximum(f[:, None], f[None]) > 1.3 * 0.5 / scale
    below = (f[:, None] < 0.15 / scale) & (f[None] < 0.15 / scale)
    assert power[below].mean() > 0.75 and power[above].mean() < 0.05 * power[below].mean()


@pytest.mark.parametrize("name, scale", [("vividface", 3.0), ("keep", 4.0), ("bfvr_stc", 2.5)])
def test_the_codec_gets_pictures_of_the_drawn_size(name, scale, monkeypatch):
    sizes = []
    encode = Coder.encode

    def tapped(self, picture):
        sizes.extend([] if picture is None else [picture.shape[:2]])
        return encode(self, picture)

    monkeypatch.setattr(Coder, "encode", tapped)
    load_preset(name, {"scale": scale}).sample(0)(torch.rand(2, 3, 96, 128))
    wanted = {"vividface": (32, 42), "keep": (24, 32), "bfvr_stc": (96, 128)}[name]  # 128/3 to an even side; full size
    assert sizes == [wanted] * 2


def packets_of(
    monkeypatch, preset: str, frames: torch.Tensor, seed: int = 0, **values: object
) -> tuple[bytes, torch.Tensor]:
    """The bitstream between encoder and decoder, and the result."""
    packets = []
    encode = Coder.encode

    def tapped(self, picture):
        made = encode(self, picture)
        packets.extend(bytes(packet) for packet in made)
        return made

    with monkeypatch.context() as patch:
        patch.setattr(Coder, "encode", tapped)
        result = load_preset(preset, values).sample(seed)(frames)
    return b"".join(packets), result


@pytest.mark.parametrize("preset", ["vividface", "keep"])
def test_the_bitstream_itself_tells_the_drawn_crf(preset, monkeypatch):
    frames = real(3)
    for seed in range(4):
        stream, _ = packets_of(monkeypatch, preset, frames, seed)
        drawn = load_preset(preset).sample(seed).values["crf"]
        told = re.search(rb"x264 - core.*? rc=crf .*?crf=([\d.]+)", stream, re.DOTALL)
        assert float(told[1]) == drawn and b"threads=1 " in stream
    fixed, _ = packets_of(monkeypatch, preset, frames, crf=31)
    assert b"crf=31.0" in fixed


def test_a_higher_crf_leaves_fewer_bytes_and_less_of_the_picture(monkeypatch):
    frames = real(24)
    sizes, quality = [], []
    for crf in (18, 21, 25, 32, 40):
        stream, result = packets_of(monkeypatch, "vividface", frames, sigma=0, scale=1, noise=2, crf=crf)
        sizes.append(len(stream))
        quality.append(-10 * float((result - frames).square().mean().log10()))
    assert all(a > 1.1 * b for a, b in zip(sizes, sizes[1:])), sizes
    assert all(a > b for a, b in zip(quality, quality[1:])), quality


def test_mpeg4_has_no_ear_for_crf_but_for_bitrate(monkeypatch):
    frames = real(8)
    low, _ = packets_of(monkeypatch, "bfvr_stc", frames, crf=18)
    high, _ = packets_of(monkeypatch, "bfvr_stc", frames, crf=40)
    assert low == high
    sharp = {"sigma": 0, "scale": 1, "noise": 5}
    many, few = (packets_of(monkeypatch, "bfvr_stc", frames, bitrate=rate, **sharp)[0] for rate in (1024, 1))
    assert len(few) < 0.7 * len(many)
    assert "crf" in load_preset("bfvr_stc").sample(0).notices[0]
    assert not load_preset("bfvr_stc", {"codec": "libx264"}).sample(0).notices
    h264 = {crf: packets_of(monkeypatch, "bfvr_stc", frames, codec="libx264", crf=crf)[0] for crf in (18, 40)}
    assert len(h264[40]) < 0.7 * len(h264[18])


def test_endless_sources_may_be_left():
    def endless():
        while True:
            yield torch.rand(3, 16, 16)

    assert len(list(islice(load_preset("vividface").sample(0).stream(endless()), 3))) == 3
    assert list(load_preset("vividface").sample(0).stream(iter(()))) == []
