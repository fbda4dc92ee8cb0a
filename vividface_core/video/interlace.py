"""Fields: which come first, whether they really differ in time, and how one frame is made of two."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np

from vividface_core.video.frame import Frame
from vividface_core.video.pixel_formats import layout, planes

FIRST = {"tff": "top field first", "bff": "bottom field first"}
"""Orders of fields as ffmpeg names them, and in words."""
_COMB = 5
"""Levels (of 256) by which a line must differ from both its neighbours, on the same side, to be a comb's tooth."""
_SHARE = 0.0005
"""Of all samples: fewer teeth than this are noise."""
_MORE = 1.25
"""Times as many teeth between the fields as within one. Natural pictures of one moment have 0.8 times as many at most,
fields of a slow pan twice as many."""


def field_order(decoded: av.VideoFrame) -> str | None:
    """``tff``, ``bff``, or ``None`` for a frame that is not marked as interlaced."""
    if not decoded.interlaced_frame:
        return None
    graph = _graph(decoded, ("select", "eq(interlace_type\\,TOPFIRST)"))
    graph.push(decoded)
    try:
        graph.vpull()
    except (av.error.BlockingIOError, av.error.EOFError):
        return "bff"
    return "tff"


def is_combed(native: av.VideoFrame) -> bool:
    """Whether the two fields of a planar frame show different moments.

    A line that differs from both its neighbours in the same direction is a tooth of a comb. Fine detail has such lines
    too, but among the lines of one field as well.
    """
    shape = layout(native.format.name)
    luma = planes(native)[0].astype(np.int32)
    step = _COMB << (shape.depth - 8)
    between, within = _teeth(luma, 1, step), _teeth(luma, 2, step)
    return between > _MORE * within + _SHARE * luma.size


def _teeth(luma: np.ndarray, distance: int, step: int) -> int:
    middle = luma[distance:-distance]
    above, below = middle - luma[: -2 * distance], middle - luma[2 * distance :]
    return int((((above > step) & (below > step)) | ((above < -step) & (below < -step))).sum())


class Deinterlacer:
    """Makes whole frames of fields by ffmpeg's own filter: as many frames as there were, at their times.

    Frames that aren't marked as interlaced pass unchanged.
    """

    FILTER = "bwdif" if "bwdif" in av.filter.filters_available else "yadif"

    def __init__(self, order: str) -> None:
        self._marker = FieldMarker(order)
        self._graph: av.filter.Graph | None = None
        self._waiting: deque[Frame] = deque()

    def frames(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The same frames, without combs. A frame is made of its neighbours too, so the last one comes at the end."""
        for number, frame in enumerate(frames):
            native = self._marker.mark(frame.native, frame.interlaced)
            native.pts, native.time_base = number, Fraction(1, 1000)
            if self._graph is None:
                self._graph = _graph(native, (self.FILTER, "mode=send_frame:parity=auto:deint=interlaced"))
            self._waiting.append(frame)
            self._graph.push(native)
            yield from self._ready(self._graph)
        if self._graph is not None:
            self._graph.push(None)
            yield from self._ready(self._graph)

    def _ready(self, graph: av.filter.Graph) -> Iterator[Frame]:
        while True:
            try:
                native = graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            yield replace(self._waiting.popleft(), native=native, interlaced=False)


class FieldMarker:
    """Marks frames as interlaced, which encoders heed, without a change of their samples."""

    def __init__(self, order: str) -> None:
        self._order = order
        self._graphs: dict[tuple, av.filter.Graph] = {}

    def mark(self, native: av.VideoFrame, interlaced: bool) -> av.VideoFrame:
        """The same samples in a frame with the mark, or without."""
        key = (native.width, native.height, native.format.name, interlaced)
        if key not in self._graphs:
            self._graphs[key] = _graph(native, ("setfield", self._order if interlaced else "prog"))
        self._graphs[key].push(native)
        return self._graphs[key].vpull()


def _graph(like: av.VideoFrame, *filters: tuple[str, str]) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add(
        "buffer",
        f"video_size={like.width}x{like.height}:pix_fmt={like.format.name}:time_base=1/1000:pixel_aspect=1/1",
    )
    chain = [source, *(graph.add(name, arguments) for name, arguments in filters), graph.add("buffersink")]
    graph.link_nodes(*chain)
    graph.configure()
    return graph
