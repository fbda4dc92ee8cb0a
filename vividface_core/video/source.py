"""Where frames come from: a file, or a tensor. Either can be read as often as wanted."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import torch
from torch import Tensor

from vividface_core.errors import InvalidOption, UnreadableVideo
from vividface_core.video.decoding import DecodePass
from vividface_core.video.frame import Frame, from_tensor
from vividface_core.video.info import ColorInfo, VideoInfo
from vividface_core.video.reader import VideoReader


class FrameSource(Protocol):
    """Frames that can be read again and again, any part of them.

    Attributes:
        name: for messages.
        info: facts of the video that is taken; ``None`` for frames that come from no file.
        count: how many there are; ``None``: not known before they are read.
        size: width and height as a player shows them.
        warnings: what was found to be damaged while reading.
    """

    @property
    def name(self) -> str: ...

    @property
    def info(self) -> VideoInfo | None: ...

    @property
    def count(self) -> int | None: ...

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def warnings(self) -> list[str]: ...

    def read(self, start: int = 0, end: int | None = None) -> Iterator[Frame]:
        """Frames ``start`` … ``end`` − 1, in order."""


class VideoFrames:
    """Frames of a video, a folder of pictures or one picture, decoded anew at each reading.

    Args:
        start, end: take only frames ``start`` … ``end`` − 1 of the file (``None``: to its end); they count from 0.
        step: take every so many-th of them. Times stay as they were, so the playing time does too.
        deinterlace, playlist, start_time: see :class:`~vividface_core.video.reader.VideoReader`. With a ``start_time``
            frames count from there.

    Attributes:
        deinterlaces: fields are made into whole frames; :meth:`as_stored` is the same source with its fields.

    Raises:
        UnreadableVideo: see :class:`vividface_core.video.reader.VideoReader`; also a range without a frame.
        InvalidOption: a range that can't be.
    """

    def __init__(
        self,
        path: str | Path,
        start: int = 0,
        end: int | None = None,
        step: int = 1,
        *,
        deinterlace: str = "auto",
        playlist: bool = False,
        start_time: int | None = None,
    ) -> None:
        if step < 1:
            raise InvalidOption(f"Every {step}-th frame can't be taken; give 1 or more.")
        self.path, self.name = Path(path), str(path)
        self.first, self.end, self.step = start, end, step
        self.start_time = start_time
        self._reading: dict[str, Any] = {"deinterlace": deinterlace, "playlist": playlist, "start_time": start_time}
        reader = VideoReader(path, start_frame=start, end_frame=end, **self._reading)
        self._info, self.deinterlaces = reader.info, reader.deinterlaces
        self.warnings = list(reader.info.remarks)
        if self.deinterlaces:
            how = "is interlaced" if reader.marked else "isn't marked as interlaced, but its frames are"
            self.warnings.append(
                f"{self.path.name} {how}: whole frames are made of its fields (--deinterlace off keeps them)."
            )
        self._times: tuple[Fraction, Fraction] | None = None
        self.size, self.count = self._info.upright_size, self._count()

    def as_stored(self) -> VideoFrames:
        """The same frames with their fields as they are."""
        if not self.deinterlaces:
            return self
        return VideoFrames(self.path, self.first, self.end, self.step, **{**self._reading, "deinterlace": "off"})

    def during(self, start: float, length: float | None = None) -> VideoFrames:
        """The frames whose time is at or after second ``start`` of the file's own clock, for ``length`` seconds.

        Reads to the end of the part, as a file doesn't tell its frames' times.

        Args:
            length: ``None``: to the end.

        Raises:
            UnreadableVideo: no frame is shown then.
        """
        base = float(self._info.time_base)
        # In whole ticks, so that a time which is a frame's own, but for a rounding, takes that frame.
        begin, end = int(start / base), None if length is None else int((start + length) / base)
        first = last = None
        for frame in self.read():
            place = self.first + frame.index * self.step
            if end is not None and frame.pts >= end:
                last = place
                break
            if first is None and frame.pts >= begin:
                first = place
        if first is None:
            raise UnreadableVideo(f"{self.name} shows no frame from second {start:g} on.")
        return VideoFrames(self.path, first, self.end if last is None else last, self.step, **self._reading)

    def passage(self, second: Fraction, frames: int) -> VideoFrames:
        """Some frames from the first one at or after a second of the file's own clock, found without reading what lies
        before: for a look at a place of a long video. Its frames count from there, every ``step``-th of the file's;
        near the end there may be fewer, or none."""
        part = copy(self)
        part.warnings, part._times = list(self.warnings), None
        if self._info.kind == "video":
            part.start_time, part.first = int(second / self._info.time_base), 0
        else:
            part.first = int(second * self._info.fps)
        part.end, part.count = part.first + (frames - 1) * self.step + 1, frames
        part._reading = {**self._reading, "start_time": part.start_time}
        return part

    def keyframe(self, second: Fraction) -> Fraction | None:
        """Second of the keyframe from which the frame at ``second`` is decoded, of the file's own clock; nothing is
        decoded. ``None``: the file can't be sought there. Pictures are keyframes all of them."""
        if self._info.kind != "video":
            return second
        try:
            reading = DecodePass(
                self.path,
                threaded=False,
                seek_to=int(second / self._info.time_base),
                playlist=self._info.playlist,
            )
        except av.FFmpegError:
            return None
        try:
            packet = next(reading.container.demux(reading.stream), None)
            return None if packet is None or packet.pts is None else packet.pts * self._info.time_base
        except av.FFmpegError:
            return None
        finally:
            reading.close()

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the file is left out."""
        return self.first == 0 and self.end is None and self.step == 1 and self.start_time is None

    @property
    def fps(self) -> Fraction:
        """Frames a second of what is taken."""
        return self._info.fps / self.step

    @property
    def file(self) -> VideoInfo:
        """Facts of the whole file."""
        return self._info

    @property
    def info(self) -> VideoInfo:
        """Facts of the part that is taken; reads it if it wasn't read yet, to know its times."""
        if self.is_whole:
            return self._info
        for _ in self.read() if self._times is None else ():
            pass
        if self._times is None:
            raise UnreadableVideo(f"{self.name} has no frame from number {self.first} on.")
        length = self._times[1] - self._times[0]
        names = self._info.names[self.first : self.end : self.step]
        return replace(
            self._info,
            names=names,
            frame_count=self.count,
            fps=self.fps,
            origin=self._times[0],
            duration=length,
            span=self._times,
        )

    def read(self, start: int = 0, end: int | None = None) -> Iterator[Frame]:
        last = self.end if end is None else self.first + (end - 1) * self.step + 1
        first = self.first + start * self.step
        begin: Frame | None = None
        frame: Frame | None = None
        with VideoReader(self.path, start_frame=first, end_frame=last, **self._reading) as reader:
            for frame in reader:
                begin = frame if begin is None else begin
                number, left = divmod(frame.index - self.first, self.step)
                if not left:
                    yield replace(frame, index=number)
            if start == 0 and end is None and begin is not None and frame is not None:
                self._learn(begin, frame)
            self.warnings += [line for line in reader.warnings if line not in self.warnings]

    def _learn(self, first: Frame, last: Frame) -> None:
        """Note when the part begins and ends."""
        base = self._info.time_base
        length = last.duration * base if last.duration else 1 / self._info.fps
        self._times = (first.pts * base, last.pts * base + length)

    def _count(self) -> int | None:
        known = self._info.frame_count
        last = known if self.end is None else self.end if known is None else min(self.end, known)
        if last is None:
            return None
        if last <= self.first:
            raise UnreadableVideo(f"{self.name} has {known} frames, so there is none from number {self.first} on.")
        return -(-(last - self.first) // self.step)


class ClipFrames:
    """Frames of a tensor in memory, which keep every bit that isn't restored.

    Args:
        clip: ``[T, 3, H, W]``, float32, RGB, 0…1; any strides.

    Raises:
        InvalidOption: another shape.
    """

    def __init__(self, clip: Tensor, name: str = "images") -> None:
        if clip.ndim != 4 or clip.shape[1] != 3 or not clip.numel():
            raise InvalidOption(f"A clip is [frames, 3, height, width], at least one; this is {list(clip.shape)}.")
        self._clip, self.name, self.info = clip, name, None
        self.count, self.size = len(clip), (clip.shape[3], clip.shape[2])
        self.warnings: list[str] = []

    def read(self, start: int = 0, end: int | None = None) -> Iterator[Any]:
        """:class:`Picture`, which stands for a frame of a video."""
        for index in range(start, self.count if end is None else min(end, self.count)):
            yield Picture(index, self._clip[index])


@dataclass(frozen=True)
class Picture:
    """A frame ``[3, H, W]`` in memory; behaves like :class:`vividface_core.video.frame.Frame`."""

    index: int
    pixels: Tensor

    @property
    def width(self) -> int:
        return self.pixels.shape[2]

    @property
    def height(self) -> int:
        return self.pixels.shape[1]

    @property
    def color(self) -> ColorInfo:
        return ColorInfo("gbr", "pc")

    def nbytes(self) -> int:
        """What its samples take in memory."""
        return self.pixels.nbytes

    def is_neutral(self) -> bool:
        """Whether the picture is black and white, up to one level of 256."""
        return bool((self.pixels.float().amax(0) - self.pixels.float().amin(0)).max() <= 1.5 / 255)

    @property
    def native(self) -> av.VideoFrame:
        """With 8 bits a channel, to look at."""
        return from_tensor(self.rgb()).native

    def rgb(self) -> Tensor:
        """``[3, H, W]`` float32, 0…1."""
        return self.pixels.float().contiguous()

    def with_rgb(self, rgb: Tensor, changed: Tensor | None) -> Picture:
        """Other colours where ``changed`` ``[H, W]``; ``None`` = everywhere."""
        return Picture(self.index, rgb if changed is None else torch.where(changed, rgb, self.rgb()))
