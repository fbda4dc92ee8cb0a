"""What a long run reports while it works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Callbacks:
    """Receives the events of a run. All methods may be overridden, and may raise to stop the run.

    Plans and frames come from the floors above, so they are not typed here.
    """

    def plan(self, plan: Any) -> None:
        """The plan is made (:class:`~vividface_core.pipeline.options.Plan`), nothing is restored yet."""

    def progress(self, stage: str, done: float, total: float | None) -> None:
        """``stage`` is ``shots`` or ``faces``: ``done`` of ``total`` frames (``None``: not known); ``restore``: of
        work, see :class:`vividface_core.pipeline.progress.WorkMeter`."""

    def frame(self, frame: Any) -> None:
        """A frame (:class:`~vividface_core.video.frame.Frame`) is restored and is about to be written."""

    def notice(self, text: str) -> None:
        """Something the user should know."""


def part_of(report: Callable[[float], None], number: int, count: int) -> Callable[[float], None]:
    """Progress within part ``number`` of ``count``, as shares of the whole for ``report``."""
    return lambda share: report((number + share) / count)
