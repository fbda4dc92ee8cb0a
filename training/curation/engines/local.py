"""The stages of a curation in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from training.curation.engines.base import Item, Result, Worker
from vividface_core.runtime.threads import parallel_map


class LocalEngine:
    """One item after the other, or as many at once as the work allows, in threads."""

    name = "local"
    workers = 1

    def __init__(self) -> None:
        self.notices: list[str] = []

    def map(self, make_worker: Callable[[], Worker], items: Sequence[Item], *, concurrency: int = 1,
            gpus: float = 0.0, processes: int | None = None) -> Iterator[tuple[Item, Result]]:  # fmt: skip
        """See :class:`~training.curation.engines.base.Engine`. After an error those under way are finished; Ctrl-C
        waits for none."""
        return parallel_map(make_worker, items, concurrency)

    def close(self) -> None:
        """Nothing was started."""
