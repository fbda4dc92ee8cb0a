"""ComfyUI's VIDEO and the engine's sources."""

from __future__ import annotations

import io as bytes_io
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import torch
from comfy_api.latest import Input, InputImpl, Types

from vividface_core.video.opening import open_media
from vividface_core.video.source import ClipFrames, VideoFrames

from .images import to_frames, to_images
from .paths import temp_path

Video: TypeAlias = Input.Video


class VideoPart(Video):
    """A part of a video file: nothing is decoded before it is wanted, and nothing is encoded anew for the engine."""

    def __init__(self, path: str | Path, start: int, end: int | None, step: int) -> None:
        self.path, self.start, self.end, self.step = str(path), start, end, step

    def source(self) -> VideoFrames:
        """The frames, for the engine."""
        return VideoFrames(self.path, self.start, self.end, self.step)

    def get_components(self) -> Any:
        source = self.source()
        images = to_images(torch.stack([frame.rgb() for frame in source.read()]))
        info = source.info
        assert info.span is not None  # a part has one
        return Types.VideoComponents(images=images, audio=self._audio(*info.span), frame_rate=info.fps)

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
        InputImpl.VideoFromComponents(self.get_components()).save_to(path, *arguments, **options)

    def get_dimensions(self) -> tuple[int, int]:
        return self.source().size

    def get_frame_count(self) -> int:
        source = self.source()
        return source.count if source.count is not None else sum(1 for _ in source.read())

    def get_frame_rate(self) -> Fraction:
        return self.source().fps

    def get_duration(self) -> float:
        return float(self.get_frame_count() / self.get_frame_rate())


def in_memory(video: Video) -> bool:
    """Whether the frames are in memory anyway, so that no file has to be made of them."""
    return isinstance(video, InputImpl.VideoFromComponents)


@contextmanager
def source_of(video: Video) -> Iterator[VideoFrames]:
    """The frames of any VIDEO as the engine reads them: piecewise, from its own file wherever it has one."""
    if isinstance(video, VideoPart):
        yield video.source()
        return
    made: Path | None = None
    try:
        source = None if _is_trimmed(video) else video.get_stream_source()
        if not isinstance(source, str):
            made = temp_path(".mkv" if source is None else ".video")
            if isinstance(source, bytes_io.BytesIO):
                made.write_bytes(source.getbuffer())
            else:
                video.save_to(str(made))
            source = str(made)
        yield VideoFrames(source)
    finally:
        if made is not None:
            made.unlink(missing_ok=True)


def _is_trimmed(video: Video) -> bool:
    """Newer ComfyUI's file videos may stand for a part of their file, which ``get_stream_source`` doesn't tell."""
    names = ("_VideoFromFile__start_time", "_VideoFromFile__duration")
    return any(getattr(video, name, 0) for name in names)


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
