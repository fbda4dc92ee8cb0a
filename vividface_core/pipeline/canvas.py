"""What restored faces are put into where that isn't the source itself: the same film, larger.

Faces are found, tracked, cut out and restored in the source. Its frames may have been enlarged by something else (an
upscaler's output, :class:`Background`) or are enlarged here (:class:`Enlarged`); the restored faces then replace what
is there, at that size. Times, sound and everything that travels along stay the source's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import av
import torch
import torch.nn.functional as F
from av.video.reformatter import Interpolation
from torch import Tensor

from vividface_core.errors import InvalidOption
from vividface_core.pipeline.options import RestoreOptions
from vividface_core.pipeline.upscaler import Upscaler
from vividface_core.video.frame import Frame
from vividface_core.video.info import VideoInfo
from vividface_core.video.source import VideoFrames

SPARE = 16
"""Frames that a background may have more than its source, before or after it: models of 4k + 1 frames pad."""
ASPECT = 0.03
"""By how much the two ratios of width and height may differ: upscalers round sides to multiples of 16."""
LIKE = 0.04
"""Mean absolute difference, of 0…1, of thumbnails of one moment, above which the two aren't the same film."""
THUMBNAIL = (18, 32)
SCALES = (1.0, 4.0)


class Canvas(Protocol):
    """Frames beside the source's.

    Attributes:
        info: of the frames that will be written: their picture, and the source's times and streams.
        scale: width and height over the source's, upright.
    """

    info: VideoInfo
    scale: tuple[float, float]

    def under(self, frames: Iterator[Frame], start: int, end: int) -> Iterator[tuple[Frame, Frame]]:
        """Each of the source's frames ``start`` … ``end`` − 1 with its canvas, which has its number and times."""


class Resized:
    """The source's own frames in another size, by Lanczos' filter.

    Args:
        source: a file.
        width, height: of the samples as stored.
    """

    def __init__(self, source: VideoFrames, width: int, height: int) -> None:
        self.info = replace(source.info, width=width, height=height, fields=None, combed=False)
        self.scale = _scale(self.info, source.size)

    def under(self, frames: Iterator[Frame], start: int, end: int) -> Iterator[tuple[Frame, Frame]]:
        for frame in frames:
            yield frame, replace(frame, native=self._resized(frame.native), interlaced=False)

    def _resized(self, picture: av.VideoFrame) -> av.VideoFrame:
        # Same format and range in and out: samples are filtered, never converted.
        return picture.reformat(width=self.info.width, height=self.info.height, interpolation=Interpolation.LANCZOS)


class Enlarged(Resized):
    """The source's own frames, enlarged.

    Args:
        source: a file.
        factor: 1…4; sides are rounded to even numbers.

    Raises:
        InvalidOption: a factor that can't be.
    """

    def __init__(self, source: VideoFrames, factor: float) -> None:
        if not SCALES[0] <= factor <= SCALES[1]:
            raise InvalidOption(f"scale is {factor:g}; it goes from {SCALES[0]:g} to {SCALES[1]:g}.")
        width, height = (2 * round(side * factor / 2) for side in (source.info.width, source.info.height))
        super().__init__(source, width, height)


class Upscaled(Enlarged):
    """The source's own frames, enlarged by a model; alpha by Lanczos' filter.

    Args:
        upscale: enlarges each frame. What it makes is brought to the size that is asked for.
    """

    def __init__(self, source: VideoFrames, factor: float, upscale: Upscaler) -> None:
        super().__init__(source, factor)
        self._upscale = upscale

    def under(self, frames: Iterator[Frame], start: int, end: int) -> Iterator[tuple[Frame, Frame]]:
        width, height = self.info.upright_size
        size = (height, width)
        for frame, canvas in super().under(frames, start, end):
            picture = self._upscale(frame.rgb()).float().cpu()
            if tuple(picture.shape[1:]) != size:
                picture = F.interpolate(picture[None], size, mode="bicubic", antialias=True, align_corners=False)[0]
            yield frame, canvas.with_rgb(picture.clamp(0, 1), None)


class ModelSquare(Resized):
    """Frames of the model's own size, whose pixels are square whatever the source's are.

    Args:
        source: a file.
        side: in pixels.
    """

    def __init__(self, source: VideoFrames, side: int) -> None:
        super().__init__(source, side, side)
        self.info = replace(self.info, sample_aspect_ratio=None)


