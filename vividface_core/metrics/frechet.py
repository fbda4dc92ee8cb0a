"""The Fréchet distance between two sets of features, each taken as a Gaussian, in memory that doesn't grow with them.

    d² = |μ₁ − μ₂|² + Tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½)        (Dowson and Landau 1982)

Scatter matrices are kept as a square root R, RᵀR = Σ (x − μ)(x − μ)ᵀ, with at most 2 d rows. So a set of fewer features
than dimensions, whose covariance has no full rank, is as exact as any, and Tr (Σ₁ Σ₂)^½ is the sum of the singular
values of R₁ R₂ᵀ: no root is taken of a matrix that isn't quite positive.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Moments:
    """Number, mean and scatter of features, in float64.

    Attributes:
        count: of features.
        mean: ``[d]``.
        root: ``[r, d]`` with r ≤ 2 d; ``root.T @ root`` is the scatter.
    """

    def __init__(self, rows: np.ndarray) -> None:
        """Of features ``[n, d]``; n may be 0."""
        rows = np.asarray(rows, np.float64)
        self.count, width = rows.shape
        self.mean = rows.mean(0) if self.count else np.zeros(width)
        self.root = _short(rows - self.mean if self.count > 1 else np.zeros((0, width)))

    def add(self, rows: np.ndarray) -> None:
        """Take further features, ``[n, d]``."""
        self.merge(Moments(rows))

    def merge(self, other: Moments) -> None:
        """Take another set's (Chan et al. 1979)."""
        if not other.count:
            return
        count, between = self.count + other.count, other.mean - self.mean
        weight = np.sqrt(self.count * other.count / count)
        steps = [weight * between[None]] if self.count else []
        self.root = _short(np.concatenate([self.root, other.root, *steps]))
        self.mean = self.mean + between * (other.count / count)
        self.count = count

    @property
    def covariance(self) -> np.ndarray:
        """``[d, d]``, divided by ``count − 1``; zero with fewer than two features."""
        return self.root.T @ self.root / max(self.count - 1, 1)


def merged(parts: Sequence[Moments]) -> Moments:
    """Moments of all of ``parts`` together, at least one; they stay as they are."""
    whole = Moments(np.zeros((0, len(parts[0].mean))))
    for part in parts:
        whole.merge(part)
    return whole


def frechet_distance(one: Moments, other: Moments) -> float:
    """The squared Fréchet distance d² of two sets, each of at least one feature; with one, its covariance is zero."""
    roots = [part.root / np.sqrt(max(part.count - 1, 1)) for part in (one, other)]
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum() if all(map(len, roots)) else 0.0
    spread = sum(np.square(root).sum() for root in roots)
    # Of equal sets rounding leaves a little, perhaps below zero.
    return max(0.0, float(np.square(one.mean - other.mean).sum() + spread - 2 * shared))


def _short(root: np.ndarray) -> np.ndarray:
    return np.linalg.qr(root, mode="r") if len(root) > 2 * root.shape[1] else root
