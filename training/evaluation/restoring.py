"""How a measure restores a clip: as the pipeline does, whatever the clip's length."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from vividface_core.pipeline.planning import best_window
from vividface_core.restorers.base import Restorer
from vividface_core.restorers.windows import in_windows, plan_windows, usual_overlap

Method = Callable[[Tensor], Tensor]
"""``[T, 3, H, W]``, 0…1, to the same."""


def as_used(restorer: Restorer) -> Method:
    """In windows of the model's own length that overlap, as long as memory is no matter."""

    def restore(clip: Tensor) -> Tensor:
        length = best_window(restorer, len(clip))
        windows = plan_windows(len(clip), length, usual_overlap(length))
        return in_windows(lambda _, part: restorer.restore(part), clip, windows)

    return restore
