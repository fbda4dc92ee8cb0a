"""The stages of a curation on Ray Data: actors of a cluster, or of several processes on this machine.

Items and results travel as JSON text. Ray Data restarts actors that died and gives their work out again; see
:mod:`~training.curation.engines.ray_actors` for what is added to that.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from training.curation.engines.base import Item, Result, Worker
from training.curation.engines.ray_actors import TRIES, DriverActor, Row, TaskQueue, gave_up, rows_of
from training.curation.engines.ray_cluster import Cluster
from vividface_core import errors
from vividface_core.errors import ClusterUnusable, VividFaceError, WorkerLost

LISTEN = 0.2
"""Seconds between two looks at whether the work under way is finished."""


class RayEngine:
    """Actors of Ray Data. Nothing is started before the first item is there to be done.

    Args:
        address: ``HOST:PORT``, ``ray://HOST:PORT`` or ``auto``; ``None``: a cluster of this machine, which ends with
            :meth:`close`. In a program that is connected to Ray already, that connection is used, and kept.
        workers: processes; ``None``: one for each core, or as many as the GPUs have room for.
        shared: existing folder that every machine must see under the same path.
        read: one that they must be able to read too.

    Raises:
        MissingDependency: Ray, or what Ray Data needs, is absent or broken.
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

    def map(
        self,
        make_worker: Callable[[], Worker],
        items: Sequence[Item],
        *,
        concurrency: int = 1,
        gpus: float = 0.0,
        processes: int | None = None,
    ) -> Iterator[tuple[Item, Result]]:
        """See :class:`~training.curation.engines.base.Engine`.

        Raises:
            ClusterUnusable: it can't be reached, or lacks what the work needs.
            WorkerLost: items killed their workers; all others are done by then.
        """
        if not items:
            return
        import ray.cloudpickle

        self._cluster.open()
        size = min(self._cluster.processes(gpus), processes or len(items), math.ceil(len(items) / concurrency))
        texts = [json.dumps(item) for item in items]
        tasks = ray.remote(num_cpus=0, max_restarts=0)(TaskQueue).remote(texts)
        done, lost = 0, []
        try:
            arguments = (len(items), ray.cloudpickle.dumps(make_worker), tasks, size, concurrency, gpus)
            with closing(_drive(*arguments)) as rows:
                for row in rows:
                    if row["state"] == "done":
                        done += 1
                        yield items[row["number"]], json.loads(row["text"])
                    elif row["state"] == "lost":
                        lost.append(items[row["number"]])
                    elif row["state"] != "spare":  # the error itself, or what wasn't begun because of it
                        _finish(tasks)
                        _raise(_answer(tasks.fault.remote()) or row["text"])
            self._tell(_answer(tasks.repeated.remote()))
        finally:
            _dismiss(tasks)
        if lost:
            raise WorkerLost(
                f"{len(lost)} item{'s' * (len(lost) != 1)} killed {TRIES} worker processes each, first "
                f"{json.dumps(lost[0], ensure_ascii=False)[:200]}. The memory may not be enough, or a file crashes its "
                "decoder. Everything else is done; the same command tries again."
            )
        if done != len(items):
            raise ClusterUnusable(f"Ray has brought {done} of {len(items)} results. The same command does the rest.")

    def close(self) -> None:
        """End the cluster if it was started here, or let go of it. Safe to call twice."""
        self._cluster.close()

    def _tell(self, repeated: int) -> None:
        if repeated:
            what = "An item was" if repeated == 1 else f"{repeated} items were"
            self.notices.append(f"{what} given out again because a worker process died.")


def _drive(*arguments: Any) -> Generator[Row, None, None]:
    import ray

    if not ray.util.client.ray.is_connected():
        yield from rows_of(*arguments)
        return
    far = ray.remote(num_cpus=0)(DriverActor).remote()
    try:
        far.start.remote(*arguments)
        while row := ray.get(far.more.remote()):
            if isinstance(row, str):
                raise ClusterUnusable(row)
            yield row
    finally:
        ray.kill(far)


def _answer(reference: Any) -> Any:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        raise gave_up(error) from error


def _finish(tasks: Any) -> None:
    """Wait for what is under way."""
    while _answer(tasks.under_way.remote()):
        time.sleep(LISTEN)


def _dismiss(tasks: Any) -> None:
    import ray

    try:
        ray.kill(tasks)
    except Exception:  # the cluster is gone, and the queue with it
        pass


def _raise(fault: str) -> None:
    """As the worker raised it."""
    told = json.loads(fault)
    if told["trace"]:
        raise RuntimeError(f"A worker raised {told['class']}: {told['message']}\n{told['trace']}")
    raise getattr(errors, told["class"], VividFaceError)(told["message"])
