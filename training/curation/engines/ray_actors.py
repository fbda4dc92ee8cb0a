"""What runs on a Ray cluster: the queue of items, the actors that work on them, and their driver."""

from __future__ import annotations

import inspect
import json
import math
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from typing import Any

from training.curation.engines.base import Worker
from training.curation.engines.ray_cluster import silence_ray
from vividface_core.errors import ClusterUnusable, VividFaceError, first_line

TRIES = 3
"""Times that an item is given out: after that many dead workers the fault is its own."""
BLOCKS = 4096
"""Of a stage, about: each is one ticket until then. Ray's driver keeps a few kilobytes for each."""

Row = dict[str, Any]
"""``state``: ``done``, ``lost``, ``error``, ``stopped`` or ``spare``; ``number`` of the item; ``text``: JSON."""


class TaskQueue:
    """Gives out the items of a stage, in an actor of its own.

    Ray Data hands tickets to workers ahead of time, so that none waits for its next one. An item belongs to a ticket
    only when the worker shows it: so a short one never waits behind a long one while other workers are idle. A ticket
    that is shown again means that its worker died. An item that kills its worker again and again is left alone, and
    after an error nothing new is begun.

    Args:
        texts: the items.
    """

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts
        self._given: dict[Any, Any] = {}
        self._times: Counter[int] = Counter()
        self._busy: set[int] = set()
        self._fault, self._stopped = "", False

    def begin(self, ticket: int) -> tuple[str, int, str]:
        """Why there is nothing to do ("" if there is), the item's number, and the item."""
        self._busy.discard(ticket)
        if self._stopped:
            return "stopped", -1, ""
        number = self._given.setdefault(ticket, len(self._given))
        if number >= len(self._texts):
            return "spare", -1, ""
        self._times[number] += 1
        if self._times[number] > TRIES:
            return "lost", number, ""
        self._busy.add(ticket)
        return "", number, self._texts[number]

    def end(self, ticket: int, fault: str) -> None:
        """An item is done, or met an error that all others would meet too."""
        self._busy.discard(ticket)
        if fault:
            self._stopped, self._fault = True, self._fault or fault

    def under_way(self) -> int:
        """Items; nothing new begins from now on."""
        self._stopped = True
        return len(self._busy)

    def fault(self) -> str:
        """The first error."""
        return self._fault

    def repeated(self) -> int:
        """Items that were given out again because their worker died."""
        return sum(times > 1 for times in self._times.values())


class WorkerActor:
    """One worker process: what Ray Data makes an actor of. Each of its threads has a worker of its own."""

    def __init__(self, packed: bytes, tasks: Any) -> None:
        self._packed, self._tasks, self._own = packed, tasks, threading.local()

    def __call__(self, row: dict[str, Any]) -> Row:
        import ray

        ticket = int(row["ticket"])
        state, number, text = ray.get(self._tasks.begin.remote(ticket))
        if state:
            return {"state": state, "number": number, "text": ""}
        fault = ""
        try:
            text = json.dumps(self._worker()(json.loads(text)))
        except Exception as error:
            text = fault = _noted(error)
        ray.get(self._tasks.end.remote(ticket, fault))
        return {"state": "error" if fault else "done", "number": number, "text": text}

    def _worker(self) -> Worker:
        if not hasattr(self._own, "worker"):
            import ray.cloudpickle

            self._own.worker = ray.cloudpickle.loads(self._packed)()
        return self._own.worker


def _noted(error: Exception) -> str:
    own = isinstance(error, VividFaceError)
    return json.dumps(
        {"class": type(error).__name__, "message": str(error), "trace": "" if own else traceback.format_exc()}
    )


class DriverActor:
    """Ray Data doesn't run behind a Ray Client connection, so this actor drives it from within the cluster."""

    def start(self, *arguments: Any) -> None:
        """See :func:`rows_of`."""
        silence_ray()
        self._rows = rows_of(*arguments)

    def more(self) -> Row | str | None:
        """The next row, what went wrong, or ``None`` after the last."""
        try:
            return next(self._rows, None)
        except ClusterUnusable as error:
            return str(error)


def rows_of(count: int, packed: bytes, tasks: Any, size: int, threads: int, gpus: float) -> Iterator[Row]:
    """What ``size`` actors make of the ``count`` items of a queue, as they are done.

    Args:
        packed: what makes a worker, pickled.
        threads: of each hand.
        gpus: for each hand.

    Raises:
        ClusterUnusable: Ray gave up.
    """
    import ray.data

    how: dict[str, Any] = {"size": size}
    more: dict[str, Any] = {"num_gpus": gpus} if gpus else {"num_cpus": 1}
    if threads > 1:
        how["enable_true_multi_threading"] = True
        if "max_concurrent_calls_per_actor" in inspect.signature(ray.data.ActorPoolStrategy).parameters:
            how["max_concurrent_calls_per_actor"] = threads
        else:
            more["max_concurrency"] = threads  # an older Ray
    in_block = math.ceil(count / BLOCKS)
    # As many more as can lie in front of busy workers, so that those who are idle at the end have some too.
    blocks = math.ceil(count / in_block) + 2 * size * threads
    try:
        tickets = [{"ticket": ticket} for ticket in range(blocks * in_block)]
        dataset = ray.data.from_items(tickets, override_num_blocks=blocks).map(
            WorkerActor, fn_constructor_args=(packed, tasks), compute=ray.data.ActorPoolStrategy(**how), **more
        )
        for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
            yield from batch.to_pylist()
    except Exception as error:
        raise gave_up(error) from error


def gave_up(error: Exception) -> ClusterUnusable:
    """Ray's own error, for people."""
    told = first_line(error).rstrip(".")
    return ClusterUnusable(
        f"Ray gave up: {told}. What is finished is kept; the same command goes on. Ray's logs are "
        "in its temporary folder, usually /tmp/ray."
    )
