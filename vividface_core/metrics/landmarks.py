"""AKD and TLME: whether a face's 478 points lie where the truth's do, and move as they do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vividface_core.faces.face_mesh import PRESENT, load_mesher
from vividface_core.metrics.metric import Chunk, ClipFacts, ClipResult, FrameMeter, Metric, MetricContext, Side
from vividface_core.runtime.wording import counted

LACKING = "no face mesh was found"


def mesh_points(context: MetricContext, chunk: Chunk, side: Side) -> np.ndarray:
    """The measured face's points ``[n, 478, 2]``, x by the picture's width and y by its height, 0…1; NaN where the
    face, or its mesh, isn't found."""
    return chunk.once(f"mesh of {side}", lambda: _find(context, chunk, side))


def _find(context: MetricContext, chunk: Chunk, side: Side) -> np.ndarray:
    mesher = context.once("face mesher", lambda: load_mesher(context.device))
    frames = chunk.frames(side)
    points, presence = mesher.landmarks(frames, chunk.landmarks(side))
    points[presence < PRESENT] = np.nan
    return points[..., :2].astype(np.float64) / (frames.shape[-1], frames.shape[-2])


def distance(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mean Euclidean distance ``[n]`` of points ``[n, k, 2]``; NaN where any of them is."""
    return np.linalg.norm(points - others, axis=-1).mean(-1)


class TlmeMeter:
    """TLME of a clip; the first frame has none.

    Args:
        find: points ``[n, k, 2]`` of a chunk's side.
    """

    def __init__(self, find: Callable[[Chunk, Side], np.ndarray]) -> None:
        self._find = find
        self._last: dict[Side, np.ndarray] = {}
        self._total, self._count, self._without = 0.0, 0, 0

    def update(self, chunk: Chunk) -> list[float]:
        moves = [self._moves(side, self._find(chunk, side)) for side in chunk.sides]
        # Without a truth, every move counts: as if the face should have stood still.
        values = distance(moves[0], moves[1] if len(moves) > 1 else np.zeros_like(moves[0]))
        known = values[~np.isnan(values)]
        self._total += float(known.sum())
        self._count += len(known)
        self._without += len(values) - len(known) - (chunk.first == 0)
        return values.tolist()

    def _moves(self, side: Side, points: np.ndarray) -> np.ndarray:
        last = self._last.get(side, np.full_like(points[:1], np.nan))
        self._last[side] = points[-1:]
        return np.diff(np.concatenate([last, points]), axis=0)

    def compute(self) -> ClipResult:
        notes = (f"{LACKING} in {counted(self._without, 'frame')} or in those before them",) if self._without else ()
        return ClipResult(self._total / self._count if self._count else float("nan"), notes)


def _akd(context: MetricContext, clip: ClipFacts) -> FrameMeter:
    return FrameMeter(
        lambda c: distance(mesh_points(context, c, "output"), mesh_points(context, c, "reference")), LACKING
    )


def _tlme(context: MetricContext, clip: ClipFacts) -> TlmeMeter:
    return TlmeMeter(lambda chunk, side: mesh_points(context, chunk, side))


_MESH = (
    "478 points of MediaPipe's FaceMesh with attention in each frame by itself (its short-range detector's crop; in a "
    "window around the face if that takes less than a sixth of the frame), x by the frame's width and y by its height"
)
ENTRIES = (
    Metric(
        "akd",
        "AKD",
        False,
        "needed",
        f"{_MESH}; mean Euclidean distance of output and truth over the points, mean over frames, then over clips. "
        "The papers' frames are face crops of 512×512; the less of the frame a face takes, the smaller the figure.",
        _akd,
        display_scale=1000,
        digits=2,
    ),
    Metric(
        "tlme",
        "TLME",
        False,
        "used",
        "Ours; the papers' formula isn't public. "
        f"{_MESH}. With a truth: mean over the points of the length of (output's move since the frame before − truth's "
        "move); without one, of the output's move itself, which a moving head makes larger too. Mean over frames but "
        "the first, then over clips; a cut counts as a move.",
        _tlme,
        display_scale=1000,
        digits=2,
    ),
)
