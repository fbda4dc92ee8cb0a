"""One pass through one video file: packets in, decoded frames out, damage reported."""

from __future__ import annotations

import re
import threading
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vividface_core.errors import UnreadableVideo
from vividface_core.video.color_tags import color_of, display_matrix_of
from vividface_core.video.colorspace import luma_weights
from vividface_core.video.completeness import is_cut
from vividface_core.video.hdr import side_data_of, static_hdr_of, unwritten_of
from vividface_core.video.info import StreamInfo, VideoInfo
from vividface_core.video.interlace import field_order, is_combed, order_of_unmarked
from vividface_core.video.opening import open_media
from vividface_core.video.orientation import is_mirrored, rotation_of
from vividface_core.video.pixel_formats import canonical, canonical_name, layout, planes

_PLACES, _LOOK = 5, 10
"""Where and at how many frames combs are looked for."""
_UNMARKED_PLACES = 3
"""Places in files that nothing marks as interlaced."""
_MUCH_FASTER = Fraction(3, 2)
_FASTEST = 1000
_TS_DISCONT: Any = av.format.Flags.ts_discont.value
"""Frames a second that no clip for viewing has, but the clock of some containers."""
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
    combed: bool | None = None  # None: not looked at yet
    unmarked: tuple[str | None] | None = None  # order of fields that nothing marks; None: not looked at yet

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


def open_video(path: Path, *, playlist: bool = False) -> tuple[InputContainer, VideoStream]:
    """Open a file and choose its video stream: the one that is marked as the default, else the first. Cover art is
    none.

    Args:
        playlist: a list of other files may be followed.

    Raises:
        UnreadableVideo: not a media file, unfinished, or without video.
    """
    try:
        container = open_media(path, playlist=playlist)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableVideo(
            f"{path} can't be opened as a video ({reason}): it is no media file, or its recording or download was "
            "never finished. Check it with a player."
        ) from error
    real = [stream for stream in container.streams.video if not is_cover(stream) and stream.codec_context]
    if not real:
        kinds: list[str] = sorted({stream.type for stream in container.streams}) or ["nothing"]
        container.close()
        raise UnreadableVideo(
            f"{path} has no video stream (it holds {', '.join(kinds)}). Choose a file with a picture."
        )
    return container, next((stream for stream in real if _is_default(stream)), real[0])


def codec_name(stream: av.stream.Stream) -> str:
    """The codec's own name, whichever decoder is in use (``mp3``, not ``mp3float``)."""
    context: Any = stream.codec_context  # none, where no decoder knows the stream
    if context is None:
        return getattr(stream, "name", None) or "unknown"
    return getattr(context.codec, "canonical_name", None) or context.name


def _is_default(stream: VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.default)


def is_cover(stream: VideoStream) -> bool:
    """Is this a picture attached to the file rather than a video?"""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


class DecodePass:
    """Decode a file once, from its start or from a keyframe.

    Attributes:
        packets: video packets read so far.
        declared: frames that the file's index lists; 0: it has none.
        cut_off: the index lists frames whose data isn't there.
        problems: one sentence for each thing that went wrong (single-threaded passes only).
    """

    def __init__(self, path: Path, *, threaded: bool, seek_to: int | None = None, playlist: bool = False) -> None:
        self.path, self.threaded = path, threaded
        self.container, self.stream = open_video(path, playlist=playlist)
        self.decoder = _decoder(self.stream)
        self.decoder.thread_type = "AUTO" if threaded else "NONE"
        self.packets = self.decoded = 0
        self.problems: list[str] = []
        self.declared, self.cut_off = _promised(self.container, self.stream, path) if seek_to is None else (0, False)
        self.whole = seek_to is None
        if seek_to is not None:
            self.container.seek(seek_to, stream=self.stream, backward=True)

    def close(self) -> None:
        self.container.close()

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
            return self.decoder.decode(packet if packet is not None and packet.size else None)
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


