"""How a head is turned, by the points of its mesh or by its five landmarks."""

from __future__ import annotations

import numpy as np

PAIRS = ((33, 263), (133, 362), (61, 291), (50, 280), (127, 356), (234, 454), (172, 397), (54, 284))
"""Points of the mesh that lie opposite each other: outer and inner corners of the eyes, corners of the mouth, cheeks,
temples, ears, jaw, forehead."""
FOREHEAD, CHIN = 10, 152
"""Points of the midline; in MediaPipe's canonical face one is above the other within a degree."""
NOSE, LEFT_EYE, RIGHT_EYE = 1, 33, 263


def angles(points: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll ``[N, 3]`` in degrees of meshes ``[N, 478, 3]`` (x right, y down, z away from the camera).

    The head's right is the mean direction of :data:`PAIRS`, its down that from forehead to chin, made perpendicular;
    the rotation is R = R_z(roll) R_y(yaw) R_x(pitch). Positive: the nose to the right of the picture, the nose up, the
    head turned clockwise. The picture is taken for a parallel projection. NaN where the points are.
    """
    points = np.asarray(points, np.float64)
    starts, ends = np.array(PAIRS).T
    right = _unit((points[:, ends] - points[:, starts]).mean(1))
    down = points[:, CHIN] - points[:, FOREHEAD]
    down = _unit(down - (down * right).sum(1, keepdims=True) * right)
    away = np.cross(right, down)
    yaw = np.arcsin(np.clip(right[:, 2], -1, 1))
    pitch = -np.arctan2(down[:, 2], away[:, 2])
    roll = np.arctan2(right[:, 1], right[:, 0])
    return np.degrees(np.stack([yaw, pitch, roll], 1))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def nose_symmetry(landmarks: np.ndarray) -> np.ndarray:
    """``[N]``, 0…1: how nearly the nose is as far from one eye as from the other, by landmarks ``[N, 5, 2]``.

    BFVR-STC's training data leave out faces of less than 0.4 (theirs by the corners of the eyes of 68 landmarks).
    """
    points = np.asarray(landmarks, np.float64)
    away = np.linalg.norm(points[:, :2] - points[:, 2:3], axis=2)
    return away.min(1) / np.maximum(away.max(1), 1e-9)
