"""Ctrl-C that isn't lost.

Python turns Ctrl-C into a KeyboardInterrupt wherever the program happens to be. A library in C that is interrupted
within a call of its own may swallow that and raise something else ("could not determine the shape …"), which would
look like a fault. So the press itself is remembered.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class _SigintFlag:
    """A handler that does what Python's own does, and keeps in mind that it has."""

    def __init__(self) -> None:
        self.pressed = threading.Event()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.pressed.set()
        signal.default_int_handler(number, frame)


@contextmanager
def sigint_flag() -> Iterator[Callable[[], bool]]:
    """Within it, Ctrl-C raises KeyboardInterrupt as ever; what it yields tells whether that has happened.

    Where Ctrl-C means something else (ignored by a shell, another handler, another thread) nothing is changed.
    """
    handler = _SigintFlag()
    with _handled(handler, instead=_handler() is signal.default_int_handler):
        yield handler.pressed.is_set


@contextmanager
def restore_sigint_for_asyncio() -> Iterator[None]:
    """Within :func:`sigint_flag`: asyncio may take Ctrl-C over, as it does from Python's own handler alone."""
    with _handled(signal.default_int_handler, instead=isinstance(_handler(), _SigintFlag)):
        yield


def _handler() -> Any:
    """Who handles Ctrl-C; ``None`` where that can't be changed."""
    return signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None], *, instead: bool) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, handler) if instead else None
    try:
        yield
    finally:
        if instead and signal.getsignal(signal.SIGINT) is handler:
            signal.signal(signal.SIGINT, before)
