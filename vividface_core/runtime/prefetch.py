"""Prefetching and background writing: one thread each, with a bounded queue.

Decoding, encoding and the device's work overlap this way: each releases the interpreter lock while it works.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from vividface_core.runtime.threads import POLL_SECONDS

T = TypeVar("T")
MAX_BYTES = 192 << 20
"""Bytes that may wait: some sixty frames of 1080p, 8 bit."""
MAX_ITEMS = 81
"""Items that may wait, however small: a long window's frames."""
JOIN_TIMEOUT = 5.0
"""Seconds to wait for the thread after the consumer has stopped; then it is left to end by itself."""


class _BoundedQueue(Generic[T]):
    """A FIFO queue between two threads, bounded in bytes and items. One item always fits, however large."""

    def __init__(self, cost: Callable[[T], int], max_bytes: int, max_items: int) -> None:
        self._cost, self._max_bytes, self._max_items, self._used = cost, max_bytes, max_items, 0
        self._items: deque[T] = deque()
        self._ended = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def put(self, item: T) -> bool:
        """Wait for room and append; ``False``: the queue was ended, nothing was appended."""
        cost = self._cost(item)
        with self._changed:
            self._wait(lambda: self._ended or not self._items or self._has_room(cost))
            if self._ended:
                return False
            self._items.append(item)
            self._used += cost
            self._changed.notify_all()
            return True

    def _has_room(self, cost: int) -> bool:
        return self._used + cost <= self._max_bytes and len(self._items) < self._max_items

    def end(self, error: BaseException | None = None, *, drop: bool = False) -> None:
        """End the queue. The consumer gets the waiting items first, unless they are dropped, then ``error``."""
        with self._changed:
            self._ended, self._error = True, self._error or error
            if drop:
                self._items.clear()
            self._changed.notify_all()

    def raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _wait(self, ready: Callable[[], object]) -> None:
        while not ready():
            self._changed.wait(POLL_SECONDS)  # an endless wait would not hear Ctrl-C on Windows

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                self._wait(lambda: self._ended or self._items)
                if not self._items:
                    break
                item = self._items.popleft()
                self._used -= self._cost(item)
                self._changed.notify_all()
            yield item
            del item  # whoever waits for the next one doesn't hold on to this one
        self.raise_error()


def prefetch(
    items: Iterable[T], cost: Callable[[T], int], max_bytes: int = MAX_BYTES, max_items: int = MAX_ITEMS
) -> Generator[T, None, None]:
    """Iterate over ``items`` with a background thread that fetches ahead.

    Args:
        cost: bytes of an item.
        max_bytes: how many bytes may wait.
        max_items: how many items may wait.

    Raises:
        Exception: raised by ``items``, after the items before it.
    """
    queue: _BoundedQueue[T] = _BoundedQueue(cost, max_bytes, max_items)

    def fetch() -> None:
        error, source = None, iter(items)
        try:
            for item in source:
                if not queue.put(item):
                    break
        except BaseException as caught:
            error = caught
        finally:
            if hasattr(source, "close"):
                source.close()  # here, where it ran: a generator may hold a file
            queue.end(error)

    thread = threading.Thread(target=fetch, name="prefetch", daemon=True)
    thread.start()
    try:
        yield from queue
    finally:
        queue.end(drop=True)
        thread.join(JOIN_TIMEOUT)


@contextmanager
def background_writer(
    take: Callable[[T], None], cost: Callable[[T], int], max_bytes: int = MAX_BYTES, max_items: int = MAX_ITEMS
) -> Iterator[Callable[[T], None]]:
    """Context manager that yields a function which queues an item for ``take``, called in a background thread, in
    order.

    On a normal exit all queued items have been taken; after an error of the caller the waiting ones are dropped.

    Args:
        cost: bytes of an item.
        max_bytes: how many bytes may wait.
        max_items: how many items may wait.

    Raises:
        Exception: raised by ``take``; re-raised at the next item or on exit.
    """
    queue: _BoundedQueue[T] = _BoundedQueue(cost, max_bytes, max_items)

    def work() -> None:
        try:
            for item in queue:
                take(item)
        except BaseException as error:
            queue.end(error, drop=True)

    def put(item: T) -> None:
        if not queue.put(item):
            queue.raise_error()

    thread = threading.Thread(target=work, name="background writer", daemon=True)
    thread.start()
    try:
        yield put
    except BaseException:
        queue.end(drop=True)
        thread.join()  # it may be using what the caller is about to close
        raise
    queue.end()
    thread.join()
    queue.raise_error()
