"""A region of a shot (a tracked face, or the whole frame) restored in overlapping windows.

Frames are fed in order; crops wait until a window is full, the window is restored, and finished crops come out as
soon as no later window touches them. At most one window (one more for each that a restorer works on beside it) and
one overlap are held, however long the shot is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from vividface_core.faces.compose import VISIBLE, compose
from vividface_core.faces.crop import crop_clip, crop_points
from vividface_core.faces.identity_guard import IdentityGuard
from vividface_core.faces.masks import BlendMask, parse_turned
from vividface_core.faces.occluders import SteadyCover
from vividface_core.faces.parse import FaceParser
from vividface_core.faces.track import FaceTrack
from vividface_core.pipeline.progress import Unchanged
from vividface_core.restorers.base import Restorer
from vividface_core.restorers.windows import CrossFade, Window
from vividface_core.video.colorspace import without_color
from vividface_core.video.frame import Frame


class Region(Protocol):
    """A region of a shot that is restored as one temporal clip."""

    start: int
    stop: int
    turn: int
    """Quarter turns counter-clockwise that bring its crops upright, as restorers know faces."""

    def cut(self, index: int, rgb: Tensor) -> Tensor:
        """The crop ``[3, S, S]`` of frame ``index`` out of ``rgb`` ``[3, H, W]``."""

    def kept(self, clip: Tensor, restored: Tensor) -> Tensor:
        """What is kept of a restored window ``[T, 3, S, S]`` and cross-faded with its neighbours, ``[T, C, h, w]``:
        the restored crops themselves, or what :meth:`put` makes of them."""

    def mask(self, start: int, restored: Tensor) -> Tensor | None:
        """Blending mask ``[T, 1, S, S]`` for the frames from ``start``; ``None``: everywhere."""

    def put(
        self,
        index: int,
        rgb: Tensor,
        restored: Tensor,
        mask: Tensor | None,
        share: float,
        covered: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Blend ``share`` (0…1) of the restored crop into the frame, but for what is ``covered`` (of a face, as
        :meth:`SteadyCover.take` tells); returns it and a mask of changed pixels (``None``: all)."""