class Background:
    """The source's frames as something else has enlarged them.

    Args:
        frames: a video or a folder of pictures.
        source: whose faces are restored.

    Attributes:
        frames: as they are read.

    Raises:
        InvalidOption: another film, another shape, smaller, or fewer frames.
        UnreadableVideo: it can't be read.
    """

    def __init__(self, frames: str | Path | VideoFrames, source: VideoFrames) -> None:
        frames = frames if isinstance(frames, VideoFrames) else VideoFrames(frames)
        self.scale = _scale(frames.file, source.size)
        if min(self.scale) < 1 - ASPECT or abs(self.scale[0] / self.scale[1] - 1) > ASPECT:
            raise InvalidOption(
                f"The background is {_size(frames.size)}, the source {_size(source.size)}: it must be the same "
                "picture, as large or larger."
            )
        self.frames, self._first = frames, _offset(frames, source)
        self.info = _joined(frames.file, source.info)

    def under(self, frames: Iterator[Frame], start: int, end: int) -> Iterator[tuple[Frame, Frame]]:
        below = self.frames.read(self._first + start, self._first + end)
        for frame, canvas in zip(frames, below):
            yield frame, replace(canvas, index=frame.index, pts=frame.pts, duration=frame.duration, interlaced=False)


def make_canvas(
    source: VideoFrames,
    background: str | Path | VideoFrames | Background | None,
    options: RestoreOptions,
    native_size: int = 512,
    upscale: Upscaler | None = None,
) -> Resized | Background | None:
    """What the faces are put into, if that isn't the source. A :class:`Background` is taken as it is.

    Args:
        native_size: the model's own, in pixels.
        upscale: enlarges the frames by ``options.scale`` instead of Lanczos' filter.

    Raises:
        InvalidOption: it doesn't go with the source or the options.
    """
    if options.model_size:
        if background is not None or options.scale != 1:
            raise InvalidOption("model_size leaves the model's own square; leave out background and scale.")
        return ModelSquare(source, options.size or native_size)
    if upscale is not None:
        if background is not None or options.scale == 1:
            raise InvalidOption("An upscale model enlarges by scale: set scale above 1, without a background.")
        return Upscaled(source, options.scale, upscale)
    if background is None:
        return None if options.scale == 1 else Enlarged(source, options.scale)
    if options.scale != 1:
        raise InvalidOption("A background has its own size; leave out one of background and scale.")
    if options.deflicker:
        raise InvalidOption("Flicker is taken from the source's own frames; leave out the background.")
    return background if isinstance(background, Background) else Background(background, source)


def _scale(info: VideoInfo, size: tuple[int, int]) -> tuple[float, float]:
    width, height = info.upright_size
    return width / size[0], height / size[1]


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def _joined(picture: VideoInfo, times: VideoInfo) -> VideoInfo:
    """The source's facts with those of the background's pictures."""
    names = (
        *("width", "height", "rotation", "bit_depth", "pix_fmt", "codec", "has_alpha", "sample_aspect_ratio"),
        *("color", "display_matrix", "mirrored", "hdr"),
    )
    return replace(times, **{name: getattr(picture, name) for name in names}, fields=None, combed=False)


def _offset(background: VideoFrames, source: VideoFrames) -> int:
    """The background's number of the source's first frame, by what the frames show.

    Raises:
        InvalidOption: they have other lengths, or nothing there is alike.
    """
    ours, theirs = _count(source), _count(background)
    if not 0 <= theirs - ours <= SPARE:
        raise InvalidOption(
            f"The background has {theirs} frames, the source {ours}. Each frame needs its own: take the upscaler's "
            "result of the whole source, or cut the source alike."
        )
    look = min(ours, 8)
    film = _thumbnails(source, look)
    candidates = _thumbnails(background, theirs - ours + look)
    errors = [float((candidates[at : at + look] - film).abs().mean()) for at in range(theirs - ours + 1)]
    best = min(range(len(errors)), key=errors.__getitem__)
    if errors[best] > LIKE:
        raise InvalidOption(f"The background {background.path.name} doesn't show what {source.path.name} shows.")
    return best


def _count(frames: VideoFrames) -> int:
    # A header may say nothing, or nothing true of what decodes.
    return sum(1 for _ in frames.read()) if frames.count is None else frames.count


def _thumbnails(frames: VideoFrames, count: int) -> Tensor:
    """``[count, 3, h, w]`` with mean brightness taken off: upscalers shift colours."""
    small = [F.interpolate(frame.rgb()[None], THUMBNAIL, mode="area")[0] for frame in frames.read(0, count)]
    stacked = torch.stack(small)
    return stacked - stacked.mean((2, 3), keepdim=True)
