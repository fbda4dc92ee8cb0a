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
    """A SIGINT handler that raises KeyboardInterrupt as Python's own does, and records that it was called."""

    def __init__(self) -> None:
        self.pressed = threading.Event()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.pressed.set()
        signal.default_int_handler(number, frame)


@contextmanager
def sigint_flag() -> Iterator[Callable[[], bool]]:
    """Install the handler; yields a function that tells whether Ctrl-C was pressed.

    Where Ctrl-C means something else (ignored by a shell, another handler, another thread) nothing is changed.
    """
    handler = _SigintFlag()
    with _handled(handler, instead=_handler() is signal.default_int_handler):
        yield handler.pressed.is_set


@contextmanager
def restore_sigint_for_asyncio() -> Iterator[None]:
    """Within :func:`sigint_flag`: restore Python's own handler, the only one that asyncio replaces by its own."""
    with _handled(signal.default_int_handler, instead=isinstance(_handler(), _SigintFlag)):
        yield


def _handler() -> Any:
    """The current SIGINT handler; ``None`` where it can't be changed (not the main thread)."""
    return signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None], *, instead: bool) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, handler) if instead else None
    try:
        yield
    finally:
        if instead and signal.getsignal(signal.SIGINT) is handler:
            signal.signal(signal.SIGINT, before)
