"""Is the restored face still that of the person in the input? A strong prior may draw somebody else.

Two pictures of a face are compared by the direction of their embeddings (:mod:`vividface_core.faces.embed`), with the
input's landmarks in both. What an input is too blurred to tell, the comparison can't know either: it finds a face that
has become another one, not small drift, and it proves nobody's identity.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vividface_core.faces.crop import crop_points
from vividface_core.faces.embed import FaceEmbedder, align
from vividface_core.faces.track import FaceTrack

MODES = ("off", "warn", "blend")

THRESHOLD = 0.2
"""Least likeness (cosine) of a restored face to its input. Below lie nearly all faces of somebody else, and hardly any
of a heavily blurred input that was restored well: ``docs/identity_guard.md``."""

EVERY = 4
"""Frames from one look to the next: two embeddings a frame would cost a small restorer a seventh of its time."""

STRETCH = 8
"""Looks on end whose mean counts, about a second: a single frame may be unlucky."""

REACH = 6
"""How far a dip of the blend reaches ahead and back, in frames, and half the length of its slopes. More than
``EVERY``, so that a frame is held by the looks on both sides."""

STEPS = 6
"""Halvings in the search for the blend that a face bears."""

SHOWN_NOTICES = 8


@dataclass(frozen=True)
class TrackIdentity:
    """How like its input a track's restored face is, before any blending back.

    Attributes:
        shot: number of the shot, from 0.
        track: place of the face in its shot, as ``faces="index:…"`` counts, from 0.
        first, last: first frame of the track, and the frame after its last.
        looks: frames that were looked at.
        mean: cosine similarity, −1…1, mean of all looks.
        lowest: the lowest mean of :data:`STRETCH` looks on end; of all looks where there are fewer.
        worst_first, worst_last: frames of that stretch, as ``first`` and ``last``.
        share: mean share of the restoration that shows, 0…1; 1 unless the guard blends.
    """

    shot: int
    track: int
    first: int
    last: int
    looks: int
    mean: float
    lowest: float
    worst_first: int
    worst_last: int
    share: float = 1.0

    def warning(self, threshold: float, blends: bool) -> str | None:
        """A sentence for the user where the face is too unlike its input; ``None`` where it isn't."""
        if self.lowest >= threshold:
            return None
        all_of_it = self.mean < threshold
        first, last = (self.first, self.last) if all_of_it else (self.worst_first, self.worst_last)
        alike = max(0.0, self.mean if all_of_it else self.lowest)  # below 0 says no more than 0 does
        found = (
            f"Shot {self.shot + 1}, face {self.track}, frames {first} to {last - 1}: the restored face is only "
            f"{alike:.2f} like the input (threshold {threshold:g})"
        )
        if blends:
            return f"{found}, so it was blended back; of the whole track's restoration {self.share:.0%} shows."
        return (
            f"{found} and may show somebody else. Look at it; a lower strength or the identity guard's 'blend' keeps "
            "it nearer to the input."
        )


def warnings(figures: Sequence[TrackIdentity], threshold: float, blends: bool) -> list[str]:
    """The sentences of all tracks; of a long list the worst are told and the rest is counted."""
    bad = [figure for figure in figures if figure.lowest < threshold]
    worst = sorted(bad, key=lambda figure: figure.lowest)[:SHOWN_NOTICES]
    told = sorted(worst, key=lambda figure: (figure.shot, figure.track))
    lines = [line for figure in told if (line := figure.warning(threshold, blends)) is not None]
    if len(bad) > len(told):
        lines.append(f"{len(bad) - len(told)} more face tracks are below the identity threshold.")
    return lines


