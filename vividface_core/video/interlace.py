"""Fields: which come first, whether they really differ in time, and how one frame is made of two."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np

from vividface_core.video.frame import Frame
from vividface_core.video.pixel_formats import canonical, layout, planes

FIRST = {"tff": "top field first", "bff": "bottom field first"}
"""Orders of fields as ffmpeg names them, and in words."""
_COMB = 5
"""Levels (of 256) by which a line must differ from both its neighbours, on the same side, to be a comb's tooth."""
_SHARE = 0.0005
"""Of all samples: fewer teeth than this are noise."""
_MORE = 1.25
"""Times as many teeth between the fields as within one. Natural pictures of one moment have 0.8 times as many at most,
fields of a slow pan twice as many."""
_STILL = 0.005
"""Share of a frame; less isn't looked at by itself."""
_WHERE_IT_MOVES = 2.0
"""Times as many teeth, of the same area, where the picture moves as where it doesn't."""
_COLUMNS = 480
"""Columns of a frame that are looked at, at least; of larger frames every other one, or fewer."""
_COMBED_SHARE = 0.25
"""Of the frames of films that nothing marks as interlaced; less is an effect or an error. Films of 24 frames on tapes
of 30 have two in five."""


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
    luma, step = _luma(native)
    between, within = _teeth(luma, 1, step), _teeth(luma, 2, step)
    return between > _MORE * within + _SHARE * luma.size


def order_of_unmarked(places: Iterable[Iterable[av.VideoFrame]]) -> str | None:
    """Which field comes first in frames that are interlaced and aren't marked as such; ``None``: whole frames.

    Whether there are fields is told by combs where something moves: dithered pictures have such lines everywhere. Which
    is the earlier one, ffmpeg's filter for that judges by the frames before and after.

    Args:
        places: some frames in a row, from each of several places.
    """
    looked = combed = 0
    votes: Counter[str | None] = Counter()
    for frames in places:
        natives = list(_of_one_kind(frames))
        pairs = list(zip(natives, natives[1:]))
        looked += len(pairs)
        combed += (found := sum(_combs_where_it_moves(before, frame) for before, frame in pairs))
        if found:
            votes.update(_judged(natives))
    if not combed or combed < _COMBED_SHARE * looked:
        return None
    return "bff" if votes["bff"] > votes["tff"] else "tff"


def _of_one_kind(frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Planar frames of the size and format of the first one; none of RGB, which no camera with fields gave."""
    first = None
    for decoded in frames:
        native = canonical(decoded)
        if native is None:
            return
        kind = (native.width, native.height, native.format.name)
        first = first or kind
        if kind != first or layout(native.format.name).family == "rgb":
            return
        yield native


def _combs_where_it_moves(before: av.VideoFrame, frame: av.VideoFrame) -> bool:
    """Whether a frame is combed, and more so where it differs from the one before than elsewhere."""
    if not is_combed(frame):
        return False
    luma, step = _luma(frame)
    moves = np.abs(luma - _luma(before)[0])[1:-1] > step
    if moves.mean() < _STILL:
        return False
    teeth = _tooth_map(luma, 1, step)
    return (~moves).mean() < _STILL or teeth[moves].mean() > _WHERE_IT_MOVES * teeth[~moves].mean()


def _judged(natives: list[av.VideoFrame]) -> Iterator[str | None]:
    """The order of each frame in a row, by ffmpeg's filter."""
    graph = _graph(natives[0], ("setfield", "prog"), ("idet", ""))
    for number, native in enumerate(natives):
        native.pts, native.time_base = number, Fraction(1, 1000)
        graph.push(native)
    graph.push(None)
    while True:
        try:
            yield field_order(graph.vpull())
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def _luma(native: av.VideoFrame) -> tuple[np.ndarray, int]:
    """Luma, and the least difference that counts; of large frames not every column: combs are as wide as what moves."""
    columns = max(1, native.width // _COLUMNS)
    return planes(native)[0][:, ::columns].astype(np.int32), _COMB << (layout(native.format.name).depth - 8)


def _teeth(luma: np.ndarray, distance: int, step: int) -> int:
    return int(_tooth_map(luma, distance, step).sum())


def _tooth_map(luma: np.ndarray, distance: int, step: int) -> np.ndarray:
    middle = luma[distance:-distance]
    above, below = middle - luma[: -2 * distance], middle - luma[2 * distance :]
    return ((above > step) & (below > step)) | ((above < -step) & (below < -step))


class Deinterlacer:
    """Makes whole frames of fields by ffmpeg's own filter: as many frames as there were, at their times.

    Frames that aren't marked as interlaced pass unchanged.

    Args:
        order: ``tff`` or ``bff``.
        marked: false: no frame is marked, so all of them are taken for interlaced.
    """

    FILTER = "bwdif" if "bwdif" in av.filter.filters_available else "yadif"

    def __init__(self, order: str, *, marked: bool = True) -> None:
        self._marker, self._marked = FieldMarker(order), marked
        self._graph: av.filter.Graph | None = None
        self._waiting: deque[Frame] = deque()

    def frames(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The same frames, without combs. A frame is made of its neighbours too, so the last one comes at the end."""
        for number, frame in enumerate(frames):
            native = self._marker.mark(frame.native, frame.interlaced or not self._marked)
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
