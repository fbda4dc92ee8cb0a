"""What kind of picture file something is, by its content; and files that hold several pictures with times."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from vividface_core.errors import MissingDependency, UnreadableVideo
from vividface_core.video.frame import Frame
from vividface_core.video.images import IMAGE_SUFFIXES, ImageSequence
from vividface_core.video.info import ColorInfo, VideoInfo
from vividface_core.video.pixel_formats import with_planes

_HEAD = 4096
_DURATION = 100
"""Milliseconds of a picture that has no time of its own, as browsers have it."""
_RGB = ColorInfo("gbr", "pc", matrix_tagged=True, range_tagged=True)


def is_picture(path: Path) -> bool:
    """Whether a file is one picture, or several that ffmpeg doesn't read: by its content, whatever it is called."""
    head = _head(path)
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return not _is_animated_png(path)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP" or head[:4] in (b"II*\0", b"MM\0*"):
        return True
    if head[4:8] == b"ftyp":
        return head[8:12] in (b"avif", b"avis", b"mif1", b"msf1") and _many(path) > 1
    film = head[:4] in (b"\x1aE\xdf\xa3", b"OggS", b"GIF8", b"FLV\x01", b"RIFF")
    return path.suffix.lower() in IMAGE_SUFFIXES and not film


def open_pictures(path: Path) -> ImageSequence | PictureFile:
    """The reader for a folder of pictures or a picture file.

    Raises:
        UnreadableVideo: no picture, or one that can't be decoded.
        MissingDependency: several pictures in one file, and Pillow is missing.
    """
    if path.is_file() and _has_many(path):
        return PictureFile(path)
    return ImageSequence(path)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""


def _is_animated_png(path: Path) -> bool:
    """Whether a chunk of a PNG says that it has several frames; it comes before the first picture."""
    with path.open("rb") as file:
        file.seek(8)
        while len(chunk := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", chunk)
            if name == b"acTL":
                return struct.unpack(">I", file.read(4))[0] > 1
            if name in (b"IDAT", b"IEND"):
                return False
            file.seek(length + 4, 1)
    return False


def _has_many(path: Path) -> bool:
    head = _head(path)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return head[12:16] == b"VP8X" and bool(head[20] & 2)
    if head[:4] in (b"II*\0", b"MM\0*"):
        return _many(path) > 1
    return head[4:8] == b"ftyp"


def _many(path: Path) -> int:
    """Pictures in a file, by Pillow; 1 where it doesn't know the kind."""
    try:
        from PIL import Image

        with Image.open(path) as file:
            return getattr(file, "n_frames", 1)
    except (ImportError, OSError, ValueError, SyntaxError):
        return 1


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
            kind="animation",
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
