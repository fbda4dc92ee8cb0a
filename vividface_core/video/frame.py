"""One frame: its place in the video and its samples as they were decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import av
import numpy as np
import torch
from torch import Tensor

from vividface_core.video.colorspace import FILTER_REACH, from_rgb, is_neutral, to_rgb
from vividface_core.video.info import ColorInfo
from vividface_core.video.orientation import stored, upright
from vividface_core.video.pixel_formats import layout, planes, with_planes


@dataclass(frozen=True)
class Frame:
    """One frame of a video.

    Attributes:
        index: number within the file, from 0.
        pts: time of display, in the video's ``time_base``.
        duration: in the video's ``time_base``; 0 if unknown.
        native: the samples as decoded (8 to 16 bit, YUV, RGB or grey; planar). Never changed in place.
        color: how to read those samples.
        rotation: degrees, counter-clockwise, that bring the samples upright; a multiple of 90.
        mirrored: the samples are mirrored, left and right, before they are turned.
        interlaced: the file marks it as made of two fields.
    """

    index: int
    pts: int
    duration: int
    native: av.VideoFrame
    color: ColorInfo
    rotation: int = 0
    mirrored: bool = False
    interlaced: bool = False

    @property
    def width(self) -> int:
        """Of the samples as stored, like ``height``."""
        return self.native.width

    @property
    def height(self) -> int:
        return self.native.height

    def nbytes(self) -> int:
        """What its samples take in memory."""
        return sum(plane.buffer_size for plane in self.native.planes)

    def rgb(self) -> Tensor:
        """``[3, H, W]`` float32, RGB, 0…1, upright as a player shows it: faces are looked for and restored so.

        Converted anew at each call (a frame holds its samples once).
        """
        return upright(to_rgb(self.native, self.color), self.mirrored, self.rotation, *_TORCH)

    def alpha(self) -> Tensor:
        """``[H, W]`` float32, opacity 0…1, upright; all 1 where the samples have none."""
        shape = layout(self.native.format.name)
        if not shape.alpha:
            opaque = torch.ones(self.height, self.width)
        else:
            opaque = torch.from_numpy(planes(self.native)[shape.color_planes].astype(np.float32)) / shape.peak
        return upright(opaque, self.mirrored, self.rotation, *_TORCH)

    def is_neutral(self) -> bool:
        """Whether the picture is black and white: no sample is farther from grey than coding leaves it."""
        return is_neutral(self.native)

    def with_rgb(self, rgb: Tensor, changed: Tensor | None) -> Frame:
        """A frame with other colours where ``changed``; all other samples stay the source's own, bit for bit.

        Args:
            rgb: ``[3, H, W]``, 0…1, upright as :meth:`rgb` gives it.
            changed: ``[H, W]`` bool; ``None`` = everywhere. A chroma sample changes with any of the pixels that it
                covers. Alpha never changes.
        """
        rgb = stored(rgb, self.mirrored, self.rotation, *_TORCH)
        changed = None if changed is None else stored(changed, self.mirrored, self.rotation, *_TORCH)
        size = (3, self.height, self.width)
        if tuple(rgb.shape) != size or (changed is not None and tuple(changed.shape) != size[1:]):
            given = None if changed is None else tuple(changed.shape)
            raise ValueError(f"the frame is {size}, but rgb is {tuple(rgb.shape)} and changed is {given}")
        mask = np.ones(size[1:], bool) if changed is None else changed.detach().cpu().numpy().astype(bool)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            return self
        native = with_planes(self.native, self.native.format.name, planes(self.native))
        self._overwrite(native, rgb, mask, (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1))
        return replace(self, native=native)

    def _overwrite(
        self, native: av.VideoFrame, rgb: Tensor, mask: np.ndarray, rows: tuple[int, int], columns: tuple[int, int]
    ) -> None:
        """Convert only the box around the change, grown by what the chroma filter sees."""
        shape = layout(native.format.name)
        cell_w, cell_h = 1 << shape.log2_w, 1 << shape.log2_h
        top, bottom = _grown(rows, cell_h, self.height)
        left, right = _grown(columns, cell_w, self.width)
        fresh = from_rgb(rgb[:, top:bottom, left:right], shape, self.color)
        inside = mask[top:bottom, left:right]
        for number, (target, source) in enumerate(zip(planes(native), fresh, strict=False)):
            chroma = shape.is_chroma(number)
            x, y = (left // cell_w, top // cell_h) if chroma else (left, top)
            where = _covering(inside, cell_w, cell_h) if chroma else inside
            height, width = source.shape
            np.copyto(target[y : y + height, x : x + width], source, where=where)


def _flip(picture: Tensor, axis: int) -> Tensor:
    return picture.flip(axis)


def _turn(picture: Tensor, quarters: int) -> Tensor:
    return torch.rot90(picture, quarters, (-2, -1))


_TORCH = (_flip, _turn)


def _grown(span: tuple[int, int], cell: int, limit: int) -> tuple[int, int]:
    margin = FILTER_REACH * cell
    first = max(0, span[0] - margin)
    return int(first // cell * cell), int(min(limit, -(-(span[1] + margin) // cell) * cell))


def _covering(mask: np.ndarray, cell_w: int, cell_h: int) -> np.ndarray:
    """For each chroma sample: does any luma sample under it change?"""
    height, width = mask.shape
    padded = np.pad(mask, ((0, -height % cell_h), (0, -width % cell_w)))
    return np.any(padded.reshape(padded.shape[0] // cell_h, cell_h, -1, cell_w), (1, 3))


def iter_chunks(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    """Lists of ``size`` frames, the last one possibly shorter."""
    if size < 1:
        raise ValueError(f"a chunk holds at least one frame, not {size}")
    chunk: list[Frame] = []
    for frame in frames:
        chunk.append(frame)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def from_tensor(rgb: Tensor, *, index: int = 0, pts: int = 0, duration: int = 0) -> Frame:
    """A frame made of ``[3, H, W]`` RGB (0…1), kept with 8 bits a channel."""
    shape = layout("gbrp")
    samples = from_rgb(rgb, shape, ColorInfo("gbr", "pc"))
    native = with_planes(av.VideoFrame(rgb.shape[2], rgb.shape[1], "gbrp"), "gbrp", samples)
    return Frame(index, pts, duration, native, ColorInfo("gbr", "pc"))


def stack_rgb(frames: Iterable[Frame]) -> Tensor:
    """``[T, 3, H, W]`` float32, RGB, 0…1."""
    return torch.stack([frame.rgb() for frame in frames])
