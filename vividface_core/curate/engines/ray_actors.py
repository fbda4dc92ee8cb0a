"""What runs on a Ray cluster: the desk that gives out items, the hands that do them, and the driver's stand-in."""

from __future__ import annotations

import inspect
import json
import threading
import traceback
from collections.abc import Iterator
from typing import Any

from vividface_core.curate.engines.base import Worker
from vividface_core.curate.engines.ray_cluster import first_line, hush
from vividface_core.errors import ClusterUnusable, VividFaceError

TRIES = 3
"""Times that an item is given out: after that many dead workers the fault is its own."""
BLOCKS = 4096
"""Of a stage, at most: each is one item until then. Ray's driver keeps a few kilobytes for each."""

Row = dict[str, Any]
"""``number`` of the item, ``state`` (``done``, ``lost``, ``error`` or ``stopped``) and ``text``, which is JSON."""


class Desk:
    """What the workers of a stage ask before each item, in an actor of its own.

    An item that kills its worker again and again is left alone, and after an error nothing new is begun.
    """

    def __init__(self) -> None:
        self._times: dict[int, int] = {}
        self._busy: set[int] = set()
        self._stopped, self._fault = False, ""

    def begin(self, number: int) -> str:
        """Why an item isn't to be done: ``stopped`` or ``lost``; "" if it is."""
        self._busy.discard(number)  # whoever had it is dead
        if self._stopped:
            return "stopped"
        self._times[number] = self._times.get(number, 0) + 1
        if self._times[number] > TRIES:
            return "lost"
        self._busy.add(number)
        return ""

    def end(self, number: int, fault: str) -> None:
        """An item is done, or met an error that all others would meet too."""
        self._busy.discard(number)
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


class Hand:
    """One worker process: what Ray Data makes an actor of. Each of its threads has a worker of its own."""

    def __init__(self, packed: bytes, desk: Any) -> None:
        self._packed, self._desk, self._own = packed, desk, threading.local()

    def __call__(self, row: dict[str, Any]) -> Row:
        import ray

        number = int(row["number"])
        if refusal := ray.get(self._desk.begin.remote(number)):
            return {"number": number, "state": refusal, "text": ""}
        fault = ""
        try:
            text = json.dumps(self._worker()(json.loads(row["item"])))
        except Exception as error:
            text = fault = _noted(error)
        ray.get(self._desk.end.remote(number, fault))
        return {"number": number, "state": "error" if fault else "done", "text": text}

    def _worker(self) -> Worker:
        if not hasattr(self._own, "worker"):
            import ray.cloudpickle

            self._own.worker = ray.cloudpickle.loads(self._packed)()
        return self._own.worker


def _noted(error: Exception) -> str:
    own = isinstance(error, VividFaceError)
    return json.dumps({"class": type(error).__name__, "message": str(error),
                       "trace": "" if own else traceback.format_exc()})  # fmt: skip


class StandIn:
    """Ray Data doesn't run behind a Ray Client connection, so this actor drives it from within the cluster."""

    def start(self, *arguments: Any) -> None:
        """See :func:`rows_of`."""
        hush()
        self._rows = rows_of(*arguments)

    def more(self) -> Row | str | None:
        """The next row, what went wrong, or ``None`` after the last."""
        try:
            return next(self._rows, None)
        except ClusterUnusable as error:
            return str(error)


def rows_of(items: list[str], packed: bytes, desk: Any, size: int, threads: int, gpus: float) -> Iterator[Row]:
    """What ``size`` hands make of items, as they are done.

    Args:
        items: as JSON.
        packed: what makes a worker, pickled.
        threads: of each hand.
        gpus: for each hand.

    Raises:
        ClusterUnusable: Ray gave up.
    """
    import ray.data

    # With a single process nothing can wait for the wrong one, so the next item lies ready.
    how: dict[str, Any] = {"size": size, "max_tasks_in_flight_per_actor": threads + (size == 1)}
    more: dict[str, Any] = {"num_gpus": gpus} if gpus else {"num_cpus": 1}
    if threads > 1:
        how["enable_true_multi_threading"] = True
        if "max_concurrent_calls_per_actor" in inspect.signature(ray.data.ActorPoolStrategy).parameters:
            how["max_concurrent_calls_per_actor"] = threads
        else:
            more["max_concurrency"] = threads  # an older Ray
    rows = [{"number": number, "item": item} for number, item in enumerate(items)]
    try:
        dataset = ray.data.from_items(rows, override_num_blocks=min(len(rows), BLOCKS)).map(
            Hand, fn_constructor_args=(packed, desk), compute=ray.data.ActorPoolStrategy(**how), **more
        )
        for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
            yield from batch.to_pylist()
    except Exception as error:
        raise ClusterUnusable(f"Ray gave up: {first_line(error)} What is finished is kept; the same command goes on. "
                              "Ray's logs are in its temporary folder, usually /tmp/ray.") from error  # fmt: skip
