"""What travels along with the video: audio, subtitles, attachments, chapters, metadata."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from vividface_core.video.decoding import codec_name, is_cover
from vividface_core.video.presets import Container
from vividface_core.video.sound import SoundConverter

TimedPacket = tuple[float, av.Packet]
_CONTAINER_OWN = {"major_brand", "minor_version", "compatible_brands", "encoder"}
_TRACK_OWN = {"encoder", "rotate", "vendor_id", "DURATION", "duration"}
_COVERS = {"mjpeg": (".jpg", "image/jpeg"), "png": (".png", "image/png")}
"""Kinds of attached pictures that every container with covers takes."""
_TS_NONSTRICT: Any = av.format.Flags.ts_nonstrict.value
"""Of a container that takes equal times."""
_TEXT_SUBTITLES = {"mov_text", "subrip", "ass", "ssa", "webvtt", "text"}


class CompanionFailed(Exception):
    """Streams beside the picture can't be written; the picture may be, without them.

    Attributes:
        streams: their numbers in the source.
    """

    def __init__(self, streams: Iterable[int], reason: str) -> None:
        super().__init__(reason)
        self.streams = frozenset(streams)


class StreamCopier:
    """The source's other streams on their way into the output.

    Args:
        source: opened anew for this; packets are read from its start.
        video_index: of the source's video stream, which is not copied.
        origin: seconds to take off every time.
        chapters: take them along too.
        without: numbers of streams that turned out not to go into this output.
        convert: numbers of streams that turned out not to go into it as they are.

    Attributes:
        notices: what could not be taken along as it was. More may come while the packets are read.
        tags: names of the file's own metadata that was handed on.
    """

    def __init__(
        self,
        source: InputContainer,
        video_index: int,
        target: OutputContainer,
        holds: Container,
        origin: Fraction,
        *,
        chapters: bool = True,
        without: Collection[int] = (),
        convert: Collection[int] = (),
    ) -> None:
        self._source, self._target, self._holds, self._origin = source, target, holds, origin
        self._convert = convert
        self._covers: list[str] = []
        self._ways: dict[int, Callable[[av.Packet], list[av.Packet]]] = {}
        self._ends: dict[int, Callable[[], list[av.Packet]]] = {}
        self._sources: dict[int, int] = {}
        self._written: dict[int, int] = {}
        self._equal_times = bool(int(target.format.flags) & _TS_NONSTRICT)
        self.notices: list[str] = []
        self.copied = 0
        for stream in source.streams:
            if stream.index in without:
                self._leave(f"The {_named(stream)} is left out: it can't be written into {holds.format}.")
            elif stream.index != video_index:
                try:
                    self._take(stream)
                except (av.FFmpegError, ValueError) as error:
                    raise CompanionFailed([stream.index], str(error)) from error
        if self._covers:
            several = len(self._covers) > 1
            self._leave(
                f"{len(self._covers)} attached pictures ({', '.join(self._covers)}) are left out."
                if several
                else f"The cover picture ({self._covers[0]}) is left out."
            )
        self.tags: frozenset[str] = frozenset()
        self._metadata(chapters)

    @property
    def taken(self) -> frozenset[int]:
        """Numbers, in the source, of the streams that are taken along."""
        return frozenset(self._sources.values())

    def source_of(self, packet: av.Packet) -> int | None:
        """Number, in the source, of the stream that a packet of the output belongs to; ``None``: of no companion."""
        return self._sources.get(packet.stream.index)

    def packets(self, until: float | None = None) -> Iterator[TimedPacket]:
        """Packets in the order of the source, each with its time in seconds.

        Args:
            until: second of the source behind which nothing is read.

        Raises:
            CompanionFailed: a stream can't be converted.
        """
        streams = [self._source.streams[index] for index in self._ways]
        last: dict[int, int] = {}
        for packet in self._demuxed(streams, until) if streams else ():
            number = packet.stream.index
            if not packet.size:  # end of one stream
                continue
            if packet.dts is None:
                # Some containers keep times of display only, or none at all for packets that follow another.
                packet.dts = packet.pts if packet.pts is not None else last.get(number, 0)
            last[number] = packet.dts + (packet.duration or 1)
            yield from self._timed(number, partial(self._ways[number], packet))
        for number, end in self._ends.items():
            yield from self._timed(number, end)

    def _demuxed(self, streams: list[Stream], until: float | None) -> Iterator[av.Packet]:
        # A stream may be silent for long, so it is the picture's packets that tell where the end is.
        wanted = {stream.index for stream in streams}
        try:
            for packet in self._source.demux(*(streams if until is None else self._source.streams)):
                if until is not None and packet.dts is not None and packet.time_base:
                    if float(packet.dts * packet.time_base - self._origin) > until:
                        return
                if packet.stream.index in wanted:
                    yield packet
        except av.FFmpegError as error:
            self._leave(f"Sound and subtitles end early: the file can't be read on ({error.strerror}).")

    def _timed(self, number: int, work: Callable[[], list[av.Packet]]) -> Iterator[TimedPacket]:
        try:
            made = work()
        except (av.FFmpegError, ValueError) as error:
            raise CompanionFailed([number], str(error)) from error
        for packet in made:
            shift = round(self._origin / packet.time_base)
            dts = packet.pts if packet.dts is None else packet.dts
            assert dts is not None  # whatever made the packet gave it one of them
            packet.dts = self._later(dts - shift, packet.stream.index)
            if packet.pts is not None:
                packet.pts = max(packet.pts - shift, packet.dts)
            yield float(packet.dts * packet.time_base), packet

    def _later(self, dts: int, stream: int) -> int:
        """The time itself, or the next one that a muxer takes: damage may turn the clock back."""
        last = self._written.get(stream)
        if last is not None:
            dts = max(dts, last if self._equal_times else last + 1)
        self._written[stream] = dts
        return dts

    def _take_over(
        self,
        number: int,
        out: Stream,
        way: Callable[[av.Packet], list[av.Packet]],
        end: Callable[[], list[av.Packet]] | None = None,
    ) -> None:
        self._ways[number] = way
        self._sources[out.index] = number
        if end is not None:
            self._ends[number] = end

    def _take(self, stream: Stream) -> None:
        codec, holds, what = codec_name(stream), self._holds, _named(stream)
        if stream.type == "audio" and stream.codec_context is not None:
            if not (codec in holds.audio and self._copies(stream)):
                self._transcode_audio(stream, what)
        elif stream.type == "subtitle" and stream.codec_context is not None:
            if codec in holds.subtitle and self._copies(stream):
                pass
            elif codec in _TEXT_SUBTITLES and holds.subtitle_fallback:
                self._transcode_text(stream, what)
            else:
                self._leave(f"The {what} is left out: {holds.format} can't hold it.")
        elif stream.type == "attachment" and holds.attachments:
            self._sources[self._target.add_stream_from_template(stream).index] = stream.index
        elif codec == "bin_data" and self._has_chapters():
            pass  # QuickTime's own track of chapter titles; chapters are taken along as chapters
        elif isinstance(stream, VideoStream) and is_cover(stream):
            self._take_cover(stream, codec)
        else:
            self._leave(f"The {what} is left out.")

    def _take_cover(self, stream: Stream, codec: str) -> None:
        """Take a picture that is attached to the file along in the container's own way, if it has one."""
        if self._holds.covers == "stream" and codec in _COVERS and self._copies(stream):
            self.copied -= 1
        elif self._holds.covers == "attachment" and codec in _COVERS and hasattr(self._target, "add_attachment"):
            number = sum(1 for one in self._target.streams if one.type == "attachment")
            suffix, kind = _COVERS[codec]
            data = next((bytes(packet) for packet in self._source.demux(stream) if packet.size), b"")
            self._source.seek(0)
            given = stream.metadata.get("filename") or f"cover{number or ''}{suffix}"
            out = self._target.add_attachment(given, kind, data)
            self._sources[out.index] = stream.index
        else:
            self._covers.append(codec)

    def _leave(self, notice: str) -> None:
        self.notices.append(notice)

    def _copies(self, stream: Stream) -> bool:
        """Take a stream along as it is; false where the container doesn't take it."""
        if stream.index in self._convert:
            return False
        try:
            out = self._target.add_stream_from_template(stream, opaque=True)
        except (av.FFmpegError, ValueError):
            return False
        self._describe(out, stream)
        self.copied += 1

        def way(packet: av.Packet) -> list[av.Packet]:
            packet.stream = out
            return [packet]

        self._take_over(stream.index, out, way)
        return True

    def _describe(self, out: Stream, stream: Stream) -> None:
        out.metadata.update({key: value for key, value in stream.metadata.items() if key not in _TRACK_OWN})
        disposition: Any = stream.disposition.value  # PyAV before 17 takes a number only
        out.disposition = disposition

    def _transcode_audio(self, stream: Stream, what: str) -> None:
        sound = SoundConverter(stream, self._target, self._holds.audio_fallback)
        self._describe(sound.out, stream)
        self._leave(f"The {what} was converted to {self._holds.audio_fallback}: {self._holds.format} can't hold it.")

        def end() -> list[av.Packet]:
            rest = sound.end()
            if sound.lost:
                self._leave(
                    f"{sound.lost} damaged packet{'s' * (sound.lost != 1)} of the {what} can't be decoded; silence "
                    "stands for them."
                )
            return rest

        self._take_over(stream.index, sound.out, sound.feed, end)

    def _transcode_text(self, stream: Stream, what: str) -> None:
        fallback = self._holds.subtitle_fallback
        reading: Any = stream.codec_context
        if not hasattr(reading, "decode2"):
            self._leave(f"The {what} is left out: this release of PyAV can't convert it for {self._holds.format}.")
            return
        reading.open(strict=False)
        assert fallback is not None  # whoever calls this saw that there is one
        out = self._target.add_stream(fallback)
        writing: Any = out.codec_context
        writing.subtitle_header = reading.subtitle_header
        writing.time_base = Fraction(1, 1000)
        self._describe(out, stream)
        self._leave(f"The {what} was converted to {fallback}: {self._holds.format} can't hold it.")

        def way(packet: av.Packet) -> list[av.Packet]:
            text = reading.decode2(packet) if packet.size else None
            if text is None or not len(text):
                return []
            made = writing.encode_subtitle(text)
            made.pts = made.dts = packet.pts
            made.duration, made.time_base, made.stream = packet.duration, packet.time_base, out
            return [made]

        self._take_over(stream.index, out, way)

    def _has_chapters(self) -> bool:
        return bool(getattr(self._source, "chapters", list)())

    def _metadata(self, with_chapters: bool) -> None:
        kept = {key: value for key, value in self._source.metadata.items() if key not in _CONTAINER_OWN}
        self._target.metadata.update(kept)
        self.tags = frozenset(kept)
        chapters: list[Any] = getattr(self._source, "chapters", list)()
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


def _named(stream: Stream) -> str:
    return f"{stream.type} stream {stream.index} ({codec_name(stream)})"
