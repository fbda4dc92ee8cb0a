"""A restorer that falls back to smaller steps when memory runs out, so that the run goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vividface_core.errors import OutOfMemory
from vividface_core.restorers.base import Progress, Restorer, properties_of, stand_for
from vividface_core.restorers.beside import Beside
from vividface_core.restorers.windows import Window, in_windows, plan_windows, usual_overlap
from vividface_core.runtime.allocator import trim_memory
from vividface_core.runtime.callbacks import part_of


class OomFallbackRestorer(Restorer):
    """Wraps a restorer. After an out-of-memory error it takes the next smaller step, for this clip and all later ones.

    First come the restorer's own ways to need less memory for the same result (:meth:`Restorer.reduce_memory`), then
    windows of two thirds the length, cross-faded.

    On a CPU a submitted clip is restored beside the sender's own work, which leaves cores idle in turn.

    Args:
        inner: the wrapped restorer.
        notice: called with a sentence for each step.
        shorter: whether windows may become shorter; where not, the error is raised.
    """

    name: ClassVar[str] = "careful"

    def __init__(self, inner: Restorer, notice: Callable[[str], None], *, shorter: bool = True) -> None:
        self._inner, self._notice, self._shorter = inner, notice, shorter
        stand_for(self, properties_of(inner))
        self.longest: int | None = None
        """Frames of the longest window since memory ran out; ``None``: it hasn't."""
        self._beside: Beside | None = None
        self._told: list[str] = []

    @property
    def parallel(self) -> int:  # type: ignore[override]  # read here, set elsewhere
        return 1 if self.device.type == "cpu" else 0

    def submit(self, clip: Tensor, progress: Progress | None = None) -> Callable[[], Tensor]:
        if not self.parallel:
            return super().submit(clip, progress)
        self._beside = self._beside or Beside()
        wait = self._beside.submit(lambda tell: self.restore(clip, progress=tell), progress)

        def result() -> Tensor:
            try:
                return wait()
            finally:
                self._say()

        return result

    def drop(self) -> None:
        if self._beside is not None:
            self._beside.end()
        self._beside = None

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
        windows = plan_windows(len(clip), length, usual_overlap(length))

        def restore(window: Window, part: Tensor) -> Tensor:
            return self._inner.restore(
                part,
                mask=None if mask is None else mask[window.start : window.stop],
                strength=strength,
                progress=part_of(progress, windows.index(window), len(windows)),
            )

        return in_windows(restore, clip, windows)

    def _step_down(self, frames: int) -> bool:
        """Take the next smaller step; ``False`` if there is none."""
        if way := self._inner.reduce_memory():
            self._tell(f"Memory ran out; going on with {way}, which gives the same pictures and takes longer.")
            return True
        if not self._shorter:
            return False
        shorter = self.valid_lengths.at_most(1 + 2 * (frames - 1) // 3)
        if shorter is None or shorter >= frames:
            return False
        self.longest = shorter
        self._tell(
            f"{frames} frames at once ran out of memory on {self.device}; going on with {shorter}. Shorter windows "
            "see less of the motion: a smaller size, or more memory, gives longer ones."
        )
        return True

    def _tell(self, sentence: str) -> None:
        self._told.append(sentence)
        if self._beside is None:
            self._say()

    def _say(self) -> None:
        """Pass on what was told, in the thread of whoever listens."""
        while self._told:
            self._notice(self._told.pop(0))

    def reduce_memory(self) -> str:
        return self._inner.reduce_memory()

    def restore_defaults(self) -> None:
        self.longest = None
        self._inner.restore_defaults()

    @property
    def weight_bytes(self) -> int:
        return self._inner.weight_bytes

    @property
    def resident_bytes(self) -> int:
        return self._inner.resident_bytes

    @property
    def timed_as(self) -> Any:
        return self._inner.timed_as

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
