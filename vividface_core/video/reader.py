"""Read a video, a folder of pictures or one picture as a stream of frames, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av

from vividface_core.errors import InvalidOption, UnreadableVideo
from vividface_core.video.color_tags import color_of
from vividface_core.video.colorspace import convert
from vividface_core.video.completeness import is_cut
from vividface_core.video.decoding import Damaged, DecodePass, SeekTable, lost_sound, read_info, seek_table
from vividface_core.video.frame import Frame, iter_chunks
from vividface_core.video.images import ImageSequence
from vividface_core.video.info import VideoInfo
from vividface_core.video.interlace import Deinterlacer
from vividface_core.video.opening import open_media
from vividface_core.video.picture_kinds import is_picture
from vividface_core.video.pictures import PictureFile, open_pictures
from vividface_core.video.pixel_formats import canonical

__all__ = ["VideoReader", "iter_chunks", "probe"]

DEINTERLACE = ("auto", "off")
_SHORT = Fraction(1, 10)
"""Seconds that a file may lack of its header's promise without a word about seconds."""
_SEEK_BACK = (0, 16, 64, 256, 1024)
"""How many frames before the wanted one a keyframe is looked for, in turn."""


def probe(path: str | Path) -> VideoInfo:
    """Facts of a video, a folder of pictures or one picture.

    Raises:
        UnreadableVideo: missing, no video, or no frame decodes.
    """
    return VideoReader(path).info


