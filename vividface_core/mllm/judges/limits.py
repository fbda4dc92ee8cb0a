"""How fast a server is asked: requests a minute, requests at once, and pauses that it asks for."""

from __future__ import annotations

import email.utils
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone


class RateLimiter:
    """Shared by all threads that ask one server.

    Args:
        per_minute: requests begun a minute, evenly spread; 0: no limit.
        at_once: requests under way at the same time.
    """

    def __init__(self, per_minute: float = 0.0, at_once: int = 1) -> None:
        self._gap = 60 / per_minute if per_minute else 0.0
        self._slots = threading.Semaphore(at_once)
        self._lock = threading.Lock()
        self._next = 0.0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until a request may begin; it counts as under way until the block ends."""
        with self._slots:
            with self._lock:
                begin = max(self._next, time.monotonic())
                self._next = begin + self._gap
            while (left := begin - time.monotonic()) > 0:
                time.sleep(left)
            yield

    def hold(self, seconds: float) -> None:
        """Nobody begins before that: the server said so to one of the threads."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


def back_off(attempt: int, first: float, longest: float = 60.0) -> float:
    """Seconds before attempt ``attempt`` (1 is the first repeated one): doubled each time, the last half by chance, so
    that many clients that failed together don't come back together."""
    return min(first * 2 ** (attempt - 1), longest) * random.uniform(0.5, 1.0)


def retry_after(header: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header: a number, or a date; ``None`` if it says nothing."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(header)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        seconds = (moment - datetime.now(timezone.utc)).total_seconds()
    return max(seconds, 0.0) if seconds == seconds and seconds != float("inf") else None
