"""Which clips belong together, and which of them are kept from training."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence

import numpy as np

VALIDATION_SHARE = 25
"""Every so many-th clip or group of clips is kept from training."""
ALIKE = 0.6
"""Cosine of two face embeddings from which they count as one person. (Generated people look alike: at 0.4, where two
photographs of one person can stand, half of them would hang together as one.)"""


def grouped(origin: Mapping[str, Mapping[str, str]], looks: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The group of each clip, named by the file of its first clip.

    Clips are together that come of one file or of numbered variants of it (``name-1.webp``, ``name-2.webp``), of
    whatever edition of a package, and those that show one person.

    Args:
        origin: ``file`` of each clip.
        looks: unit vectors ``[N, 512]`` of the faces of those that show some.
    """
    parent = {key: key for key in origin}

    def head(key: str) -> str:
        while parent[key] != key:
            key = parent[key]
        return key

    def join(one: str, other: str) -> None:
        first, last = sorted((head(one), head(other)))
        parent[last] = first

    stems: dict[str, str] = {}
    for key in sorted(origin):
        join(key, stems.setdefault(_stem(origin[key].get("file", key)), key))
    owners = [key for key in sorted(looks) for _ in looks[key]]
    if owners:
        vectors = np.concatenate([looks[key] for key in sorted(looks)])
        for one, other in np.argwhere(np.triu(vectors @ vectors.T, 1) >= ALIKE):
            join(owners[one], owners[other])
    return {key: _stem(origin[head(key)].get("file", head(key))) for key in sorted(origin)}


def _stem(file: str) -> str:
    return re.sub(r"-\d+$", "", file.rsplit(".", 1)[0])


def held_back(
    groups: Mapping[str, str], faces: Mapping[str, Sequence[Sequence[float]]], moving: Container[str]
) -> set[str]:
    """The clips that are kept from training: whole groups, every 25th of each kind, in an order that the groups' names
    decide. Kinds are: a large face that moves, a large one in a still, a small face, none.

    Args:
        groups: group of each clip.
        faces: crops (x, y, side) of those with faces.
        moving: the clips with more than one frame.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for key, group in groups.items():
        members[group].append(key)
    kinds: dict[str, list[str]] = defaultdict(list)
    for group, keys in members.items():
        large = [key for key in keys if any(crop[2] >= LARGE for crop in faces.get(key, ()))]
        kind = "moving" if any(key in moving for key in large) else "still" if large else "small"
        kinds[kind if any(key in faces for key in keys) else "none"].append(group)
    chosen = [group for names in kinds.values() for group in sorted(names, key=_order)[::VALIDATION_SHARE]]
    return {key for group in chosen for key in members[group]}


LARGE = 160
"""Side of a face crop, in pixels, from which its detail is worth measuring."""


def _order(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