_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that see transparency, which a second stream of packets carries; ffmpeg's own ones don't."""


def has_hidden_alpha(stream: VideoStream) -> bool:
    """Whether a WebM stream says that it carries transparency."""
    marks = {key.lower(): value for key, value in stream.metadata.items()}
    return marks.get("alpha_mode") == "1" and codec_name(stream) in _WITH_ALPHA


def _decoder(stream: VideoStream) -> Any:
    if not has_hidden_alpha(stream):
        return stream.codec_context
    try:
        decoder = av.CodecContext.create(_WITH_ALPHA[codec_name(stream)], "r")
    except (av.FFmpegError, ValueError):
        return stream.codec_context
    decoder.extradata = stream.codec_context.extradata
    return decoder


def _promised(container: InputContainer, stream: VideoStream, path: Path) -> tuple[int, bool]:
    """Frames that the index of an mp4 or mov lists as shown, and whether data of them is missing."""
    if "mov" not in container.format.name.split(",") or not path.is_file():
        return 0, False
    size, entries = path.stat().st_size, _index(stream)
    known = hasattr(stream, "index_entries")
    missing = any(entry.pos + entry.size > size for entry in entries) or is_cut(path, "mov" if known else "boxes")
    return sum(not entry.is_discard for entry in entries) if known else stream.frames, missing


def _index(stream: av.stream.Stream) -> list[Any]:
    """The entries of a stream's index, those that an edit list hides marked as such."""
    return list(getattr(stream, "index_entries", ()))  # PyAV from 17 on


def lost_sound(container: InputContainer, path: Path) -> bool:
    """Whether the index of an mp4 or mov lists sound whose data isn't there."""
    size = path.stat().st_size
    return "mov" in container.format.name.split(",") and any(
        entry.pos + entry.size > size for stream in container.streams.audio for entry in _index(stream)
    )


def _count(container: InputContainer, stream: VideoStream) -> int | None:
    """Frames that are shown, as far as the container says."""
    entries = _index(stream) if "mov" in container.format.name.split(",") and stream.frames else []
    return sum(not entry.is_discard for entry in entries) or stream.frames or None


def read_info(path: Path, *, playlist: bool = False, judge_fields: bool = False) -> VideoInfo:
    """Facts of a video file; decodes its first frame, because only that tells the pixel format and rotation.

    Args:
        judge_fields: look for fields in frames that aren't marked as interlaced, too.

    Raises:
        UnreadableVideo: see :func:`open_video`; also if no frame decodes or its pixel format can't be handled.
    """
    reading = DecodePass(path, threaded=False, playlist=playlist)
    try:
        first = next(reading.frames(), None)
        if first is None:
            raise UnreadableVideo(
                f"{path} holds no frame that can be decoded (video codec {reading.stream.codec_context.name}). "
                "Choose another file."
            )
        info = _describe(path, reading.container, reading.stream, first)
        info = replace(info, playlist=playlist)
        order, table = field_order(first), seek_table(path)
        if order is not None:
            if table.combed is None:
                table.combed = _shows_combs(reading.container, reading.stream)
            return replace(info, fields=order, combed=table.combed)
        if judge_fields and table.unmarked is None:
            looks = _looks(reading.container, reading.stream, _UNMARKED_PLACES)
            table.unmarked = (order_of_unmarked(looks),)
        if judge_fields and table.unmarked and table.unmarked[0]:
            return replace(info, fields=table.unmarked[0], combed=True, marked=False)
        return info
    finally:
        reading.close()


def is_transparent(path: Path) -> bool:
    """Whether any frame of a file with an alpha plane shows something through; decodes until one does."""
    reading = DecodePass(path, threaded=False)
    try:
        shown = (canonical(frame) for frame in reading.frames())
        return any(
            frame is not None and layout(frame.format.name).alpha and planes(frame)[3].min() < 255 for frame in shown
        )
    except (UnreadableVideo, av.FFmpegError):
        return True  # damage is told by whoever reads that place
    finally:
        reading.close()


