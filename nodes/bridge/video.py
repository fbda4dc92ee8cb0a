"""ComfyUI's VIDEO and the engine's sources."""

from __future__ import annotations

import inspect
import io as bytes_io
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import torch
from comfy_api.latest import Input, InputImpl, Types
from torch import Tensor

from vividface_core.errors import UnreadableVideo
from vividface_core.video.opening import open_media
from vividface_core.video.source import ClipFrames, VideoFrames

from .images import to_frames, to_images
from .lossless import write_lossless
from .paths import temp_path

Video: TypeAlias = Input.Video

HDR = {"smpte2084": "HDR PQ", "arib-std-b67": "HDR"}
"""ComfyUI's names of colour spaces, by transfer."""


class VideoPart(Video):
    """A part of a video file: nothing is decoded before it is wanted, and nothing is encoded anew for the engine.

    Its clock starts at its first frame.
    """

    def __init__(self, path: str | Path, start: int, end: int | None, step: int) -> None:
        self.path, self.start, self.end, self.step = str(path), start, end, step

    def source(self) -> VideoFrames:
        """The frames, for the engine."""
        return VideoFrames(self.path, self.start, self.end, self.step)

    def as_trimmed(
        self, start_time: float | None = None, duration: float | None = None, strict_duration: bool = False
    ) -> VideoPart | None:
        """A part of the part, in seconds from its first frame, from its end where ``start_time`` is negative.

        Returns:
            ``None``: nothing is shown then, or less than ``duration`` where that is strict.
        """
        start, source = start_time or 0.0, self.source()
        if start < 0:
            start = max(0.0, self.get_duration() + start)
        first = next(iter(source.read(0, 1)), None)
        try:
            origin = 0.0 if first is None else float(first.pts * source.file.time_base)
            taken = source.during(origin + start, duration or None)
        except UnreadableVideo:
            return None
        part = VideoPart(self.path, taken.first, taken.end, taken.step)
        if strict_duration and duration and part.get_duration() < duration:
            return None
        return part

    def get_components(self) -> Any:
        source = self.source()
        images = to_images(torch.stack([frame.rgb() for frame in source.read()]))
        info = source.info
        assert info.span is not None  # a part has one
        more: dict[str, Any] = {}
        if info.has_alpha and "alpha" in inspect.signature(Types.VideoComponents).parameters:
            more["alpha"] = torch.stack([frame.alpha() for frame in source.read()])[..., None]
        return Types.VideoComponents(images=images, audio=self._audio(*info.span), frame_rate=info.fps, **more)

    def _audio(self, first: Fraction, last: Fraction) -> dict[str, Any] | None:
        import av

        with open_media(self.path) as container:
            if not container.streams.audio:
                return None
            stream = container.streams.audio[0]
            parts = [
                torch.from_numpy(heard.to_ndarray())
                for frame in container.decode(stream)
                if first <= (frame.time or 0) < last
                for heard in av.AudioResampler("fltp", frame.layout).resample(frame)
            ]
            if not parts:
                return None
            return {"waveform": torch.cat(parts, 1)[None], "sample_rate": stream.sample_rate}

    def save_to(self, path: Any, *arguments: Any, **options: Any) -> None:
        parts = self.get_components()
        made = video_of(parts.images, parts.audio, parts.frame_rate, self.get_bit_depth())
        made.save_to(path, *arguments, **options)

    def get_dimensions(self) -> tuple[int, int]:
        return self.source().size

    def get_frame_count(self) -> int:
        source = self.source()
        return source.count if source.count is not None else sum(1 for _ in source.read())

    def get_frame_rate(self) -> Fraction:
        return self.source().fps

    def get_duration(self) -> float:
        return float(self.get_frame_count() / self.get_frame_rate())

    def get_bit_depth(self) -> int:
        return self.source().file.bit_depth

    def get_color_space(self) -> str:
        return HDR.get(self.source().file.color.transfer or "", "sRGB")

    def get_container_format(self) -> str:
        with open_media(self.path) as container:
            return container.format.name


def in_memory(video: Video) -> bool:
    """Whether the frames are in memory anyway, so that no file has to be made of them."""
    return isinstance(video, InputImpl.VideoFromComponents)


def is_opaque(video: Video) -> bool:
    """Whether frames in memory have no transparency, for which ComfyUI's own VIDEO of frames has no place."""
    return video.get_components().images.shape[-1] != 4


def video_of(images: Tensor, audio: Any, fps: Fraction, bit_depth: int = 8) -> Video:
    """A VIDEO of frames in memory, which will be encoded with as many bits where this ComfyUI can."""
    parts = Types.VideoComponents(images=images, audio=audio, frame_rate=fps)
    known = "bit_depth" in inspect.signature(InputImpl.VideoFromComponents).parameters
    return InputImpl.VideoFromComponents(parts, **({"bit_depth": 10} if known and bit_depth > 8 else {}))


def bit_depth_of(video: Video) -> int:
    """Bits a sample of any VIDEO; 8 where this ComfyUI doesn't tell."""
    return video.get_bit_depth() if hasattr(video, "get_bit_depth") else 8


@contextmanager
def source_of(video: Video) -> Iterator[VideoFrames]:
    """The frames of any VIDEO as the engine reads them: piecewise, from its own file wherever it has one."""
    if isinstance(video, VideoPart):
        yield video.source()
        return
    made: Path | None = None
    try:
        if in_memory(video):
            made = temp_path(".nut")
            write_lossless(made, video.get_components(), bit_depth_of(video))
            source: Any = str(made)
        else:
            source = video.get_stream_source()
        if isinstance(source, bytes_io.BytesIO):
            made = temp_path(".video")
            made.write_bytes(source.getbuffer())
            source = str(made)
        frames, (start, length) = VideoFrames(source), _trim_window(video)
        yield frames.during(start, length or None) if start or length else frames
    finally:
        if made is not None:
            made.unlink(missing_ok=True)


def _trim_window(video: Video) -> tuple[float, float]:
    """Start and length in seconds of what a VIDEO takes of its file; a length of 0: to the end.

    ``get_stream_source`` gives the whole file.
    """
    if hasattr(video, "get_active_trim_window"):
        return video.get_active_trim_window()
    # Between the first trimmed videos and that call, a file's video kept the numbers to itself.
    names = ("_VideoFromFile__start_time", "_VideoFromFile__duration")
    start, length = (float(getattr(video, name, 0) or 0) for name in names)
    return (max(0.0, start if start >= 0 else _length(video) + start), length)


def _length(video: Video) -> float:
    with open_media(video.get_stream_source()) as container:
        return float((container.duration or 0) / 1e6)


@contextmanager
def frames_of(given: Any) -> Iterator[VideoFrames | ClipFrames]:
    """The frames of a VIDEO or an IMAGE batch."""
    if isinstance(given, torch.Tensor):
        yield ClipFrames(to_frames(given))
    elif in_memory(given):
        yield ClipFrames(to_frames(given.get_components().images))
    else:
        with source_of(given) as source:
            yield source
