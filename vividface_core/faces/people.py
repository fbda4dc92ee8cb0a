"""Who is who over the cuts of a film: the tracks of all shots, gathered into people by what their faces look like.

Tracks are joined by average linkage: the two groups whose tracks are most alike on average become one, again and again,
until none are more alike than the threshold. Two faces that are seen at one time are two people, however alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vividface_core.faces.track import FaceTrack

SAME_OVER_CUTS = 0.4
"""Mean likeness (cosine) of two groups of tracks from which they are one person's."""


@dataclass(frozen=True)
class Person:
    """One person of a film.

    Attributes:
        number: from 1; who is seen longest comes first.
        tracks: in the order of time, each with this number as its ``person``.
    """

    number: int
    tracks: tuple[FaceTrack, ...]

    @property
    def frames(self) -> int:
        """Frames in which the person's face is followed."""
        return sum(len(track.boxes) for track in self.tracks)

    @property
    def size(self) -> float:
        """Shorter side of the face's box in pixels, median of all frames."""
        return float(np.median(np.concatenate([track.sizes for track in self.tracks])))

    def likeness(self, other: Person) -> float | None:
        """Mean cosine of the looks of both people's tracks, by their frames, −1…1; ``None``: not known of one."""
        (mine, ours), (theirs, others) = _sum(self.tracks), _sum(other.tracks)
        return float(mine @ theirs) / (ours * others) if ours and others else None


def find_people(
    shots: Sequence[Sequence[FaceTrack]], threshold: float = SAME_OVER_CUTS
) -> tuple[list[list[FaceTrack]], list[Person]]:
    """Number the people of a film.

    Args:
        shots: the tracks of each shot, as :meth:`vividface_core.faces.track.Tracker.finish` gives them: those that it
            takes for one person's stay together.
        threshold: least mean likeness of one person's groups of tracks.

    Returns:
        The same tracks, ``person`` being the person's number in the film, and the people by that number. A track whose
        looks aren't known is of a person of its own.
    """
    groups: dict[tuple[int, int], list[FaceTrack]] = {}
    for number, tracks in enumerate(shots):
        for track in tracks:
            groups.setdefault((number, track.person), []).append(track)
    names = list(groups)
    clusters = _gathered([groups[name] for name in names], threshold)
    members = [sorted(names[at] for at in cluster) for cluster in clusters]

    def rank(cluster: list[tuple[int, int]]) -> tuple[int, tuple[int, int]]:
        return -sum(len(track.boxes) for name in cluster for track in groups[name]), cluster[0]

    members.sort(key=rank)
    numbers = {name: number for number, cluster in enumerate(members, 1) for name in cluster}
    renumbered = [
        [replace(track, person=numbers[shot, track.person]) for track in tracks] for shot, tracks in enumerate(shots)
    ]
    by_person: dict[int, list[FaceTrack]] = {number: [] for number in range(1, len(members) + 1)}
    for track in sorted((track for tracks in renumbered for track in tracks), key=lambda track: track.first):
        by_person[track.person].append(track)
    return renumbered, [Person(number, tuple(tracks)) for number, tracks in by_person.items()]


def _gathered(groups: list[list[FaceTrack]], threshold: float) -> list[list[int]]:
    """Places of the groups that are one person's, each place once."""
    clusters = {at: [at] for at in range(len(groups))}
    sums = [_sum(group) for group in groups]
    weights = np.array([weight for _, weight in sums])
    known = [at for at, weight in enumerate(weights) if weight]
    if not known:
        return list(clusters.values())
    looks = np.stack([sums[at][0] / weights[at] for at in known])
    alike = np.full((len(groups), len(groups)), -np.inf)
    alike[np.ix_(known, known)] = looks @ looks.T
    alike[_apart(groups)] = -np.inf
    while True:
        one, other = np.unravel_index(int(alike.argmax()), alike.shape)
        if not alike[one, other] >= threshold:
            return list(clusters.values())
        never = np.isneginf(alike[one]) | np.isneginf(alike[other])
        # The mean over all pairs of the joined groups' frames.
        joined = (weights[one] * alike[one] + weights[other] * alike[other]) / (weights[one] + weights[other])
        alike[one] = alike[:, one] = np.where(never, -np.inf, joined)
        alike[other] = alike[:, other] = -np.inf
        weights[one] += weights[other]
        clusters[int(one)] += clusters.pop(int(other))


def _sum(tracks: Sequence[FaceTrack]) -> tuple[np.ndarray, float]:
    """Sum of the looks of all frames, and their number; a track without looks counts nothing."""
    known = [(track.embedding, len(track.boxes)) for track in tracks if track.embedding is not None]
    total = sum(frames for _, frames in known)
    return sum((frames * vector.astype(np.float64) for vector, frames in known), np.zeros(1)), float(total)


def _apart(groups: list[list[FaceTrack]]) -> np.ndarray:
    """Which pairs are two people for sure (seen in one frame), or one group and itself: bool ``[N, N]``."""
    tracks = [(at, track.first, track.last) for at, group in enumerate(groups) for track in group]
    apart = np.eye(len(groups), dtype=bool)
    tracks.sort(key=lambda one: one[1])
    for place, (at, _, last) in enumerate(tracks):
        for other, first, _ in tracks[place + 1 :]:
            if first >= last:
                break
            apart[at, other] = apart[other, at] = True
    return apart
