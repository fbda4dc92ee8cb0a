"""Reading and writing beside the work: a thread each, and no more than so much on its way.

Decoders, encoders and devices wait for each other otherwise; all of them let other threads run meanwhile.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from vividface_core.runtime.threads import LISTEN

T = TypeVar("T")
ROOM = 192 << 20
"""Bytes that may wait: some sixty frames of 1080p, 8 bit."""
MOST = 81
"""Items that may wait, however small: a long window's frames."""
PATIENCE = 5.0
"""Seconds that somebody who gives up waits for the other side to notice; then it is left to itself."""


class _Lane(Generic[T]):
    """Items on their way from one thread to another, in order. At least one may wait, however large."""

    def __init__(self, cost: Callable[[T], int], room: int, most: int) -> None:
        self._cost, self._room, self._most, self._used = cost, room, most, 0
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
        return self._used + cost <= self._room and len(self._items) < self._most

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
            self._changed.wait(LISTEN)  # an endless wait would not hear Ctrl-C on Windows

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


def ahead(items: Iterable[T], cost: Callable[[T], int], room: int = ROOM, most: int = MOST) -> Iterator[T]:
    """The same items, fetched in a thread before they are asked for.

    Args:
        cost: bytes of an item.
        room: how many bytes may wait.
        most: how many items may wait.

    Raises:
        Exception: what fetching raised, in its place among the items.
    """
    lane: _Lane[T] = _Lane(cost, room, most)

    def fetch() -> None:
        error, source = None, iter(items)
        try:
            for item in source:
                if not lane.put(item):
                    break
        except BaseException as caught:
            error = caught
        finally:
            if hasattr(source, "close"):
                source.close()  # here, where it ran: a generator may hold a file
            lane.end(error)

    thread = threading.Thread(target=fetch, name="ahead", daemon=True)
    thread.start()
    try:
        yield from lane
    finally:
        lane.end(drop=True)
        thread.join(PATIENCE)


@contextmanager
def behind(
    take: Callable[[T], None], cost: Callable[[T], int], room: int = ROOM, most: int = MOST
) -> Iterator[Callable[[T], None]]:
    """Yields a function that hands an item to ``take``, which is called in a thread, in order.

    At the end everything has been taken; after an error of the caller's own what waits is dropped.

    Args:
        cost: bytes of an item.
        room: how many bytes may wait.
        most: how many items may wait.

    Raises:
        Exception: what ``take`` raised, at the next item or at the end.
    """
    lane: _Lane[T] = _Lane(cost, room, most)

    def work() -> None:
        try:
            for item in lane:
                take(item)
        except BaseException as error:
            lane.end(error, drop=True)

    def put(item: T) -> None:
        if not lane.put(item):
            lane.raise_error()

    thread = threading.Thread(target=work, name="behind", daemon=True)
    thread.start()
    try:
        yield put
    except BaseException:
        lane.end(drop=True)
        thread.join()  # it may be using what the caller is about to close
        raise
    lane.end()
    thread.join()
    lane.raise_error()
