"""Pixel formats: how the samples of a frame lie in memory.

Inside this package every frame is planar, little-endian and named without range (``yuv420p``, never ``yuvj420p``,
``nv12`` or ``rgb24``), so that one sample of one component has one place in one plane. :func:`canonical` brings
whatever a decoder delivers into such a format without touching a sample's value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import av
import numpy as np

_REPACKED = {
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "nv42": "yuv444p",
    "yuyv422": "yuv422p",
    "uyvy422": "yuv422p",
    "yvyu422": "yuv422p",
    "uyyvyy411": "yuv411p",
    "p010le": "yuv420p10le",
    "p010be": "yuv420p10le",
    "p210le": "yuv422p10le",
    "y210le": "yuv422p10le",
    "p012le": "yuv420p12le",
    "p016le": "yuv420p16le",
    "p216le": "yuv422p16le",
    "p416le": "yuv444p16le",
    "rgb24": "gbrp",
    "bgr24": "gbrp",
    "rgb0": "gbrp",
    "bgr0": "gbrp",
    "0rgb": "gbrp",
    "0bgr": "gbrp",
    "rgba": "gbrap",
    "bgra": "gbrap",
    "argb": "gbrap",
    "abgr": "gbrap",
    "rgb48le": "gbrp16le",
    "rgb48be": "gbrp16le",
    "bgr48le": "gbrp16le",
    "bgr48be": "gbrp16le",
    "rgba64le": "gbrap16le",
    "rgba64be": "gbrap16le",
    "bgra64le": "gbrap16le",
    "bgra64be": "gbrap16le",
    "pal8": "gbrap",
    "monob": "gray",
    "monow": "gray",
    "ya8": "gbrap",
    "ya16le": "gbrap16le",
    "ya16be": "gbrap16le",
    "x2rgb10le": "gbrp10le",
    "x2bgr10le": "gbrp10le",
    "rgb8": "gbrp",
    "bgr8": "gbrp",
    "rgb565le": "gbrp",
    "rgb555le": "gbrp",
}
"""Packed, semi-planar and palette formats, and the planar one that holds the same values."""


@dataclass(frozen=True)
class Layout:
    """A planar format taken apart.

    Attributes:
        family: ``yuv``, ``rgb`` (planes in the order G, B, R) or ``gray``.
        depth: bits a sample.
        log2_w, log2_h: a chroma sample covers ``2**log2_w`` by ``2**log2_h`` luma samples.
    """

    name: str
    family: str
    depth: int
    log2_w: int
    log2_h: int
    alpha: bool

    @property
    def color_planes(self) -> int:
        """Number of planes without alpha."""
        return 1 if self.family == "gray" else 3

    @property
    def dtype(self) -> type[np.generic]:
        return np.uint8 if self.depth == 8 else np.uint16

    @property
    def peak(self) -> int:
        """Largest code value."""
        return (1 << self.depth) - 1

    def is_chroma(self, plane: int) -> bool:
        return self.family == "yuv" and plane in (1, 2)

    def plane_size(self, plane: int, width: int, height: int) -> tuple[int, int]:
        """Width and height of a plane; chroma is rounded up, so that an odd picture is covered whole."""
        if not self.is_chroma(plane):
            return width, height
        return -(-width >> self.log2_w), -(-height >> self.log2_h)


def layout(name: str) -> Layout:
    """The layout of a planar integer format.

    Raises:
        ValueError: ``name`` is another format.
    """
    found = _layout(name)
    if found is None:
        raise ValueError(f"{name} is no planar integer format")
    return found


@lru_cache(maxsize=256)
def _layout(name: str) -> Layout | None:
    if name.startswith("yuvj") or name in _REPACKED:
        return None
    shape = re.fullmatch(r"(yuva?|gbra?p|gray)(4\d\d)?p?(\d+le)?", name)
    if shape is None:
        return None
    format = av.VideoFormat(name, 16, 16)
    parts = format.components
    family = next(family for start, family in (("y", "yuv"), ("gb", "rgb"), ("gr", "gray")) if name.startswith(start))
    sub_w, sub_h = (16 // parts[1].width, 16 // parts[1].height) if family == "yuv" else (1, 1)
    return Layout(
        name, family, parts[0].bits, sub_w.bit_length() - 1, sub_h.bit_length() - 1, any(p.is_alpha for p in parts)
    )


@lru_cache(maxsize=256)
def canonical_name(name: str) -> str | None:
    """The planar format that holds the same values as ``name``, or ``None`` if there is none."""
    name = name.replace("yuvj", "yuv")
    if _layout(name) is not None:
        return name
    if name in _REPACKED:
        return _REPACKED[name]
    little = re.sub("be$", "le", name)
    return little if _layout(little) is not None else None


def canonical(frame: av.VideoFrame) -> av.VideoFrame | None:
    """The same samples in a planar format; the very same object if it is planar already.

    Returns:
        ``None`` where no integer planar format holds the values (float pictures, Bayer patterns, hardware frames).
    """
    name = frame.format.name
    target = canonical_name(name)
    if target is None or target == name:
        return frame if target else None
    if name.startswith("yuvj"):
        return with_planes(frame, target, planes(frame))
    # Same matrix, same range, no chroma resampling: swscale only moves samples to other places here.
    return _carry_time(frame.reformat(format=target), frame)


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """Views on a planar frame's samples, one ``[height, width]`` array a plane, in the format's own order."""
    shape = layout(frame.format.name.replace("yuvj", "yuv"))
    views = []
    for number, plane in enumerate(frame.planes):
        width, height = shape.plane_size(number, frame.width, frame.height)
        buffer: Any = plane  # is one, which PyAV's stubs don't say
        rows = np.frombuffer(buffer, dtype=shape.dtype).reshape(-1, plane.line_size // np.dtype(shape.dtype).itemsize)
        views.append(rows[:height, :width])
    return views


def with_planes(like: av.VideoFrame, format: str, samples: list[np.ndarray]) -> av.VideoFrame:
    """A new frame of planar ``format`` with copies of ``samples``, and size and time of ``like``."""
    height, width = samples[0].shape
    frame = av.VideoFrame(width, height, format)
    for target, source in zip(planes(frame), samples, strict=True):
        np.copyto(target, source)
    return _carry_time(frame, like)


def _carry_time(frame: av.VideoFrame, like: av.VideoFrame) -> av.VideoFrame:
    frame.pts = like.pts
    if like.time_base is not None:  # frames that a decoder holds until the end come without
        frame.time_base = like.time_base
    return frame
