"""How far a face is turned away, by its five landmarks alone."""

from __future__ import annotations

import numpy as np


def nose_symmetry(landmarks: np.ndarray) -> np.ndarray:
    """``[N]``, 0…1: how nearly the nose is as far from one eye as from the other, by landmarks ``[N, 5, 2]``.

    BFVR-STC's training data leave out faces of less than 0.4 (theirs by the corners of the eyes of 68 landmarks).
    """
    points = np.asarray(landmarks, np.float64)
    away = np.linalg.norm(points[:, :2] - points[:, 2:3], axis=2)
    return away.min(1) / np.maximum(away.max(1), 1e-9)