class VideoReader:
    """A video's frames in the order of display.

    Memory does not grow with the length of the video, apart from 8 bytes a frame for its time, with which a later
    reader of the same file finds any frame that was read before without decoding from the start.

    Damage: data that can't be decoded is left out and noted in ``warnings``; the other frames keep their times. A
    file that was cut off hands out what is there and then raises.

    Attributes:
        deinterlaces: whole frames are made of fields.
        fields, marked: of the file, see :class:`~vividface_core.video.info.VideoInfo`; ``info`` is of the frames
            that are handed out.

    Args:
        path: any container that ffmpeg reads, a folder of pictures (natural order), or one picture.
        start_frame: number of the first frame to hand out.
        end_frame: number of the frame to stop before; ``None``: to the end.
        start_time: of a video: frames are counted from the first one at or after this time, in its ``time_base``, which
            is sought without decoding what lies before its keyframe; ``None``: from the first of the file.
        deinterlace: ``auto`` makes whole frames of fields where they show different moments; ``off`` never does.
        playlist: a list of other files may be followed.

    Raises:
        UnreadableVideo: missing, no video, or no frame decodes.
        InvalidOption: a negative or reversed range.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        start_frame: int = 0,
        end_frame: int | None = None,
        start_time: int | None = None,
        deinterlace: str = "off",
        playlist: bool = False,
    ) -> None:
        self.path = Path(path)
        if deinterlace not in DEINTERLACE:
            raise InvalidOption(f"deinterlace is {deinterlace!r}; choose one of {', '.join(DEINTERLACE)}.")
        if start_frame < 0 or (end_frame is not None and end_frame < start_frame):
            raise InvalidOption(f"Frames {start_frame} to {end_frame} are no range; give 0 ≤ start ≤ end.")
        try:
            there = self.path.exists()
        except OSError as error:  # a name longer than any, say
            raise UnreadableVideo(f"{self.path} can't be looked up ({error.strerror}). Check the name.") from error
        if not there:
            raise UnreadableVideo(f"{self.path} does not exist. Check the name and the folder.")
        if not self.path.is_file() and not self.path.is_dir():
            # Opening a pipe would wait for its writer, and a video is read more than once.
            raise UnreadableVideo(
                f"{self.path} is no ordinary file (a pipe or a device, say). Save it to a file first, and give that."
            )
        self.start, self.end, self._start_time = start_frame, end_frame, start_time
        self._images: ImageSequence | PictureFile | None = None
        self.warnings: list[str] = []
        if self.path.is_dir() or is_picture(self.path):
            self._images = open_pictures(self.path)
            self.info, self.warnings = self._images.info, self._images.warnings
        else:
            self.info = read_info(self.path, playlist=playlist, judge_fields=deinterlace == "auto")
        self.deinterlaces = deinterlace == "auto" and self.info.combed
        self.fields, self.marked = self.info.fields, self.info.marked
        if self.deinterlaces:
            self.info = replace(self.info, fields=None, combed=False)

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is open between two iterations; the file is closed when an iteration ends or is dropped."""

    def __iter__(self) -> Iterator[Frame]:
        """Frames from ``start_frame`` on; each call reads anew.

        Raises:
            UnreadableVideo: the file is cut off (names the last frame that is there), or the picture size changes.
        """
        if self._images is not None:
            yield from self._images.frames(self.start, self.end)
        elif self.deinterlaces:
            yield from self._whole_frames()
        elif self.end is None or self.end > self.start:
            yield from self._video_frames()

    def _whole_frames(self) -> Iterator[Frame]:
        """Frames made of fields; each leans on the ones before and after it."""
        reader = VideoReader(
            self.path,
            start_frame=max(0, self.start - 1),
            playlist=self.info.playlist,
            end_frame=None if self.end is None else self.end + 1,
            start_time=self._start_time,
        )
        assert self.fields is not None  # frames with combs have an order
        whole = Deinterlacer(self.fields, marked=self.marked).frames(self._until_needed(reader))
        for frame in whole:
            if frame.index >= self.start and (self.end is None or frame.index < self.end):
                yield frame
        for line in reader.warnings:
            self._warn(line)

    def _until_needed(self, reader: VideoReader) -> Iterator[Frame]:
        got = 0
        try:
            for frame in reader:
                got = frame.index + 1
                yield frame
        except UnreadableVideo:
            if self.end is None or got < self.end:
                raise
            # The file is cut off behind the last frame that is wanted, which then has no neighbour.

    def _video_frames(self) -> Iterator[Frame]:
        if self._start_time is not None:
            yield from self._frames_from(self._start_time)
            return
        table = seek_table(self.path)
        position, numbering = self.start, _Numbering(self.info, table)
        if not table.damaged:
            try:
                for position, frame in self._threaded(table, numbering):
                    yield frame
                    position += 1
                if position != self.end:
                    self._judge_end(numbering)
                return
            except Damaged:
                table.damaged = True
        yield from self._single_threaded(position, table)

    def _threaded(self, table: SeekTable, numbering: _Numbering) -> Iterator[tuple[int, Frame]]:
        reading = self._seek(table) if self.start and table.usable and self.start < len(table.times) else None
        index = self.start if reading else 0
        reading = reading or _Started(DecodePass(self.path, threaded=True, playlist=self.info.playlist), None)
        with closing(reading.source):
            for native in reading.frames():
                if index == self.end:
                    return
                frame = self._frame(index, native, numbering)
                if index >= self.start:
                    yield index, frame
                index += 1
                if index == self.end:
                    return

    def _single_threaded(self, first: int, table: SeekTable) -> Iterator[Frame]:
        """One thread, from the start of the file: each bad packet costs its own frame only."""
        source = DecodePass(self.path, threaded=False, playlist=self.info.playlist)
        numbering, index = _Numbering(self.info, table), 0
        with closing(source):
            for native in source.frames():
                if index == self.end:
                    break
                if source.problems and numbering.is_late(native):
                    # After damage the decoder may hand out a frame whose turn is over.
                    source.problems.append(f"{self.path.name}: a frame after {index - 1} is out of order; left out.")
                    continue
                if native.is_corrupt:
                    source.problems.append(f"{self.path.name}: frame {index} is damaged and only partly decoded.")
                frame = self._frame(index, native, numbering)
                index += 1
                if frame.index >= first:
                    yield frame
                    if index == self.end:
                        break
            self.warnings += [line for line in source.problems if line not in self.warnings]
            if source.cut_off and index != self.end:
                promised = f"it should have {source.declared} frames, but " if source.declared > index else ""
                raise UnreadableVideo(
                    f"{self.path} is cut off: {promised}its data ends after frame {index - 1}. Get the whole file, or "
                    f"cut it there first: ffmpeg -i IN -frames:v {index} OUT."
                )
        if index != self.end:
            self._judge_end(numbering)

    def _frames_from(self, time: int) -> Iterator[Frame]:
        """Frames from a time on. The table isn't asked and learns nothing: their numbers in the file aren't known."""
        index = 0
        for threaded in (True, False):
            handed_out, index = index, 0
            try:
                source = DecodePass(self.path, threaded=threaded, seek_to=time, playlist=self.info.playlist)
            except av.FFmpegError:  # it can't be sought: read what lies before
                source = DecodePass(self.path, threaded=threaded, playlist=self.info.playlist)
            numbering = _Numbering(self.info, SeekTable())
            try:
                with closing(source):
                    for native in _from_keyframe(source.frames(), time):
                        if index == self.end:
                            return
                        frame = self._frame(index, native, numbering)
                        if index >= max(self.start, handed_out):
                            yield frame
                        index += 1
                        if index == self.end:
                            return
                    return
            except Damaged:
                continue

    def _judge_end(self, numbering: _Numbering) -> None:
        """Warn of a file that was read to its end and isn't all there."""
        with open_media(self.path, playlist=self.info.playlist) as container:
            cut, silent = is_cut(self.path, container.format.name), lost_sound(container, self.path)
        if cut:
            length, end = self.info.duration, numbering.end - self.info.origin
            promised = f"its header promises {float(length):.2f} s, " if length and length > end + _SHORT else ""
            self._warn(
                f"{self.path.name} is cut off: {promised}its data ends at {float(end):.2f} s, in the middle of the "
                "file's structure. What is there is taken."
            )
        elif silent:
            self._warn(f"{self.path.name} is cut off: its sound ends before its picture.")

    def _warn(self, line: str) -> None:
        if line not in self.warnings:
            self.warnings.append(line)

    def _seek(self, table: SeekTable) -> _Started | None:
        """Start at a keyframe from which the wanted frame decodes exactly; ``None`` if there is no such place."""
        wanted = table.times[self.start]
        for back in _SEEK_BACK:
            if back > self.start:
                return None
            try:
                source = DecodePass(
                    self.path, threaded=True, seek_to=table.times[self.start - back], playlist=self.info.playlist
                )
            except av.FFmpegError:
                return None
            frames = source.frames()
            # Frames that are shown before the first keyframe may lean on others that were not read.
            first = next((frame for frame in frames if frame.key_frame), None)
            if first is not None and first.pts is not None and first.pts <= wanted:
                candidate = _Started(source, first, frames)
                if candidate.drop_until(wanted):
                    return candidate
            source.close()
        return None

    def _frame(self, index: int, decoded: av.VideoFrame, numbering: _Numbering) -> Frame:
        info = self.info
        if (decoded.width, decoded.height) != (info.width, info.height):
            raise UnreadableVideo(
                f"{self.path} changes its size from {info.width}x{info.height} to {decoded.width}x{decoded.height} "
                f"at frame {index}. Cut it there, or scale it to one size first."
            )
        native = canonical(decoded)
        if native is None or native.format.name != info.pix_fmt:
            color = color_of(decoded, info.codec)
            if native is None:
                raise UnreadableVideo(
                    f"{self.path} changes its pixel format to {decoded.format.name} at frame {index}."
                )
            native = convert(native, color, info.pix_fmt, info.color)
        pts, duration = numbering.time(index, decoded)
        return Frame(index, pts, duration, native, info.color, info.rotation, info.mirrored, decoded.interlaced_frame)