def _shows_combs(container: InputContainer, stream: VideoStream) -> bool:
    """Look for combs at a few places: material that is marked as interlaced may be of whole frames all the same."""
    looks = (decoded for place in _looks(container, stream, _PLACES) for decoded in place if decoded.interlaced_frame)
    return any(native is not None and is_combed(native) for native in map(canonical, looks))


def _looks(container: InputContainer, stream: VideoStream, places: int) -> Iterator[Iterator[av.VideoFrame]]:
    """A few frames at each of some places, spread over the file."""
    seconds = _duration(container, stream)
    begin, length = stream.start_time or 0, round(seconds / stream.time_base) if seconds and stream.time_base else 0
    for place in range(places if length else 1):
        yield _frames_at(container, stream, begin + length * place // places if place else None)


def _frames_at(container: InputContainer, stream: VideoStream, time: int | None) -> Iterator[av.VideoFrame]:
    try:
        if time is not None:
            container.seek(time, stream=stream)
        yield from islice(container.decode(stream), _LOOK)
    except av.FFmpegError:
        return  # damage is told by whoever reads that place


def _describe(path: Path, container: InputContainer, stream: VideoStream, first: av.VideoFrame) -> VideoInfo:
    name = canonical_name(first.format.name)
    if name is None:
        raise UnreadableVideo(
            f"{path} has the pixel format {first.format.name}, which can't be restored. Convert it first, for "
            "example with ffmpeg -pix_fmt yuv444p12le."
        )
    codec, shape = codec_name(stream), layout(name)
    side_data = side_data_of(first, codec)
    matrix, color = display_matrix_of(first, side_data), color_of(first, codec, stream.codec_context)
    if shape.family == "yuv":
        luma_weights(color.matrix)  # before any work
    remarks = []
    if has_hidden_alpha(stream) and not shape.alpha:
        remarks.append("The transparency isn't read, because this installation of PyAV has no libvpx; the wheel has.")
    time_base = stream.time_base
    assert time_base is not None  # a frame was decoded, so it has a clock
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return VideoInfo(
        path=path,
        width=first.width,
        height=first.height,
        fps=_rate(stream),
        time_base=time_base,
        frame_count=_count(container, stream),
        duration=_duration(container, stream),
        rotation=rotation_of(matrix),
        bit_depth=shape.depth,
        pix_fmt=name,
        codec=codec,
        has_alpha=shape.alpha,
        sample_aspect_ratio=aspect if aspect and aspect != 1 else None,
        color=color,
        mirrored=is_mirrored(matrix),
        hdr=static_hdr_of(side_data),
        unwritten=unwritten_of(side_data),
        remarks=tuple(remarks),
        streams=tuple(_companions(container, stream)),
        display_matrix=matrix,
        origin=_origin(container),
    )


def _rate(stream: VideoStream) -> Fraction:
    """Frames a second on average.

    ffmpeg's average of a few packets may be their clock's rate instead (60000 for DV); a guess that also weighs what
    the codec says is then better. Where the rate varies, the guess is the larger one of the two.
    """
    average, guessed = stream.average_rate, stream.guessed_rate
    if average and guessed and average > _MUCH_FASTER * guessed:
        average = guessed
    for rate in (average, guessed):
        if rate and rate < min(_FASTEST, 1 / stream.time_base if stream.time_base else _FASTEST):
            return rate
    return average if average and average < _FASTEST else Fraction(25)


def _duration(container: InputContainer, stream: VideoStream) -> Fraction | None:
    if stream.duration:
        return Fraction(stream.duration * (stream.time_base or 0))
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
    if not int(container.format.flags) & _TS_DISCONT:
        return Fraction(0)
    starts = [s.start_time * s.time_base for s in container.streams if s.start_time is not None and s.time_base]
    return min(starts, default=Fraction(0))
