"""Frames through a lossy codec and back, in memory and in a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor

from vividface_core.errors import MissingDependency
from vividface_core.video.presets import deterministic_x264_params

DECODERS = {"libx264": "h264", "libx265": "hevc", "mpeg2video": "mpeg2video", "mpeg4": "mpeg4"}
"""Encoders that are known here, with their decoders."""
SMALLEST = 64
"""Side below which frames for libx265 are padded: below 50 pixels it writes beyond its buffers."""
X265 = {"preset": "veryfast", "x265-params": "log-level=error:pools=none:frame-threads=1"}
"""One thread, so that the bytes don't depend on the machine. A quick preset: at one crf it loses no more."""
RATE = 25
"""Frames a second that an encoder is told if nothing else is said: its rate control weighs a frame by its length."""
TOLERANCE = 128_000
"""Bits by which mpeg4 may miss its rate; PyAV's containers set it so, and BFVR-STC's code writes one."""


class Coder:
    """An encoder and its decoder for 8-bit pictures of one size; yuv420p, bt601.

    It holds as many frames as the encoder looks ahead (some forty in x264), however many pass.

    Args:
        codec: one of ``DECODERS``.
        crf: constant rate factor of libx264 and libx265.
        quantizer: of every block for mpeg2video and mpeg4, which know no crf.
        bitrate: kbit a frame for these two where no quantizer is given.
        rate: frames a second that the encoder is told.

    Raises:
        MissingDependency: this PyAV was built without the encoder.
    """

    def __init__(
        self,
        codec: str,
        height: int,
        width: int,
        *,
        crf: int,
        quantizer: int | None = None,
        bitrate: int = 1024,
        rate: int = RATE,
    ) -> None:
        self._size = (height, width)
        # 4:2:0 wants even sides.
        self._padded = tuple(max(SMALLEST if codec == "libx265" else 2, side + side % 2) for side in (height, width))
        try:
            encoder: Any = av.CodecContext.create(codec, "w")
            decoder: Any = av.CodecContext.create(DECODERS[codec], "r")
        except av.codec.codec.UnknownCodecError as error:
            raise MissingDependency(
                f"This installation of PyAV has no {codec}, which the degradation needs; install the wheel from PyPI."
            ) from error
        self._encoder, self._decoder = encoder, decoder
        self._encoder.height, self._encoder.width = self._padded
        self._encoder.pix_fmt = "yuv420p"
        self._encoder.time_base, self._encoder.framerate = Fraction(1, rate), Fraction(rate)
        if codec == "libx264":
            told = {"x264-params": ":".join(deterministic_x264_params())} if deterministic_x264_params() else {}
            self._encoder.options = {"crf": str(crf), **told}
        elif codec == "libx265":
            self._encoder.options = {"crf": str(crf), **X265}
        elif quantizer is not None:
            self._encoder.options = {"qmin": str(quantizer), "qmax": str(quantizer)}
        else:
            self._encoder.bit_rate, self._encoder.bit_rate_tolerance = 1000 * bitrate * rate, TOLERANCE
        # Threads would make the bytes depend on the machine.
        self._encoder.thread_count = self._decoder.thread_count = 1
        # One reformatter for all frames: setting up a new one costs more than the conversion of a small frame.
        self._to_rgb = av.video.reformatter.VideoReformatter()
        self._sent = 0

    def encode(self, picture: np.ndarray | None) -> list[av.Packet]:
        """Packets that are ready after ``picture`` ``[H, W, 3]`` uint8; ``None`` for the rest of them."""
        if picture is None:
            return self._encoder.encode(None)
        height, width = self._size
        if self._padded != self._size:
            below, beside = (full - side for full, side in zip(self._padded, self._size))
            picture = np.pad(picture, ((0, below), (0, beside), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = self._sent, self._encoder.time_base
        self._sent += 1
        return self._encoder.encode(frame)

    def decode(self, packet: av.Packet | None) -> list[np.ndarray]:
        """Pictures that are ready after ``packet``; ``None`` for the rest of them."""
        height, width = self._size
        decoded = self._decoder.decode(packet)
        return [self._to_rgb.reformat(frame, format="rgb24").to_ndarray()[:height, :width] for frame in decoded]

    def pictures(self, source: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """What becomes of ``[H, W, 3]`` uint8 pictures, one for one and in their order."""
        for picture in source:
            for packet in self.encode(picture):
                yield from self.decode(packet)
        for packet in self.encode(None):
            yield from self.decode(packet)
        yield from self.decode(None)


def through_codec(
    frames: Iterable[Tensor],
    codec: str,
    *,
    crf: int,
    quantizer: int | None = None,
    bitrate: int = 1024,
    rate: int = RATE,
) -> Iterator[Tensor]:
    """Frames ``[1, 3, H, W]`` of one size, 0…1, through a codec; see :class:`Coder`."""
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        return

    def pictures() -> Iterator[np.ndarray]:
        yield _to_picture(first)
        yield from map(_to_picture, frames)

    coder = Coder(codec, *first.shape[-2:], crf=crf, quantizer=quantizer, bitrate=bitrate, rate=rate)
    for picture in coder.pictures(pictures()):
        yield torch.from_numpy(picture).permute(2, 0, 1)[None].to(first) / 255.0


def _to_picture(frame: Tensor) -> np.ndarray:
    return (frame[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()


def through_h264(clip: Tensor, crf: int) -> Tensor:
    """Encode ``[T, 3, H, W]`` with libx264 in memory and decode it again; yuv420p, bt601."""
    return torch.cat(list(through_codec(clip.split(1), "libx264", crf=crf)))