class _Started:
    """A pass with the frames that were already taken from it."""

    def __init__(
        self, source: DecodePass, first: av.VideoFrame | None, rest: Iterator[av.VideoFrame] | None = None
    ) -> None:
        self.source, self._first = source, first
        self._rest = rest if rest is not None else source.frames()

    def drop_until(self, pts: int) -> bool:
        """Drop frames before ``pts``; false if no frame has just that time."""
        while self._first is not None and self._first.pts is not None and self._first.pts < pts:
            self._first = next(self._rest, None)
        return self._first is not None and self._first.pts == pts

    def frames(self) -> Iterator[av.VideoFrame]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        yield from self._rest


def _from_keyframe(frames: Iterator[av.VideoFrame], time: int) -> Iterator[av.VideoFrame]:
    """Those at or after a time. Frames before the first keyframe may lean on others that weren't read."""
    known = False
    for frame in frames:
        known = known or frame.key_frame
        if known and (frame.pts is None or frame.pts >= time):
            yield frame


class _Numbering:
    """Gives each frame a time, later than the one before, and remembers it in the seek table."""

    def __init__(self, info: VideoInfo, table: SeekTable) -> None:
        self._step = max(1, round(1 / (info.fps * info.time_base))) if info.fps else 1
        self._table, self._duration = table, 0
        self._last: int | None = None
        self._time_base: Fraction = info.time_base

    @property
    def end(self) -> Fraction:
        """Seconds at which the last frame ends."""
        return ((self._last or 0) + (self._duration or self._step)) * self._time_base

    def is_late(self, decoded: av.VideoFrame) -> bool:
        """Is a later frame out already?"""
        return decoded.pts is not None and self._last is not None and decoded.pts <= self._last

    def time(self, index: int, decoded: av.VideoFrame) -> tuple[int, int]:
        pts, duration = decoded.pts, getattr(decoded, "duration", 0) or 0  # PyAV from 15 on
        last = self._last
        genuine = pts is not None and (last is None or pts > last)
        if pts is None:
            pts = 0 if last is None else last + (self._duration or self._step)
        elif last is not None and not genuine:
            pts = last + 1
        self._table.learn(index, pts, genuine=genuine)
        self._last, self._duration = pts, duration
        return pts, duration


def read_frames(path: str | Path, count: int, start: int = 0) -> list[Frame]:
    """The first ``count`` frames from ``start`` on, for callers that want a few frames at once."""
    with VideoReader(path, start_frame=start, end_frame=start + count) as reader:
        return list(islice(reader, count))
