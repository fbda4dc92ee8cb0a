"""What a metric is, what it is given, and what it gives back.

Frames pass once, chunk by chunk, through the meters of all chosen metrics, so a clip of any length is measured in
constant memory. What several metrics need (faces, embeddings, flow) is found once a chunk (:meth:`Chunk.once`), and
networks are loaded once a run (:meth:`MetricContext.once`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from vividface_core.metrics.weights import WeightFile, find, find_set
from vividface_core.runtime.wording import counted

T = TypeVar("T")
Side = Literal["output", "reference", "source"]


@dataclass(frozen=True)
class ClipFacts:
    """What is known of a clip before its first frame. ``frames`` is exact."""

    name: str
    frames: int
    width: int
    height: int
    fps: float
    has_reference: bool


class Chunk:
    """Consecutive frames of a clip, rounded to 8 bits as a file would hold them.

    Attributes:
        first: index of the first frame.
        output: what is judged, ``[n, 3, H, W]`` RGB 0…1, on the context's device.
        reference: the truth, same shape; ``None``: there is none.
        source: the degraded input, same shape; only to be looked at.
    """

    def __init__(
        self, first: int, output: Tensor, reference: Tensor | None, faces: Faces, source: Tensor | None = None
    ) -> None:
        self.first, self.output, self.reference, self.source = first, output, reference, source
        self._faces = faces
        self._known: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.output)

    @property
    def sides(self) -> tuple[Side, ...]:
        """What is there to be compared: ``output`` and, where there is one, ``reference``."""
        return ("output",) if self.reference is None else ("output", "reference")

    def frames(self, side: Side) -> Tensor:
        """``[n, 3, H, W]``; there must be such a side."""
        return getattr(self, side)

    def landmarks(self, side: Side) -> np.ndarray:
        """Five points of the one face that is measured, ``[n, 5, 2]`` pixels; NaN in frames where it wasn't found.

        It is the largest face of the reference (of the output, without one) and then the one nearest to where it was;
        in the output it is the face nearest to the reference's.
        """
        return self.once("landmarks", lambda: self._faces.find(self))[side]

    def once(self, key: str, make: Callable[[], T]) -> T:
        """What ``make()`` returns, asked once a chunk."""
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]


class Faces(Protocol):
    """Finds the measured face of a clip, chunk after chunk."""

    def find(self, chunk: Chunk) -> dict[str, np.ndarray]:
        """``[n, 5, 2]`` by side."""


class MetricContext:
    """What the metrics of a run share: the device, the places of weights, and networks that several of them use.

    Args:
        folders: where weights are looked for, before the usual places.
    """

    def __init__(self, device: torch.device | str = "cpu", folders: Sequence[Path] = ()) -> None:
        self.device, self.folders = torch.device(device), tuple(folders)
        self._known: dict[str, Any] = {}

    def path(self, file: WeightFile) -> Path:
        """Where a weight file lies.

        Raises:
            MissingWeights: nowhere; names the file, the folder and the address.
        """
        return find(file, self.folders)

    def paths(self, files: Sequence[WeightFile]) -> list[Path]:
        """Where a metric's files lie, or the one that was made in their stead.

        Raises:
            MissingWeights: as :meth:`path`.
        """
        return find_set(files, self.folders)

    def once(self, key: str, make: Callable[[], T]) -> T:
        """What ``make()`` returns, asked once a run; a failure is not remembered."""
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]


@dataclass(frozen=True)
class ClipResult:
    """A clip's figure.

    Attributes:
        value: NaN if the clip has none (no face was found, too short).
        notes: what a reader of the figure should know: frames left out, say.
        pooled: what the whole set's figure is made of, where it isn't the mean of the clips' (FVD).
    """

    value: float
    notes: tuple[str, ...] = ()
    pooled: Any = None


class Meter(Protocol):
    """Measures one clip."""

    def update(self, chunk: Chunk) -> Sequence[float]:
        """Take the next frames. Gives a figure a frame, NaN where a frame has none; empty: none has ever one."""

    def compute(self) -> ClipResult:
        """The clip's figure, after its last frame."""


class FrameMeter:
    """A metric of single frames; the clip's figure is their mean.

    Args:
        measure: figures of a chunk's frames, ``[n]``; NaN where a frame has none.
        lacking: what is missing in frames without a figure, for the note.
    """

    def __init__(self, measure: Callable[[Chunk], Any], lacking: str = "no face was found") -> None:
        self._measure, self._lacking = measure, lacking
        self._total, self._count, self._without = 0.0, 0, 0

    def update(self, chunk: Chunk) -> list[float]:
        values = np.asarray(torch.as_tensor(self._measure(chunk), dtype=torch.float64).cpu())
        known = values[~np.isnan(values)]
        self._total += float(known.sum())
        self._count += len(known)
        self._without += len(values) - len(known)
        return values.tolist()

    def compute(self) -> ClipResult:
        notes = (f"{self._lacking} in {counted(self._without, 'frame')}",) if self._without else ()
        return ClipResult(self._total / self._count if self._count else float("nan"), notes)


def mean_of_clips(results: Sequence[ClipResult]) -> float:
    """The set's figure as the papers take it: each clip counts alike. NaN: no clip has one."""
    values = [result.value for result in results if not np.isnan(result.value)]
    return float(np.mean(values)) if values else float("nan")


@dataclass(frozen=True)
class Metric:
    """One entry of the registry.

    Attributes:
        name: what ``--only`` takes.
        title: in a table's head.
        higher_is_better: which way is up.
        reference: ``needed``, ``used`` (if there is one; the protocol says what it changes) or ``none``.
        protocol: everything that decides the figure, in a sentence or two: colour space, sizes, network, pooling, and
            whose definition it is.
        make: a meter for a clip. Loads what it needs, and raises ``MissingWeights`` or ``MissingDependency`` if it
            can't; then the metric counts as not measured and the others go on.
        weights: files that it reads, by which a user sees what to fetch.
        color: space of the values that it reads.
        display_scale: papers print it multiplied by this.
        digits: behind the point in tables, after ``display_scale``.
        default: whether it is measured unless others are named.
        aggregate: the set's figure out of the clips'.
    """

    name: str
    title: str
    higher_is_better: bool
    reference: Literal["needed", "used", "none"]
    protocol: str
    make: Callable[[MetricContext, ClipFacts], Meter]
    weights: tuple[WeightFile, ...] = ()
    color: str = "RGB"
    display_scale: float = 1.0
    digits: int = 4
    default: bool = True
    aggregate: Callable[[Sequence[ClipResult]], float] = field(default=mean_of_clips)

    @property
    def arrow(self) -> str:
        """↑ or ↓."""
        return "↑" if self.higher_is_better else "↓"
