"""Reading and writing beside the work: a thread each, and no more than so much on its way.

Decoders, encoders and devices wait for each other otherwise; all of them let other threads run meanwhile.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from vividface_core.runtime.threads import POLL_SECONDS

T = TypeVar("T")
MAX_BYTES = 192 << 20
"""Bytes that may wait: some sixty frames of 1080p, 8 bit."""
MAX_ITEMS = 81
"""Items that may wait, however small: a long window's frames."""
JOIN_TIMEOUT = 5.0
"""Seconds that somebody who gives up waits for the other side to notice; then it is left to itself."""


class _BoundedQueue(Generic[T]):
    """Items on their way from one thread to another, in order. At least one may wait, however large."""

    def __init__(self, cost: Callable[[T], int], max_bytes: int, max_items: int) -> None:
        self._cost, self._max_bytes, self._max_items, self._used = cost, max_bytes, max_items, 0
        self._items: deque[T] = deque()
        self._ended, self._error = False, None
        self._changed = threading.Condition()

    def put(self, item: T) -> bool:
        """Wait for room; false: nobody takes anything any more."""
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
        """Nothing more comes. ``error`` is raised at the other side, after what came before, unless that is dropped."""
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
) -> Iterator[T]:
    """The same items, fetched in a thread before they are asked for.

    Args:
        cost: bytes of an item.
        max_bytes: how many bytes may wait.
        max_items: how many items may wait.

    Raises:
        Exception: what fetching raised, in its place among the items.
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
    """Yields a function that hands an item to ``take``, which is called in a thread, in order.

    At the end everything has been taken; after an error of the caller's own what waits is dropped.

    Args:
        cost: bytes of an item.
        max_bytes: how many bytes may wait.
        max_items: how many items may wait.

    Raises:
        Exception: what ``take`` raised, at the next item or at the end.
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
