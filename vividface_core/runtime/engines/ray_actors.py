"""Work in actors of Ray: of a cluster, or of several processes on this machine.

Ray restarts actors that died and repeats what they had in hand (``max_restarts``, ``max_task_retries``).
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vividface_core import errors
from vividface_core.errors import ClusterUnusable, VividFaceError, WorkerLost, first_line
from vividface_core.runtime.engines.base import Item, Result, Worker
from vividface_core.runtime.engines.ray_cluster import Cluster

TRIES = 3
"""Times that an item is given out: after that many dead workers the fault is its own."""


class WorkerActor:
    """One worker process. Each of its threads has a worker of its own."""

    def __init__(self, make_worker: Callable[[], Worker]) -> None:
        import ray

        self._make_worker, self._own = make_worker, threading.local()
        self._restarted = bool(ray.get_runtime_context().was_current_actor_reconstructed)

    def work(self, item: Item) -> tuple[Result, bool]:
        """The result, and whether the process was restarted."""
        try:
            if not hasattr(self._own, "worker"):
                self._own.worker = self._make_worker()
            return self._own.worker(item), self._restarted
        except VividFaceError as error:
            # A subclass with more arguments doesn't come through pickle; its base does, with the same sentence.
            base = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
            raise base(str(error)) from None


class RayEngine:
    """Nothing is started before the first item is there to be done.

    Args:
        address: ``HOST:PORT``, ``ray://HOST:PORT`` or ``auto``; ``None``: a cluster of this machine, which ends with
            :meth:`close`. In a program that is connected to Ray already, that connection is used, and kept.
        workers: processes; ``None``: one for each core, or as many as the GPUs have room for.
        shared: existing folder that every machine must see under the same path.
        read: one that they must be able to read too.

    Raises:
        MissingDependency: Ray is absent or broken.
    """

    name = "ray"

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        shared: Path | None = None,
        read: Path | None = None,
    ) -> None:
        self._cluster = Cluster(address, workers, shared, read)
        self.notices: list[str] = []

    @property
    def workers(self) -> int:
        """Processes that work at the same time; those of a cluster are known once it is connected."""
        return self._cluster.processes()

    def gpus(self) -> float:
        """See :class:`~vividface_core.runtime.engines.base.Engine`; connects."""
        self._cluster.open()
        return self._cluster.gpus()

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
        """See :class:`~vividface_core.runtime.engines.base.Engine`.

        Raises:
            ClusterUnusable: it can't be reached, or lacks what the work needs.
            WorkerLost: items killed their workers; all others are done by then.
        """
        if not items:
            return
        import ray

        self._cluster.open()
        size = min(self._cluster.processes(gpus, cpus), processes or len(items), math.ceil(len(items) / concurrency))
        needs: dict[str, Any] = {"num_gpus": gpus} if gpus else {"num_cpus": cpus}
        retries = {"max_restarts": -1, "max_task_retries": TRIES - 1}
        actor_class = ray.remote(max_concurrency=concurrency, **retries, **needs)(WorkerActor)
        actors = [actor_class.remote(make_worker) for _ in range(size)]
        try:
            yield from self._results(actors, items, concurrency)
        finally:
            with suppress(Exception):  # the cluster may be gone, and they with it
                for actor in actors:
                    ray.kill(actor)

    def _results(self, actors: list[Any], items: Sequence[Item], concurrency: int) -> Iterator[tuple[Item, Result]]:
        """Each actor has ``concurrency`` items in hand until there are no more; after an error none is given out."""
        import ray
        from ray.exceptions import RayActorError, RayTaskError

        waiting, idle = iter(items), actors * concurrency
        in_hand: dict[Any, tuple[Item, Any]] = {}
        restarted: set[Any] = set()
        lost: list[Item] = []
        fault: Exception | None = None
        while True:
            while idle and fault is None and (item := next(waiting, None)) is not None:
                actor = idle.pop(0)
                in_hand[actor.work.remote(item)] = item, actor
            if not in_hand:
                break
            try:
                (reference,), _ = ray.wait(list(in_hand), num_returns=1)
                done, actor = in_hand.pop(reference)
                idle.append(actor)
                result, again = ray.get(reference)
            except RayActorError:
                lost.append(done)
            except RayTaskError as error:
                fault = fault or (error.cause if isinstance(error.cause, VividFaceError) else error)
            except Exception as error:
                told = first_line(error).rstrip(".")
                raise ClusterUnusable(
                    f"Ray gave up: {told}. What is finished is kept; the same command goes on. Ray's logs are in its "
                    "temporary folder, usually /tmp/ray."
                ) from error
            else:
                restarted.update([actor] if again else [])
                yield done, result
        if restarted:
            many = "A worker process" if len(restarted) == 1 else f"{len(restarted)} worker processes"
            self.notices.append(f"{many} died; what was in hand there was given out again.")
        if fault is not None:
            raise fault
        if lost:
            raise WorkerLost(
                f"{len(lost)} item{'s' * (len(lost) != 1)} killed {TRIES} worker processes each, first "
                f"{json.dumps(lost[0], ensure_ascii=False)[:200]}. The memory may not be enough, or a file crashes its "
                "decoder. Everything else is done; the same command tries again."
            )

    def close(self) -> None:
        """End the cluster if it was started here, or let go of it. Safe to call twice."""
        self._cluster.close()
