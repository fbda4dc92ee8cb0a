"""The clip lengths that a system computes natively."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice


@dataclass(frozen=True)
class ClipLengths:
    """Lengths ``step · k + offset`` of at least one frame, k = 0, 1, 2 …

    Attributes:
        step: frames between two native lengths.
        offset: remainder of a native length, 0 … ``step`` − 1.

    Examples: ``ClipLengths(4, 1)`` 1, 5, 9 … (Wan); ``ClipLengths(2)`` 2, 4, 6 …; ``ClipLengths()`` any.
    """

    step: int = 1
    offset: int = 0

    def __post_init__(self) -> None:
        if self.step < 1 or not 0 <= self.offset < self.step:
            raise ValueError(f"lengths of {self.step}k + {self.offset}: the offset must lie in 0 … step − 1")

    @property
    def least(self) -> int:
        """The shortest native length."""
        return self.offset or self.step

    def __contains__(self, frames: int) -> bool:
        return frames >= self.least and frames % self.step == self.offset

    def at_least(self, frames: int) -> int:
        """The shortest native length that holds ``frames`` frames: what a clip is padded to."""
        return max(self.least, frames + (self.offset - frames) % self.step)

    def at_most(self, frames: int) -> int | None:
        """The longest native length of no more than ``frames`` frames; ``None`` if even the shortest is longer."""
        return frames - (frames - self.offset) % self.step if frames >= self.least else None

    def down_from(self, frames: int) -> range:
        """All native lengths up to ``frames``, the longest first."""
        return range(self.at_most(frames) or 0, 0, -self.step)

    def __str__(self) -> str:
        if self.step == 1:
            return "any number of frames"
        term = f"{self.step}k" + (f" + {self.offset}" if self.offset else "")
        worth = (length for length in range(self.least, 10**6, self.step) if length > 1)
        return f"{term} frames: {', '.join(map(str, islice(worth, 3)))} …"
