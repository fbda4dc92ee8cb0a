"""Work in threads, for what waits more than it computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_threads(make_worker: Callable[[], Callable[[T], R]], items: Sequence[T], count: int) -> Iterator[tuple[T, R]]:
    """Each item with its result, as they are done.

    After an error those under way are finished; Ctrl-C waits for none.

    Args:
        make_worker: called once in each thread.
        count: threads; 1: none, the caller's own does the work.

    Raises:
        Exception: the first that a worker, or what makes one, raised.
    """
    count = min(count, len(items))
    if count <= 1:
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
    try:
        for _ in items:
            result = results.get()
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
