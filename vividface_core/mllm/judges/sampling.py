"""What a judge is shown: some frames of a video, evenly spread over its time and no larger than needed."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vividface_core.errors import InvalidOption, UnreadableVideo
from vividface_core.video.frame import Frame
from vividface_core.video.source import ClipFrames, Picture, VideoFrames

DEFAULT_FPS, DEFAULT_FRAMES = 2.0, 32


@dataclass(frozen=True)
class Sampling:
    """Which frames are shown, and how large.

    Args:
        fps: frames a second of the video's time.
        frames: at most so many; a longer video is then looked at more sparsely.
        frame_pixels: most pixels of one frame.
        total_pixels: most pixels of all frames together.

    Raises:
        InvalidOption: a value that can't be.
    """

    fps: float = DEFAULT_FPS
    frames: int = DEFAULT_FRAMES
    frame_pixels: int = 768 * 28 * 28
    total_pixels: int = 16_384 * 28 * 28

    def __post_init__(self) -> None:
        if not (self.fps > 0 and math.isfinite(self.fps)):
            raise InvalidOption(f"--fps is {self.fps}; give a number above 0.")
        if self.frames < 1:
            raise InvalidOption(f"--frames is {self.frames}; give 1 or more.")
        if self.frame_pixels < 64 * 64 or self.total_pixels < self.frame_pixels:
            raise InvalidOption(
                f"A budget of {self.frame_pixels} pixels a frame and {self.total_pixels} in all can't be kept. Give "
                "4,096 or more a frame, and at least as many in all."
            )

    def count(self, seconds: float, available: int) -> int:
        """How many frames to take: ``seconds · fps``, at least two where there are two, even where there are more.

        Even, as the models look at frames in pairs and would see the last one of an odd number twice.
        """
        wanted = min(max(round(seconds * self.fps), 2), self.frames, available)
        return wanted if wanted < 2 else wanted - wanted % 2

    def size(self, width: int, height: int, count: int, multiple: int = 1, least: int = 0) -> tuple[int, int]:
        """Width and height within the budget, whole ``multiple`` s, in about the same ratio.

        Args:
            count: how many frames share the total.
            least: pixels below which a model sees too little: smaller frames are enlarged to that.
        """
        budget = max(min(self.frame_pixels, self.total_pixels // count), multiple * multiple)
        scale = min(1.0, math.sqrt(budget / (width * height)))
        scale = max(scale, min(math.sqrt(least / (width * height)), math.sqrt(budget / (width * height))))
        sides = [max(multiple, round(side * scale / multiple) * multiple) for side in (width, height)]
        while sides[0] * sides[1] > budget and max(sides) > multiple:
            longer = sides.index(max(sides))
            sides[longer] -= multiple
        return sides[0], sides[1]


@dataclass(frozen=True)
class SampledFrames:
    """Frames of one video.

    Attributes:
        name: of the video, for messages.
        pixels: ``[T, 3, H, W]``, uint8, RGB.
        times: seconds of each since the first frame.
        indices: of each in the source; with a variable frame rate the one that a constant rate would have there.
        fps: the source's frames a second.
        total: the source's frames, counted at that rate.
        path: the file, where the video is one whole file.
    """

    name: str
    pixels: Tensor
    times: tuple[float, ...]
    indices: tuple[int, ...]
    fps: float
    total: int
    path: Path | None = None

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True)
class _Clock:
    """What of a file's facts concerns time."""

    time_base: Fraction
    kind: str = "memory"


@dataclass(frozen=True)
class _Tick(Picture):
    """A frame in memory with its time, in frames."""

    duration: int = 1

    @property
    def pts(self) -> int:
        return self.index


class TimedClip(ClipFrames):
    """Frames in memory, shown at a constant rate, for judges.

    Args:
        clip: ``[T, 3, H, W]``, float32, RGB, 0…1.
        fps: frames a second.

    Raises:
        InvalidOption: another shape, or a rate of 0 or less.
    """

    is_whole, path = False, None

    def __init__(self, clip: Tensor, fps: Fraction | float, name: str = "images") -> None:
        super().__init__(clip, name)
        if not (fps > 0 and math.isfinite(fps)):
            raise InvalidOption(f"{name} can't have {fps} frames a second; give a number above 0.")
        self.fps = Fraction(fps).limit_denominator(100_000)
        self.file = _Clock(1 / self.fps)

    def read(self, start: int = 0, end: int | None = None) -> Iterator[_Tick]:
        for picture in super().read(start, end):
            yield _Tick(picture.index, picture.pixels)


def open_source(video: str | Path | VideoFrames | TimedClip) -> VideoFrames | TimedClip:
    """A video by its path, or as it is."""
    return VideoFrames(video) if isinstance(video, (str, Path)) else video


def sample(source: VideoFrames | TimedClip, sampling: Sampling, multiple: int = 1, least: int = 0) -> SampledFrames:
    """Take frames at even distances in time and bring them to size, each as soon as it is decoded.

    The video is read twice: what a container says about its length is not always true.

    Raises:
        UnreadableVideo: no frame decodes.
    """
    base = source.file.time_base
    times, last = [], None
    for last in source.read():
        times.append(float(last.pts * base))
    if last is None:
        raise UnreadableVideo(f"{source.name} has no frame that decodes. Check it with a player.")
    fps = float(source.fps)
    length = float(last.duration * base) if last.duration else 1 / fps
    seconds = times[-1] - times[0] + max(length, 1e-6)
    count = sampling.count(seconds, len(times))
    # The frame that a player shows at each moment; the same one twice only where the video stands still for so long.
    moments = [times[0] + seconds * number / count for number in range(count)]
    chosen = sorted({max(bisect.bisect_right(times, moment + 1e-6) - 1, 0) for moment in moments})
    width, height = sampling.size(*source.size, len(chosen), multiple, least)
    reading: Iterator[Any] = source.read(end=chosen[-1] + 1)
    pixels = _pictures(reading, chosen, (height, width))
    shown = [times[number] - times[0] for number in chosen]
    steady = all(abs(times[n] - times[0] - n / fps) < 0.5 / fps for n in chosen)
    indices = chosen if steady else [round(time * fps) for time in shown]
    total = len(times) if steady else max(round(seconds * fps), indices[-1] + 1)
    path = source.path if source.is_whole and source.file.kind == "video" else None
    return SampledFrames(source.name, pixels, tuple(shown), tuple(indices), fps, total, path)


def _pictures(frames: Iterable[Frame], chosen: list[int], size: tuple[int, int]) -> Tensor:
    wanted = set(chosen)
    return torch.stack([resized(frame.rgb(), size) for frame in frames if frame.index in wanted])


def resized(rgb: Tensor, size: tuple[int, int]) -> Tensor:
    """``[3, H, W]`` of 0…1 as uint8 at another ``(height, width)``: bicubic, smoothed before it is made smaller."""
    if tuple(rgb.shape[1:]) != tuple(size):
        rgb = torch.nn.functional.interpolate(rgb[None], size=size, mode="bicubic", antialias=True)[0]
    return (rgb * 255).round().clamp(0, 255).to(torch.uint8)