class FaceRegion:
    """A tracked face: a smooth square crop in, a feathered and colour-matched patch back.

    Args:
        scale: width and height of the frames that it is put into, over those of the frames that it is cut from;
            ``None``: they are the same frames.
    """

    def __init__(
        self,
        track: FaceTrack,
        size: int,
        parser: FaceParser,
        color: str,
        strength: float,
        scale: tuple[float, float] | None = None,
    ) -> None:
        self.track, self.size, self.parser, self.color, self.strength = track, size, parser, color, strength
        self._replaces, (across, down) = scale is not None, scale or (1.0, 1.0)
        self._places = track.crops * [across, down, (across + down) / 2]
        self.start, self.stop, self.turn = track.first, track.last, track.turn

    def cut(self, index: int, rgb: Tensor) -> Tensor:
        return crop_clip(rgb, self.track.crops[index - self.start], self.size)

    def kept(self, clip: Tensor, restored: Tensor) -> Tensor:
        return restored

    def mask(self, start: int, restored: Tensor) -> Tensor:
        frames = slice(start - self.start, start - self.start + len(restored))
        landmarks = crop_points(self.track.landmarks[frames], self.track.crops[frames], self.size)
        return parse_turned(self.parser, restored, landmarks, self.turn)

    def put(
        self,
        index: int,
        rgb: Tensor,
        restored: Tensor,
        mask: Tensor | None,
        share: float,
        covered: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        assert mask is not None  # its own, of mask()
        crop, strength = self._places[index - self.start], self.strength * share
        color, replace = self.color, self._replaces
        return compose(rgb, restored, mask, crop, color=color, strength=strength, replace=replace, covered=covered)


class WholeFrame:
    """Footage that is a face crop already: the papers' protocol, a direct bicubic resize to the model's shape."""

    def __init__(self, start: int, stop: int, shape: tuple[int, int], strength: float) -> None:
        self.start, self.stop, self.shape, self.strength, self.turn = start, stop, shape, strength, 0

    def cut(self, index: int, rgb: Tensor) -> Tensor:
        return _bicubic(rgb, self.shape)

    def kept(self, clip: Tensor, restored: Tensor) -> Tensor:
        return restored

    def mask(self, start: int, restored: Tensor) -> None:
        return None

    def put(
        self,
        index: int,
        rgb: Tensor,
        restored: Tensor,
        mask: Tensor | None,
        share: float,
        covered: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        height, width = rgb.shape[-2:]
        result = _bicubic(restored, (height, width)).clamp(0, 1)
        return torch.lerp(rgb, result, self.strength * share), None


def _bicubic(picture: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(picture.shape[-2:]) == size:
        return picture
    return F.interpolate(picture[None], size=size, mode="bicubic", align_corners=False)[0]


class RegionStream:
    """Feeds a region's frames to the restorer window by window.

    Args:
        region: what to restore.
        windows: the plan over the region's frames, counted from its start.
        restorer: on its device; clips go there and come back.
        begin: called with a window's length when it goes to the restorer; what it returns is called with the share
            done, and may raise to stop.
        guard: sees every finished crop before it is put back. One that blends holds a few frames more.
        cover: sees every crop before it was restored; what covers the face stays as it is. It holds a few frames more.
        exact: crops wait in fp32.
    """

    def __init__(
        self,
        region: Region,
        windows: list[Window],
        restorer: Restorer | Unchanged,
        begin: Callable[[int], Callable[[float], None]] | None = None,
        guard: IdentityGuard | None = None,
        cover: SteadyCover | None = None,
        *,
        exact: bool = False,
    ) -> None:
        self.region, self._windows, self._restorer, self._begin = region, windows, restorer, begin
        self.guard, self._cover, self._exact = guard, cover, exact
        self._fade = CrossFade(windows)
        self._waiting: dict[int, Tensor] = {}
        self._ready: dict[int, tuple[Tensor, Tensor | None]] = {}
        self._submitted: deque[Callable[[], Tensor]] = deque()
        self._next = 0

    def covers(self, index: int) -> bool:
        """Whether frame ``index`` shows this region."""
        return self.region.start <= index < self.region.stop

    def is_ready(self, index: int) -> bool:
        """Whether this region's part of frame ``index`` is restored."""
        if not self.covers(index):
            return True
        at = index - self.region.start
        return index in self._ready and all(one is None or one.knows(at) for one in (self.guard, self._cover))

    def feed(self, index: int, rgb: Tensor) -> None:
        """Add the next frame; a full window is restored."""
        at = index - self.region.start
        crop = self.region.cut(index, rgb)
        # Half precision keeps more than the 8 or 10 bits that the frame had and halves what waits.
        self._waiting[at] = crop if self._exact else crop.half()
        if self._next < len(self._windows) and at + 1 == self._windows[self._next].stop:
            self._submit(self._windows[self._next])
            ended = self._next == len(self._windows)
            while self._submitted and (ended or len(self._submitted) > self._restorer.parallel):
                self._take(self._submitted.popleft()().cpu())

    def _submit(self, window: Window) -> None:
        clip = torch.stack([self._waiting[at] for at in range(window.start, window.stop)]).float()
        if self.region.turn:
            clip = torch.rot90(clip, self.region.turn, (-2, -1))
        tick = self._begin(len(window)) if self._begin else None
        result = self._restorer.submit(clip, tick)

        def finished() -> Tensor:
            restored = result()
            if tick is not None:
                tick(1.0)
            restored = self.region.kept(clip, restored)
            # Even a turn by nothing would be a copy.
            return torch.rot90(restored, -self.region.turn, (-2, -1)) if self.region.turn else restored

        self._submitted.append(finished)
        self._next += 1

    def _take(self, restored: Tensor) -> None:
        first, finished = self._fade.push(restored)
        for at, crop in enumerate(finished, first):
            cut = self._waiting.pop(at)  # no later window needs what is finished
            if self.guard is not None:
                self.guard.look(cut.float(), crop)
            if self._cover is not None:
                self._cover.look(cut.float())
        first += self.region.start
        masks = self.region.mask(first, finished)
        for offset, crop in enumerate(finished):
            self._ready[first + offset] = (crop, None if masks is None else masks[offset])

    def apply(self, index: int, rgb: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compose the restored crop of frame ``index`` into ``rgb`` and drop it."""
        restored, mask = self._ready.pop(index)
        at = index - self.region.start
        share = 1.0 if self.guard is None else self.guard.take(at)
        covered = None if self._cover is None else self._cover.take(at)
        return self.region.put(index, rgb, restored, mask, share, covered)


def composed(
    pairs: Iterable[tuple[Frame, Frame]], streams: list[RegionStream], mask: BlendMask | None = None
) -> Iterator[Frame]:
    """Yield the second frame of every pair with all regions of the first one restored, in order; frames wait until
    their windows are done."""
    waiting: deque[Frame] = deque()
    for frame, canvas in pairs:
        waiting.append(canvas)
        covering = [stream for stream in streams if stream.covers(frame.index)]
        if covering:
            rgb = frame.rgb()
            for stream in covering:
                stream.feed(frame.index, rgb)
        while waiting and all(stream.is_ready(waiting[0].index) for stream in streams):
            yield _compose(waiting.popleft(), streams, mask)


def _compose(frame: Frame, streams: list[RegionStream], mask: BlendMask | None) -> Frame:
    covering = [stream for stream in streams if stream.covers(frame.index)]
    if not covering:
        return frame
    source: Tensor = frame.rgb()
    rgb = source
    changed: Tensor | None = torch.zeros(source.shape[-2:], dtype=torch.bool)
    for stream in covering:
        rgb, touched = stream.apply(frame.index, rgb)
        changed = None if touched is None or changed is None else changed | touched
    if mask is not None:
        shown = mask.at(frame.index, *source.shape[-2:])
        rgb = source.lerp(rgb, shown)
        changed = (shown > VISIBLE) if changed is None else changed & (shown > VISIBLE)
    if frame.is_neutral():
        rgb = without_color(rgb, frame.color.matrix)  # models tint what has no colour
    return frame.with_rgb(rgb, changed)
