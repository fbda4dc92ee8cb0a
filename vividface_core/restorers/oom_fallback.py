"""A restorer that takes less at a time where memory runs out, instead of losing the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from vividface_core.errors import OutOfMemory
from vividface_core.restorers.base import Progress, Restorer, properties_of, stand_for
from vividface_core.restorers.windows import CrossFade, plan_windows
from vividface_core.runtime.memory import trim_memory

OVERLAP = 8
"""Frames that the shorter windows of a clip share at most."""


class OomFallbackRestorer(Restorer):
    """Passes clips on to another restorer; what doesn't fit goes one step smaller, and so does all that follows.

    First come the restorer's own ways to need less for the same result (:meth:`Restorer.reduce_memory`), then windows
    of two thirds the length, cross-faded.

    Args:
        inner: does the work.
        notice: called with a sentence for each step.
    """

    name: ClassVar[str] = "careful"

    def __init__(self, inner: Restorer, notice: Callable[[str], None]) -> None:
        self._inner, self._notice = inner, notice
        stand_for(self, properties_of(inner))
        self.longest: int | None = None
        """Frames of the longest window since memory ran out; ``None``: it hasn't."""

    def restore(
        self, clip: Tensor, *, mask: Tensor | None = None, strength: float = 1.0, progress: Progress | None = None
    ) -> Tensor:
        while True:
            try:
                return self._in_windows(clip, mask, strength, progress or (lambda share: None))
            except OutOfMemory:
                if not self._step_down(min(len(clip), self.longest or len(clip))):
                    raise
            _empty_caches()  # outside of the handler: the error's frames hold on to what they had

    def _in_windows(self, clip: Tensor, mask: Tensor | None, strength: float, progress: Progress) -> Tensor:
        length = self.longest
        if length is None or len(clip) <= length:
            return self._inner.restore(clip, mask=mask, strength=strength, progress=progress)
        windows = plan_windows(len(clip), length, min(OVERLAP, length // 4))
        fade, output = CrossFade(windows), torch.empty_like(clip)
        for number, window in enumerate(windows):
            here = slice(window.start, window.stop)
            part = self._inner.restore(
                clip[here], mask=None if mask is None else mask[here], strength=strength,
                progress=lambda share, number=number: progress((number + share) / len(windows)),
            )  # fmt: skip
            first, finished = fade.push(part)
            output[first : first + len(finished)] = finished
        return output

    def _step_down(self, frames: int) -> bool:
        """Whether there was a smaller step."""
        if way := self._inner.reduce_memory():
            self._notice(f"Memory ran out; going on with {way}, which gives the same pictures and takes longer.")
            return True
        shorter = self.valid_lengths.at_most(1 + 2 * (frames - 1) // 3)
        if shorter is None or shorter >= frames:
            return False
        self.longest = shorter
        self._notice(
            f"{frames} frames at once ran out of memory on {self.device}; going on with {shorter}. Shorter windows "
            "see less of the motion: a smaller size, or more memory, gives longer ones."
        )
        return True

    def reduce_memory(self) -> str:
        return self._inner.reduce_memory()

    def restore_defaults(self) -> None:
        self.longest = None
        self._inner.restore_defaults()

    @property
    def weight_bytes(self) -> int:
        return self._inner.weight_bytes

    def memory_for(self, frames: int, height: int, width: int) -> int:
        return self._inner.memory_for(frames, height, width)

    @property
    def modules(self) -> dict[str, nn.Module]:
        return self._inner.modules

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> OomFallbackRestorer:
        self._inner.to(device, dtype)
        return self

    @property
    def device(self) -> torch.device:
        return self._inner.device

    @property
    def dtype(self) -> torch.dtype:
        return self._inner.dtype


def _empty_caches() -> None:
    trim_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
