"""One pass through one video file: packets in, decoded frames out, damage reported."""

from __future__ import annotations

import re
import threading
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vividface_core.errors import UnreadableVideo
from vividface_core.video.color_tags import color_of, display_matrix_of, rotation_of
from vividface_core.video.info import StreamInfo, VideoInfo
from vividface_core.video.pixel_formats import canonical_name, layout

_ONE_FRAME_A_PACKET = {"h264", "hevc", "ffv1", "prores", "mjpeg", "png", "mpeg2video"}


class Damaged(Exception):
    """The threaded decoder met damage. It may have lost good frames with the bad one: read on with one thread."""


@dataclass
class SeekTable:
    """Times of a file's frames, as far as the file has been read by this process: 8 bytes a frame.

    Only decoding tells which frames a file really has (edit lists, damaged packets, streams without timestamps), so
    the table is learned from what was decoded and never guessed from the packets.
    """

    times: array = field(default_factory=lambda: array("q"))
    usable: bool = True  # False: times are missing or out of order, so that a frame can't be found by its time
    damaged: bool = False

    def learn(self, index: int, pts: int, *, genuine: bool) -> None:
        self.usable &= genuine
        if index == len(self.times):
            self.times.append(pts)


_tables: dict[tuple[str, int, int], SeekTable] = {}
_tables_lock = threading.Lock()
TABLES = 256
"""Tables that are kept: a process may read any number of files."""


def seek_table(path: Path) -> SeekTable:
    """The table of this version of the file."""
    facts = path.stat()
    key = (str(path.resolve()), facts.st_size, facts.st_mtime_ns)
    with _tables_lock:
        _tables[key] = table = _tables.pop(key, None) or SeekTable()
        while len(_tables) > TABLES:
            del _tables[next(iter(_tables))]
    return table


def open_video(path: Path) -> tuple[InputContainer, VideoStream]:
    """Open a file and choose its video stream (cover art is none).

    Raises:
        UnreadableVideo: not a media file, unfinished, or without video.
    """
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableVideo(
            f"{path} can't be opened as a video ({reason}): it is no media file, or its recording or download was "
            "never finished. Check it with a player."
        ) from error
    real = [stream for stream in container.streams.video if not is_cover(stream) and stream.codec_context]
    if not real:
        kinds = sorted({stream.type for stream in container.streams}) or ["nothing"]
        container.close()
        raise UnreadableVideo(
            f"{path} has no video stream (it holds {', '.join(kinds)}). Choose a file with a picture."
        )
    return container, real[0]


def codec_name(stream: av.stream.Stream) -> str:
    """The codec's own name, whichever decoder is in use (``mp3``, not ``mp3float``)."""
    context = stream.codec_context
    if context is None:
        return getattr(stream, "name", None) or "unknown"
    return getattr(context.codec, "canonical_name", None) or context.name


def is_cover(stream: VideoStream) -> bool:
    """Is this a picture attached to the file rather than a video?"""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


