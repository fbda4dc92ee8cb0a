"""A second, independent look at what the detector takes for a face.

Where a track is long, a false face betrays itself: it comes and goes. A single picture, or a clip of a few frames, has
no such vote, and detectors take folds of a suit or the spokes of a wheel for faces with probabilities over 0.9. The
network behind the face mesh was trained on other pictures to another end, and says of a crop whether it shows a face:
of such false faces under 0.2, of real ones over 0.95, small, blurred and noisy ones too.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from vividface_core.faces.embed import FaceEmbedder, load_embedder
from vividface_core.faces.face_mesh import MARGIN, PRESENT, FaceMesher, load_mesher

BOX = 2.1
"""Side of the box that the mesh's own detector would draw, in distances between eyes and mouth or between the eyes."""


def square_of(landmarks: np.ndarray) -> np.ndarray:
    """The crop ``[4]`` (middle x and y, side, turn in radians) that the mesh takes, by five landmarks ``[5, 2]``."""
    eyes, mouth, across = landmarks[:2].mean(0), landmarks[3:].mean(0), landmarks[1] - landmarks[0]
    side = MARGIN * BOX * max(np.linalg.norm(mouth - eyes), np.linalg.norm(across))
    return np.array([*landmarks.mean(0), max(side, 1.0), np.arctan2(across[1], across[0])])


class SecondLook:
    """Says how sure the mesh's network is that a face is where the detector saw one. Loaded when first asked."""

    def __init__(self, mesher: FaceMesher | None = None, embedder: FaceEmbedder | None = None) -> None:
        self._mesher, self._embedder = mesher, embedder

    def presence(self, rgb: Tensor, landmarks: np.ndarray) -> float:
        """0…1; below :data:`PRESENT` it is no face.

        Args:
            rgb: the frame ``[3, H, W]``, 0…1.
            landmarks: ``[5, 2]`` pixels, in the order of ``FaceDetection.landmarks``.
        """
        landmarks = np.asarray(landmarks, np.float64)
        if not np.isfinite(landmarks).all():
            return 0.0
        if self._mesher is None:
            self._mesher = load_mesher()
        return float(self._mesher.in_squares(rgb[None].cpu(), square_of(landmarks)[None])[1][0])

    def strength(self, rgb: Tensor, landmarks: np.ndarray) -> float:
        """How well the embedder knows the face, see :meth:`FaceEmbedder.strengths`; 0 where there is none. Tells a face
        that stands on its head, which a detector may take for an upright one, from the same face turned upright."""
        if self.presence(rgb, landmarks) < PRESENT:
            return 0.0
        if self._embedder is None:
            self._embedder = load_embedder()
        return float(self._embedder.strengths(rgb.cpu(), np.asarray(landmarks, np.float32)[None])[0])


def confirmed(presences: list[float]) -> bool:
    """Whether the looks at one face, by their median, say that it is one; no look is no objection."""
    return not presences or float(np.median(presences)) >= PRESENT
