"""Engines run items of work on this machine or on a cluster, with the same results: a curation's stages, films."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from vividface_core.runtime.threads import parallel_map

Item = dict[str, Any]
"""Input of a worker: JSON values."""
Result = dict[str, Any]
"""Output of a worker: JSON values."""
Worker = Callable[[Item], Result]
"""Does one item. It turns a fault of the item into a result; an exception means that no other item can be done either.
It looks into the store first and writes its record before it returns, so that an item which is given out again after a
crash isn't done twice."""


class Engine(Protocol):
    """Distributes items to workers.

    Attributes:
        name: for messages.
        workers: processes that work at the same time.
        notices: what the user should know, such as that workers died; whoever tells it takes it away.
    """

    name: str
    notices: list[str]

    @property
    def workers(self) -> int: ...

    def gpus(self) -> float:
        """How many there are to give to processes; 0 in this process, which has them all.

        Raises:
            ClusterUnusable: it can't be reached.
        """

    def map(
        self,
        make_worker: Callable[[], Worker],
        items: Sequence[Item],
        *,
        concurrency: int = 1,
        gpus: float = 0.0,
        cpus: float = 1.0,
        processes: int | None = None,
    ) -> Iterator[tuple[Item, Result]]:
        """Each item with its result, as they are done, in any order.

        Args:
            make_worker: can be pickled; called once in each process and each of its threads. Loads what the work needs.
            concurrency: items that one process has in hand at once, in threads: for work that waits for something else.
            gpus: that each process needs; 0.25: four share one. Without a meaning in this process, which has them all.
            cpus: that each process keeps busy, where it needs no GPU.
            processes: at most so many. 1 for a judge behind a server, whose limits hold for a process.

        Raises:
            VividFaceError: as a worker, or what makes one, raised it. What other workers had in hand is finished.
        """

    def close(self) -> None:
        """Give back what was started. Safe to call twice."""


class LocalEngine:
    """One item after the other, or as many at once as the work allows, in threads."""

    name = "local"
    workers = 1

    def __init__(self) -> None:
        self.notices: list[str] = []

    def gpus(self) -> float:
        """See :class:`Engine`."""
        return 0.0

    def map(
        self,
        make_worker: Callable[[], Worker],
        items: Sequence[Item],
        *,
        concurrency: int = 1,
        gpus: float = 0.0,
        cpus: float = 1.0,
        processes: int | None = None,
    ) -> Iterator[tuple[Item, Result]]:
        """See :class:`~vividface_core.runtime.engines.base.Engine`. After an error those under way are finished; Ctrl-C
        waits for none."""
        return parallel_map(make_worker, items, concurrency)

    def close(self) -> None:
        """Nothing was started."""
