"""Files that hold several pictures with times."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from vividface_core.errors import MissingDependency, UnreadableVideo
from vividface_core.video.frame import Frame
from vividface_core.video.images import ImageSequence
from vividface_core.video.info import ColorInfo, VideoInfo
from vividface_core.video.picture_kinds import is_for_pillow
from vividface_core.video.pixel_formats import with_planes

_DURATION = 100
"""Milliseconds of a picture that has no time of its own, as browsers have it."""
_RGB = ColorInfo("gbr", "pc", matrix_tagged=True, range_tagged=True)


def open_pictures(path: Path) -> ImageSequence | PictureFile:
    """The reader for a folder of pictures or a picture file.

    Raises:
        UnreadableVideo: no picture, or one that can't be decoded.
        MissingDependency: several pictures in one file, and Pillow is missing.
    """
    if path.is_file() and is_for_pillow(path):
        return PictureFile(path)
    return ImageSequence(path)


class PictureFile:
    """A file of several pictures with times, read by Pillow: animated WebP and AVIF, TIFF of several pages.

    Raises:
        MissingDependency: Pillow is missing.
        UnreadableVideo: a picture can't be decoded.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.warnings: list[str] = []
        sizes, alpha, times = set(), False, [0]
        for _, picture, duration in self._pictures():
            sizes.add(picture.size)
            alpha = alpha or (picture.mode == "RGBA" and picture.getextrema()[3][0] < 255)
            times.append(times[-1] + duration)
        if len(sizes) != 1:
            raise UnreadableVideo(f"{path} holds pictures of different sizes, so it is no clip. Split it first.")
        self._alpha, self._times = alpha, times
        (width, height), count = sizes.pop(), len(times) - 1
        self.info = VideoInfo(
            path=path,
            width=width,
            height=height,
            fps=Fraction(1000 * count, times[-1]),
            time_base=Fraction(1, 1000),
            frame_count=count,
            duration=Fraction(times[-1], 1000),
            pix_fmt="gbrap" if alpha else "gbrp",
            codec=path.suffix[1:].lower() or "pictures",
            has_alpha=alpha,
            color=_RGB,
            kind="animation" if count > 1 else "image",
        )

    def frames(self, start: int, end: int | None) -> Iterator[Frame]:
        """Frames ``start`` to ``end`` (exclusive)."""
        for index, picture, duration in self._pictures():
            if end is not None and index >= end:
                return
            if index >= start:
                yield Frame(index, self._times[index], duration, self._native(picture), self.info.color)

    def _native(self, picture: Any) -> av.VideoFrame:
        samples = np.asarray(picture.convert("RGBA" if self._alpha else "RGB"))
        order = (1, 2, 0, 3) if self._alpha else (1, 2, 0)
        empty = av.VideoFrame(picture.width, picture.height, self.info.pix_fmt)
        return with_planes(empty, self.info.pix_fmt, [samples[..., channel] for channel in order])

    def _pictures(self) -> Iterator[tuple[int, Any, int]]:
        """Number, picture and milliseconds of each."""
        try:
            from PIL import Image
            from PIL import ImageSequence as Pages
        except ImportError as error:
            raise MissingDependency(
                f"{self._path} holds several pictures, which Pillow reads: pip install pillow"
            ) from error
        try:
            with Image.open(self._path) as file:
                for index, page in enumerate(Pages.Iterator(file)):
                    has_alpha = page.mode in ("RGBA", "LA", "PA") or "transparency" in page.info
                    picture = page.convert("RGBA" if has_alpha else "RGB")
                    yield index, picture, round(page.info.get("duration") or _DURATION)
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise UnreadableVideo(f"{self._path} can't be read as pictures ({error}). Check the file.") from error
