"""Encode frames into one part: video only, exact times, closed groups of pictures."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from vividface_core.errors import UnwritableVideo
from vividface_core.io.file_names import beside
from vividface_core.video.color_tags import MATRICES, PRIMARIES, RANGES, TRANSFERS, UNSPECIFIED, number_of
from vividface_core.video.colorspace import convert
from vividface_core.video.frame import Frame
from vividface_core.video.info import ColorInfo, VideoInfo
from vividface_core.video.interlace import FieldMarker
from vividface_core.video.opening import open_output
from vividface_core.video.orientation import upright
from vividface_core.video.pixel_formats import planes, with_planes
from vividface_core.video.presets import (
    Coding,
    Preset,
    choose_coding,
    deterministic_x264_params,
    keeps_fields,
    load_preset,
    part_suffix,
)

__all__ = ["PartRecord", "VideoWriter", "part_suffix"]


@dataclass(frozen=True)
class PartRecord:
    """What a part's packets don't say; kept as the part's comment.

    Attributes:
        first: time of the first frame in the source, in ``time_base``; the part itself begins at 0.
        color: what the samples mean; the container keeps only some of it.
        notices: what this source lost by this preset.
    """

    first: int
    time_base: str
    color: dict[str, Any]
    notices: list[str]

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> PartRecord:
        return cls(**json.loads(text))


class VideoWriter:
    """Encodes one part, a shot or a whole video. The file appears under its name when :meth:`close` is through.

    Args:
        path: of the part; its suffix should be :func:`part_suffix`'s.
        info: of the source; gives size, rate, time base, pixel format, colour tags and rotation.
        preset: see ``presets.json``.
        size: width and height, where they are not the source's.

    Raises:
        InvalidOption: unknown preset.
        UnwritableVideo: folder missing or write-protected, no such encoder here, size or format refused, disk full.
    """

    def __init__(self, path: str | Path, info: VideoInfo, preset: str, *, size: tuple[int, int] | None = None) -> None:
        self.path = Path(path)
        self.preset = load_preset(preset)
        if size is not None:
            info = replace(info, width=size[0], height=size[1])
        self.coding = choose_coding(self.preset, info)
        self.info, self.frames = info, 0
        self._marker = FieldMarker(info.fields) if info.fields and keeps_fields(self.preset, info) else None
        self._first = self._last_pts = 0
        self._scratch = beside(self.path, before=".", after=".writing")
        self._container: Any = None  # with its stream, from the first frame on
        self._stream: Any = None
        if not self.path.parent.is_dir():
            raise UnwritableVideo(f"The folder {self.path.parent} does not exist. Make it, or choose another output.")

    @property
    def notices(self) -> tuple[str, ...]:
        """What this source loses by this preset, one sentence each."""
        return self.coding.notices

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, frame: Frame) -> None:
        """Encode one frame. Samples that the codec takes as they are, are encoded as they are.

        Raises:
            UnwritableVideo: the encoder or the disk refuses; or the frame is not later than the one before.
        """
        if self.frames and frame.pts <= self._last_pts:
            raise UnwritableVideo(
                f"Frame {frame.index} at {frame.pts} is not later than the one before ({self._last_pts})."
            )
        picture = self._picture(frame)
        if self._container is None:
            self._first = frame.pts
            self._open(picture)
        picture.pts, picture.time_base = frame.pts - self._first, self.info.time_base
        set_color_tags(picture, self.coding.color)  # ProRes keeps those of each frame
        picture.pict_type = 0  # a decoded frame's own type would force the encoder's choice
        self._last_pts = frame.pts
        self.frames += 1
        self._guarded(lambda: self._container.mux(self._stream.encode(picture)))

    def close(self) -> None:
        """Finish the part and give it its name.

        Raises:
            UnwritableVideo: no frame was written, or the disk refuses.
        """
        if self._container is None:
            raise UnwritableVideo(f"No frame was written to {self.path}; a part holds at least one.")
        self._guarded(self._finish)

    def _finish(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._container = None
        flush_to_disk(self._scratch)
        os.replace(self._scratch, self.path)

    def abort(self) -> None:
        """Stop and leave nothing behind."""
        container, self._container = self._container, None
        if container is not None:
            try:
                container.close()
            except (av.FFmpegError, OSError, ValueError):
                # The part is thrown away; that its trailer can't be written (disk full) does not matter.
                container = None
        self._scratch.unlink(missing_ok=True)

    def _picture(self, frame: Frame) -> av.VideoFrame:
        size = (frame.width, frame.height)
        if size != (self.info.width, self.info.height):
            raise UnwritableVideo(
                f"Frame {frame.index} is {size[0]}x{size[1]}, the part {self.info.width}x{self.info.height}."
            )
        coding = self.coding
        native = convert(frame.native, frame.color, coding.layout.name, coding.color)
        if self.preset.upright and (self.info.rotation or self.info.mirrored):
            way = (self.info.mirrored, self.info.rotation, np.flip, np.rot90)
            native = with_planes(native, coding.layout.name, [upright(plane, *way) for plane in planes(native)])
        if coding.encoder_format != coding.layout.name:
            native = native.reformat(format=coding.encoder_format)  # same samples, packed
        return self._marker.mark(native, frame.interlaced) if self._marker else native

    def _open(self, picture: av.VideoFrame) -> None:
        def work() -> None:
            # The first frame is at 0 and the decoding order may reach before that: nothing may be shifted.
            exact = {"avoid_negative_ts": "disabled"}
            if self.preset.part == "mov":
                exact["video_track_timescale"] = str(self.info.time_base.denominator)
            self._container = open_output(self._scratch, self.preset.part, exact)
            color, time_base = asdict(self.coding.color), str(self.info.time_base)
            self._container.metadata["comment"] = PartRecord(self._first, time_base, color, list(self.notices)).dump()
            self._stream = self._container.add_stream(self.preset.codec, rate=self.info.fps)
            _configure(self._stream, picture, self.info, self.preset, self.coding)
            self._stream.codec_context.open()

        try:
            av.codec.Codec(self.preset.codec, "w")
        except av.codec.codec.UnknownCodecError as error:
            raise UnwritableVideo(
                f"This installation of PyAV has no encoder {self.preset.codec}; choose another preset, or install "
                "the wheel from PyPI."
            ) from error
        self._guarded(work)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (av.FFmpegError, OSError, ValueError) as error:
            self.abort()
            raise unwritable(
                self.path, error, f"{self.info.width}x{self.info.height}, preset {self.preset.name}"
            ) from error


def _configure(stream: av.VideoStream, picture: av.VideoFrame, info: VideoInfo, preset: Preset, coding: Coding) -> None:
    context = stream.codec_context
    context.width, context.height = picture.width, picture.height
    context.pix_fmt = coding.encoder_format
    context.time_base, context.framerate = info.time_base, info.fps
    if info.sample_aspect_ratio:
        turned = preset.upright and info.rotation % 180
        context.sample_aspect_ratio = 1 / info.sample_aspect_ratio if turned else info.sample_aspect_ratio
    set_color_tags(context, coding.color)
    kept = _codec_parameters(info, preset)
    tiny = preset.tiny_options if min(context.width, context.height) < 16 else {}
    options = {**preset.options, **preset.format_options.get(coding.layout.name, {}), **tiny}
    if name := preset.parameters:
        options[name] = ":".join(
            [options[name], *kept, *(deterministic_x264_params() if preset.codec == "libx264" else ())]
        )
    if keeps_fields(preset, info):
        context.flags |= av.codec.context.Flags.interlaced_dct.value | av.codec.context.Flags.interlaced_me.value
    context.options = options


def _codec_parameters(info: VideoInfo, preset: Preset) -> list[str]:
    """What an encoder is told of fields and HDR in its own words."""
    told = info.hdr.encoder_parameters(preset.codec) if info.hdr else []
    by_parameter = keeps_fields(preset, info) and preset.fields == "parameter"
    return [*told, f"{info.fields}=1"] if by_parameter else told


def set_color_tags(context: av.VideoCodecContext | av.VideoFrame, color: ColorInfo) -> None:
    """Tag a stream or a frame as the source is tagged; what the source leaves open stays open."""
    context.colorspace = number_of(MATRICES, color.matrix) if color.matrix_tagged else UNSPECIFIED
    context.color_range = number_of(RANGES, color.range) if color.range_tagged else 0
    if not hasattr(context, "color_primaries"):
        return  # frames have no more tags than these in PyAV up to 16
    context.color_primaries = number_of(PRIMARIES, color.primaries)
    context.color_trc = number_of(TRANSFERS, color.transfer)


def unwritable(path: Path, error: Exception, what: str) -> UnwritableVideo:
    """The sentence for a refusal by the encoder or the disk."""
    if getattr(error, "errno", None) == errno.ENOSPC:
        return UnwritableVideo(f"The disk is full while writing {path}. Free some space and run again.")
    reason = getattr(error, "strerror", None) or str(error)
    return UnwritableVideo(f"{path} can't be written ({what}): {reason}. Check the folder, or choose another preset.")


def flush_to_disk(path: Path) -> None:
    """Make sure that a file's content is on disk before it gets its final name."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def time_base_of(record: PartRecord) -> Fraction:
    """The unit of a part's times."""
    return Fraction(record.time_base)
