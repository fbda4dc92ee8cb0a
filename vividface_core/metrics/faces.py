"""The one face of a clip that face metrics look at, in its output and in its reference alike."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from vividface_core.faces.detect import FaceDetection, FaceDetector
from vividface_core.metrics.metric import Chunk, Side


class MeasuredFace:
    """Follows one person through a clip.

    The leading side (the reference; without one the output) has its largest face chosen, and from then on the one
    nearest to where it was last. In the other side the nearest to the leading one is taken, so that a group's people
    aren't mixed up.
    """

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._last: np.ndarray | None = None

    def find(self, chunk: Chunk) -> dict[str, np.ndarray]:
        """Landmarks ``[n, 5, 2]`` by side, NaN where there is no face."""
        leader: Side = "output" if chunk.reference is None else "reference"
        found: dict[str, np.ndarray] = {leader: self._follow(chunk.frames(leader))}
        if leader == "reference":
            found["output"] = self._beside(chunk.output, found[leader])
        return found

    def _follow(self, frames: Tensor) -> np.ndarray:
        points = np.full((len(frames), 5, 2), np.nan)
        for row, faces in zip(points, self._detector.detect(frames)):
            face = max(faces, key=_side, default=None) if self._last is None else _nearest(faces, self._last)
            if face is not None:
                row[:] = self._last = np.asarray(face.landmarks, np.float64)
        return points

    def _beside(self, frames: Tensor, leading: np.ndarray) -> np.ndarray:
        points = np.full((len(frames), 5, 2), np.nan)
        for row, faces, lead in zip(points, self._detector.detect(frames), leading):
            face = None if np.isnan(lead).any() else _nearest(faces, lead)
            if face is not None:
                row[:] = face.landmarks
        return points


def _side(face: FaceDetection) -> float:
    return float(min(face.box[2] - face.box[0], face.box[3] - face.box[1]))


def _nearest(faces: list[FaceDetection], points: np.ndarray) -> FaceDetection | None:
    """The face whose middle is nearest, if it is within a face's side; else it is somebody else."""
    centre = points.mean(0)
    near = min(faces, key=lambda face: np.linalg.norm(face.landmarks.mean(0) - centre), default=None)
    if near is None or np.linalg.norm(near.landmarks.mean(0) - centre) > max(_side(near), 1.0):
        return None
    return near
