"""A parallel map over threads, for work that waits more than it computes."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
POLL_SECONDS = 0.1
"""Seconds between two checks whether to stop."""

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""What tells OpenMP how its threads wait for each other."""


def wait_asleep() -> None:
    """Have torch's threads sleep while they wait for each other, unless the user has said how they shall wait.

    By default they turn in circles. That saves microseconds on an idle machine; beside another busy program, which
    holds up one of them, the others burn many times the work's own time on it. For programs, not for a library: it
    sets the environment, and only counts before torch is imported.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in WAITING):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def parallel_map(
    make_worker: Callable[[], Callable[[T], R]],
    items: Sequence[T],
    count: int,
    on_poll: Callable[[], None] | None = None,
    on_abort: Callable[[Sequence[threading.Thread]], None] = lambda threads: None,
) -> Iterator[tuple[T, R]]:
    """Yield each item with its result as they are finished, in any order.

    After an error those under way are finished; Ctrl-C waits for none.

    Args:
        make_worker: called once in each thread.
        count: threads; 1: none, the caller's own does the work, unless it has to listen.
        on_poll: called ten times a second in the caller's thread; what it raises stops everything at once.
        on_abort: called with the threads then, which aren't waited for: makes them give up.

    Raises:
        Exception: the first that a worker, or what makes one, raised.
    """
    count = min(count, len(items))
    if count <= 1 and on_poll is None:
        if items:
            worker = make_worker()
            for item in items:
                yield item, worker(item)
        return
    waiting: queue.SimpleQueue[T] = queue.SimpleQueue()
    results: queue.SimpleQueue[tuple[T, R] | BaseException] = queue.SimpleQueue()
    stopped = threading.Event()
    for item in items:
        waiting.put(item)

    def work() -> None:
        try:
            worker = make_worker()
            while not stopped.is_set():
                try:
                    item = waiting.get_nowait()
                except queue.Empty:
                    return
                results.put((item, worker(item)))
        except BaseException as error:
            stopped.set()
            results.put(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()

    def hear(poll: Callable[[], None]) -> None:
        try:
            poll()
        except BaseException:
            on_abort(threads)
            threads.clear()  # nobody is waited for
            raise

    try:
        for _ in items:
            result = results.get() if on_poll is None else _next(results, partial(hear, on_poll))
            if isinstance(result, BaseException):
                raise result
            yield result
    except Exception:
        stopped.set()
        for thread in threads:
            thread.join()
        raise
    finally:
        stopped.set()


def _next(results: queue.SimpleQueue, on_poll: Callable[[], None]) -> Any:
    while True:
        on_poll()
        try:
            return results.get(timeout=POLL_SECONDS)
        except queue.Empty:
            continue