class DecodePass:
    """Decode a file once, from its start or from a keyframe.

    Attributes:
        packets: video packets read so far; together with ``declared`` it tells a file that was cut off.
        problems: one sentence for each thing that went wrong (single-threaded passes only).
    """

    def __init__(self, path: Path, *, threaded: bool, seek_to: int | None = None) -> None:
        self.path, self.threaded = path, threaded
        self.container, self.stream = open_video(path)
        self.stream.thread_type = "AUTO" if threaded else "NONE"
        self.packets = self.decoded = 0
        self.problems: list[str] = []
        self.declared = self.stream.frames if "mov" in self.container.format.name.split(",") else 0
        self.whole = seek_to is None
        if seek_to is not None:
            self.container.seek(seek_to, stream=self.stream, backward=True)

    def close(self) -> None:
        self.container.close()

    @property
    def cut_off(self) -> bool:
        """The container lists frames whose data isn't there."""
        return self.whole and self.packets < self.declared

    def frames(self) -> Iterator[av.VideoFrame]:
        """All frames in the order of display.

        Raises:
            Damaged: a threaded pass met damage.
        """
        packets, hidden = self.container.demux(self.stream), 0
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                self._problem(f"the file can't be read on after packet {self.packets}: {error.strerror}")
                packet = None
            if packet is not None and packet.size:
                self.packets += 1
                hidden += packet.is_discard
            for frame in self._decode(packet):
                self.decoded += 1
                yield frame
            if packet is None or not packet.size:
                break
        every_packet = codec_name(self.stream) in _ONE_FRAME_A_PACKET and self.decoded + hidden < self.packets
        if self.threaded and self.whole and (self.cut_off or every_packet):
            raise Damaged

    def _decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        try:
            return self.stream.codec_context.decode(packet if packet is not None and packet.size else None)
        except av.error.EOFError:
            return []
        except av.FFmpegError as error:
            at = "the end" if packet is None or packet.pts is None else f"{float(packet.pts * packet.time_base):.3f} s"
            self._problem(f"the data at {at} can't be decoded ({error.strerror}); its frame is left out")
            return []

    def _problem(self, text: str) -> None:
        if self.threaded:
            raise Damaged
        self.problems.append(f"{self.path.name}: {text}.")


def read_info(path: Path) -> VideoInfo:
    """Facts of a video file; decodes its first frame, because only that tells the pixel format and rotation.

    Raises:
        UnreadableVideo: see :func:`open_video`; also if no frame decodes or its pixel format can't be handled.
    """
    reading = DecodePass(path, threaded=False)
    try:
        first = next(reading.frames(), None)
        if first is None:
            raise UnreadableVideo(
                f"{path} holds no frame that can be decoded (video codec {reading.stream.codec_context.name}). "
                "Choose another file."
            )
        return _describe(path, reading.container, reading.stream, first)
    finally:
        reading.close()


def _describe(path: Path, container: InputContainer, stream: VideoStream, first: av.VideoFrame) -> VideoInfo:
    name = canonical_name(first.format.name)
    if name is None:
        raise UnreadableVideo(
            f"{path} has the pixel format {first.format.name}, which can't be restored. Convert it first, for "
            "example with ffmpeg -pix_fmt yuv444p12le."
        )
    codec, shape, matrix = codec_name(stream), layout(name), display_matrix_of(first)
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return VideoInfo(
        path=path, width=first.width, height=first.height,
        fps=stream.average_rate or stream.guessed_rate or Fraction(25), time_base=stream.time_base,
        frame_count=stream.frames or None, duration=_duration(container, stream), rotation=rotation_of(matrix),
        bit_depth=shape.depth, pix_fmt=name, codec=codec, has_alpha=shape.alpha,
        sample_aspect_ratio=aspect if aspect and aspect != 1 else None,
        color=color_of(first, codec, stream.codec_context),
        streams=tuple(_companions(container, stream)), display_matrix=matrix, origin=_origin(container),
    )  # fmt: skip


def _duration(container: InputContainer, stream: VideoStream) -> Fraction | None:
    if stream.duration:
        return stream.duration * stream.time_base
    tag = re.match(r"(\d+):(\d\d):(\d\d\.\d+)", stream.metadata.get("DURATION", ""))  # Matroska keeps it as a tag
    if tag:
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + Fraction(tag[3])
    return Fraction(container.duration, 1_000_000) if container.duration else None


def _companions(container: InputContainer, video: VideoStream) -> Iterator[StreamInfo]:
    for stream in container.streams:
        if stream.index == video.index:
            continue
        kind = "picture" if stream.type == "video" else stream.type
        yield StreamInfo(stream.index, kind, codec_name(stream), stream.metadata.get("language"))


def _origin(container: InputContainer) -> Fraction:
    if not int(container.format.flags) & av.format.Flags.ts_discont.value:
        return Fraction(0)
    starts = [s.start_time * s.time_base for s in container.streams if s.start_time is not None and s.time_base]
    return min(starts, default=Fraction(0))
