"""Sound in another codec, whatever its packets are like."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.stream import Stream

_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_JITTER = Fraction(1, 20)
"""Seconds by which times may miss the samples before them: containers round theirs, and some give none."""
_LONGEST_SILENCE = 60
"""Seconds that are filled where samples are missing; longer jumps are another clock."""


class SoundConverter:
    """Decodes one audio stream and encodes it anew into a stream of the output.

    Samples follow each other without a gap: what is missing, because it is damaged or was never there, is silence, so
    that what comes after it stays in time in every container.

    Attributes:
        out: the output's stream.
        lost: packets that couldn't be decoded.
    """

    def __init__(self, stream: Stream, target: OutputContainer, codec: str) -> None:
        context: Any = stream.codec_context
        self._source, self.lost = stream, 0
        self.out = target.add_stream(codec, rate=_encodable_rate(codec, context.sample_rate))
        encoder: Any = self.out.codec_context
        self._encoder = encoder
        self._encoder.layout = _LAYOUTS.get(context.layout.nb_channels, "stereo")
        if codec == "aac":
            self._encoder.bit_rate = 128_000 * max(1, (context.layout.nb_channels + 1) // 2)
        self._resampler: av.AudioResampler | None = None
        self._shape: tuple | None = None
        self._at: Fraction | None = None  # seconds at which the next sample is heard

    def feed(self, packet: av.Packet) -> list[av.Packet]:
        """Packets of the output that are ready after one of the source."""
        try:
            frames: list[Any] = packet.decode()
        except av.error.EOFError:
            return []
        except av.FFmpegError:
            self.lost += 1
            return []
        return [made for frame in frames for made in self._encoded(frame)]

    def end(self) -> list[av.Packet]:
        """The rest."""
        made: list[av.Packet] = []
        try:
            context: Any = self._source.codec_context
            for decoded in context.decode(None):
                made += self._encoded(decoded)
        except av.FFmpegError:
            pass  # the last packets' samples are lost; they were counted
        for frame in self._resampler.resample(None) if self._resampler else ():
            made += self._encode(frame)
        return made + (self._encode(None) if self._at is not None else [])

    def _encoded(self, frame: av.AudioFrame) -> list[av.Packet]:
        if not frame.samples or not frame.sample_rate:
            return []
        begin = None if frame.pts is None else Fraction(frame.pts * (frame.time_base or 0))
        if self._at is None:
            self._at = begin if begin is not None else Fraction(0)
        made: list[av.Packet] = []
        missing = Fraction(0) if begin is None else begin - self._at
        if _JITTER < missing < _LONGEST_SILENCE:
            made += self._resampled(_silence(frame, round(missing * frame.sample_rate)))
        return made + self._resampled(frame)

    def _resampled(self, frame: av.AudioFrame) -> list[av.Packet]:
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        made: list[av.Packet] = []
        resampler = self._resampler
        if (
            resampler is None or shape != self._shape
        ):  # a programme may change from stereo to 5.1, and damage may look so
            for rest in resampler.resample(None) if resampler else ():
                made += self._encode(rest)
            encoder = self._encoder
            resampler = self._resampler = av.AudioResampler(
                encoder.format.name, encoder.layout.name, encoder.sample_rate
            )
            self._shape = shape
        frame.time_base = Fraction(1, frame.sample_rate)
        at = self._at or Fraction(0)
        frame.pts = round(at * frame.sample_rate)
        self._at = at + Fraction(frame.samples, frame.sample_rate)
        for ready in resampler.resample(frame):
            made += self._encode(ready)
        return made

    def _encode(self, frame: av.AudioFrame | None) -> list[av.Packet]:
        packets = self._encoder.encode(frame)
        for packet in packets:
            packet.stream = self.out
        return packets


def _silence(like: av.AudioFrame, samples: int) -> av.AudioFrame:
    frame = av.AudioFrame(format=like.format.name, layout=like.layout.name, samples=max(1, samples))
    frame.sample_rate = like.sample_rate
    quiet = 128 if like.format.name.startswith("u8") else 0
    for plane in frame.planes:
        plane.update(np.full(plane.buffer_size, quiet, np.uint8).tobytes())
    return frame


def _encodable_rate(codec: str, rate: int) -> int:
    if codec != "aac":
        return rate
    known = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
    return min(known, key=lambda candidate: abs(candidate - rate))
