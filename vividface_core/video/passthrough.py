"""What travels along with the video: audio, subtitles, attachments, chapters, metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import av
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from vividface_core.video.decoding import codec_name, is_cover
from vividface_core.video.presets import Container

TimedPacket = tuple[float, av.Packet]
_CONTAINER_OWN = {"major_brand", "minor_version", "compatible_brands", "encoder"}
_TRACK_OWN = {"encoder", "rotate", "vendor_id", "DURATION", "duration"}
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_TEXT_SUBTITLES = {"mov_text", "subrip", "ass", "ssa", "webvtt", "text"}


class StreamCopier:
    """The source's other streams on their way into the output.

    Args:
        source: opened anew for this; packets are read from its start.
        video_index: of the source's video stream, which is not copied.
        origin: seconds to take off every time.
        chapters: take them along too.

    Attributes:
        notices: what could not be taken along as it was.
    """

    def __init__(
        self, source: InputContainer, video_index: int, target: OutputContainer, holds: Container, origin: Fraction,
        *, chapters: bool = True,
    ) -> None:  # fmt: skip
        self._source, self._target, self._holds, self._origin = source, target, holds, origin
        self._ways: dict[int, Callable[[av.Packet], list[av.Packet]]] = {}
        self._ends: list[Callable[[], list[av.Packet]]] = []
        self.notices: list[str] = []
        self.copied = 0
        for stream in source.streams:
            if stream.index != video_index:
                self._take(stream)
        self._metadata(chapters)

    def packets(self) -> Iterator[TimedPacket]:
        """Packets in the order of the source, each with its time in seconds."""
        streams = [self._source.streams[index] for index in self._ways]
        if not streams:
            return
        for packet in self._source.demux(*streams):
            if packet.dts is None:  # end of one stream
                continue
            for out in self._ways[packet.stream.index](packet):
                yield self._timed(out)
        for end in self._ends:
            for out in end():
                yield self._timed(out)

    def _timed(self, packet: av.Packet) -> TimedPacket:
        shift = round(self._origin / packet.time_base)
        packet.dts -= shift
        if packet.pts is not None:
            packet.pts -= shift
        return float(packet.dts * packet.time_base), packet

    def _take(self, stream: Stream) -> None:
        codec, holds = codec_name(stream), self._holds
        what = f"{stream.type} stream {stream.index} ({codec})"
        if stream.type == "audio" and stream.codec_context is not None:
            if codec in holds.audio:
                self._copy(stream)
            else:
                self._transcode_audio(stream, what)
        elif stream.type == "subtitle" and stream.codec_context is not None:
            if codec in holds.subtitle:
                self._copy(stream)
            elif codec in _TEXT_SUBTITLES and holds.subtitle_fallback:
                self._transcode_text(stream, what)
            else:
                self._leave(f"The {what} is left out: {holds.format} can't hold it.")
        elif stream.type == "attachment" and holds.attachments:
            self._target.add_stream_from_template(stream)
        elif codec == "bin_data" and self._has_chapters():
            pass  # QuickTime's own track of chapter titles; chapters are taken along as chapters
        elif stream.type == "video" and is_cover(stream):
            self._leave(f"The cover picture ({codec}) is left out.")
        else:
            self._leave(f"The {what} is left out.")

    def _leave(self, notice: str) -> None:
        self.notices.append(notice)

    def _copy(self, stream: Stream) -> None:
        out = self._target.add_stream_from_template(stream, opaque=True)
        self._describe(out, stream)
        self.copied += 1

        def way(packet: av.Packet) -> list[av.Packet]:
            packet.stream = out
            return [packet]

        self._ways[stream.index] = way

    def _describe(self, out: Stream, stream: Stream) -> None:
        out.metadata.update({key: value for key, value in stream.metadata.items() if key not in _TRACK_OWN})
        out.disposition = stream.disposition.value  # PyAV before 17 takes a number only

    def _transcode_audio(self, stream: Stream, what: str) -> None:
        fallback, context = self._holds.audio_fallback, stream.codec_context
        out = self._target.add_stream(fallback, rate=_encodable_rate(fallback, context.sample_rate))
        out.codec_context.layout = _LAYOUTS.get(context.layout.nb_channels, "stereo")
        if fallback == "aac":
            out.codec_context.bit_rate = 128_000 * max(1, (context.layout.nb_channels + 1) // 2)
        self._describe(out, stream)
        self._leave(f"The {what} was converted to {fallback}: {self._holds.format} can't hold it.")

        def way(packet: av.Packet) -> list[av.Packet]:
            return [made for frame in packet.decode() for made in self._own(out, out.codec_context.encode(frame))]

        def end() -> list[av.Packet]:
            rest = [made for frame in context.decode(None) for made in self._own(out, out.codec_context.encode(frame))]
            return rest + self._own(out, out.codec_context.encode(None))

        self._ways[stream.index] = way
        self._ends.append(end)

    def _own(self, out: Stream, packets: list[av.Packet]) -> list[av.Packet]:
        for packet in packets:
            packet.stream = out
        return packets

    def _transcode_text(self, stream: Stream, what: str) -> None:
        fallback, reading = self._holds.subtitle_fallback, stream.codec_context
        if not hasattr(reading, "decode2"):
            self._leave(f"The {what} is left out: this release of PyAV can't convert it for {self._holds.format}.")
            return
        reading.open(strict=False)
        out = self._target.add_stream(fallback)
        out.codec_context.subtitle_header = reading.subtitle_header
        out.codec_context.time_base = Fraction(1, 1000)
        self._describe(out, stream)
        self._leave(f"The {what} was converted to {fallback}: {self._holds.format} can't hold it.")

        def way(packet: av.Packet) -> list[av.Packet]:
            text = reading.decode2(packet) if packet.size else None
            if text is None or not len(text):
                return []
            made = out.codec_context.encode_subtitle(text)
            made.pts = made.dts = packet.pts
            made.duration, made.time_base = packet.duration, packet.time_base
            return self._own(out, [made])

        self._ways[stream.index] = way

    def _has_chapters(self) -> bool:
        return bool(getattr(self._source, "chapters", list)())

    def _metadata(self, with_chapters: bool) -> None:
        kept = {key: value for key, value in self._source.metadata.items() if key not in _CONTAINER_OWN}
        self._target.metadata.update(kept)
        chapters = getattr(self._source, "chapters", list)()
        if not chapters or not with_chapters:
            return
        if not hasattr(self._target, "set_chapters"):
            self._leave("The chapters are left out: this release of PyAV can't write them.")
            return
        shift = self._origin
        for chapter in chapters:
            chapter["start"] -= round(shift / chapter["time_base"])
            chapter["end"] -= round(shift / chapter["time_base"])
        self._target.set_chapters(chapters)


def _encodable_rate(codec: str, rate: int) -> int:
    if codec != "aac":
        return rate
    known = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
    return min(known, key=lambda candidate: abs(candidate - rate))
