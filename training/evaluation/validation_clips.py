"""Clips of one's own to decide by: large faces out of the part of the training material that is kept from training.

What is tuned is tuned on these; the people of :mod:`training.evaluation.held_out` are only reported on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from training.data.people import LARGE
from training.data.random_clips import Material
from training.data.synthetic_motion import Move, cut
from vividface_core.errors import InvalidOption, MissingWeights
from vividface_core.faces.detect import FaceDetector


@dataclass(frozen=True)
class ValidationClip:
    """The largest face of a clip of the prepared material; a still is set in motion."""

    name: str
    person: str
    key: str
    material: Material

    def cut(self, frames: int, size: int, detector: FaceDetector) -> Tensor:
        """The face as the pipeline crops it: ``[frames, 3, size, size]``, RGB, 0…1; the same in every run.

        Raises:
            InvalidOption: the clip is shorter.
        """
        stored = self.material.clip(self.key)
        still = len(stored) == 1
        if not still and frames > len(stored):
            raise InvalidOption(f"{self.name} has {len(stored)} frames; measure {len(stored)} or fewer.")
        x, y, side = max(self.material.faces[self.key], key=lambda crop: crop[2])
        draw = np.random.default_rng((5, int(self.key)))
        move = Move.sample(frames, np.array([x, y]), side, 0.4 if still else 0.0, draw)
        pictures = (stored if still else stored[:frames]).permute(0, 3, 1, 2).float() / 255
        return cut(pictures, move.grid(size, *pictures.shape[2:]), side).clamp(0, 1)


def validation_clips(folder: Path) -> list[ValidationClip]:
    """All of a prepared folder whose face crop is at least 160 pixels wide, in the order of their keys.

    Raises:
        MissingWeights: the folder isn't prepared, or there is no such clip.
    """
    material = Material(folder)
    clips = [
        ValidationClip(f"{Path(material.origin[key].get('file', key)).stem}@{key}", material.groups[key], key, material)
        for key in sorted(material.held_back)
        if any(crop[2] >= LARGE for crop in material.faces.get(key, ()))
    ]
    if not clips:
        raise MissingWeights(
            f"{folder} keeps no clip with a face of {LARGE} pixels from training; run: "
            f"python -m training.nano.find_faces {folder}"
        )
    return clips