class IdentityGuard:
    """Looks at the crops of one track as they are finished, in order, and says how much of each may show.

    Memory doesn't grow with the track. What is said about a frame depends on the track and its crops alone, not on
    the pieces that they come in.

    Args:
        embedder: compares faces.
        track: where its face is; frames in which it wasn't found (score 0) aren't judged.
        size: side of the crops in pixels.
        threshold: least similarity, 0…1.
        blends: hold a face back that falls below the threshold. Without it every share is 1.
        strength: of the restoration; what is judged is what will show.
    """

    def __init__(
        self,
        embedder: FaceEmbedder,
        track: FaceTrack,
        size: int,
        *,
        threshold: float = THRESHOLD,
        blends: bool = False,
        strength: float = 1.0,
    ) -> None:
        self._embedder, self._track, self._size = embedder, track, size
        self._threshold, self._blends, self._strength = threshold, blends, strength
        self._frames = track.last - track.first
        self._seen = 0
        self._figures = _Running()
        self._bearable: dict[int, float] = {}
        self._last_bearable = 1.0
        self._shares = 0.0

    def look(self, cut: Tensor, restored: Tensor) -> None:
        """Take in the next frame of the track.

        Args:
            cut: ``[3, S, S]`` in 0…1, what went into the restorer.
            restored: ``[3, S, S]`` in 0…1, what came out.
        """
        at, self._seen = self._seen, self._seen + 1
        if at % EVERY:
            return
        if self._track.scores[at] > 0:
            faces = self._faces(at, cut, restored)
            source, alike = self._compare(faces)
            self._figures.add(at, alike)
            if self._blends:
                self._last_bearable = 1.0 if alike >= self._threshold else self._search(source, faces)
        if self._blends:
            # A face that is lost for a moment is held as it was last seen.
            self._bearable[at] = self._last_bearable

    def knows(self, at: int) -> bool:
        """Whether :meth:`take` can be asked for frame ``at`` of the track: it looks ahead where it blends."""
        return not self._blends or self._seen >= min(at + 2 * REACH + 1, self._frames)

    def take(self, at: int) -> float:
        """Share of the restoration that may show in frame ``at`` of the track, 0…1. Ask in order, once a frame."""
        if not self._blends:
            return 1.0
        share = self._share(at)
        self._shares += share
        for old in [look for look in self._bearable if look <= at - 2 * REACH]:
            del self._bearable[old]
        return share

    def figures(self, shot: int) -> TrackIdentity | None:
        """What was seen, once the track has passed; ``None`` if its face was never there to look at."""
        if not self._figures.looks:
            return None
        mean, lowest, since, until = self._figures.summary(self._frames)
        track, share = self._track, self._shares / self._frames if self._blends else 1.0
        first = track.first
        return TrackIdentity(
            shot, track.id, first, track.last, self._figures.looks, mean, lowest, first + since, first + until, share
        )

    def _faces(self, at: int, cut: Tensor, restored: Tensor) -> Tensor:
        """``[2, 3, 112, 112]``: the input's face and the one that would show, each at the same landmarks."""
        here = slice(at, at + 1)
        points = crop_points(self._track.landmarks[here], self._track.crops[here], self._size)
        shown = cut.lerp(restored.to(cut), self._strength).clamp(0, 1)
        return align(torch.cat([cut, shown]), points).unflatten(1, (2, 3))[0]

    def _compare(self, faces: Tensor) -> tuple[Tensor, float]:
        source, shown = self._embedder.vectors(faces)
        return source, float(source @ shown)

    def _search(self, source: Tensor, faces: Tensor) -> float:
        """The largest share at which the face is like enough, by halving; on the safe side."""
        low, high = 0.0, 1.0
        for _ in range(STEPS):
            middle = (low + high) / 2
            mixed = faces[0].lerp(faces[1], middle)[None]
            enough = float(source @ self._embedder.vectors(mixed)[0]) >= self._threshold
            low, high = (middle, high) if enough else (low, middle)
        return low

    def _share(self, at: int) -> float:
        """Minimum over ± ``REACH`` frames, then a Hann window of the same reach: smooth, and since every minimum under
        the window has frame ``at`` in its reach, never more than that frame bears."""
        total = weights = 0.0
        least = 1.0
        for near in range(max(0, at - REACH), min(self._frames, at + REACH + 1)):
            weight = math.cos(math.pi / 2 * (near - at) / (REACH + 1)) ** 2
            lowest = min(share for look, share in self._bearable.items() if abs(look - near) <= REACH)
            total, weights, least = total + weight * lowest, weights + weight, min(least, lowest)
        # Not left to rounding: where nothing is held back, nothing may change.
        return 1.0 if least == 1.0 else total / weights


class _Running:
    """Mean of all looks, and the lowest mean of a stretch of them."""

    def __init__(self) -> None:
        self.looks = 0
        self._total = 0.0
        self._recent: deque[tuple[int, float]] = deque(maxlen=STRETCH)
        self._lowest: tuple[float, int, int] | None = None

    def add(self, at: int, alike: float) -> None:
        self.looks, self._total = self.looks + 1, self._total + alike
        self._recent.append((at, alike))
        if len(self._recent) == STRETCH:
            mean = float(np.mean([value for _, value in self._recent]))
            if self._lowest is None or mean < self._lowest[0]:
                self._lowest = (mean, self._recent[0][0], at + 1)

    def summary(self, frames: int) -> tuple[float, float, int, int]:
        """Mean; the lowest stretch's mean, its first frame and the frame after its last."""
        mean = self._total / self.looks
        return (mean, *(self._lowest or (mean, 0, frames)))
