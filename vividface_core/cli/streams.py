"""Printing into a pipe whose reader has left, as ``| head`` does: the rest isn't printed, and nothing fails."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

GONE = (errno.EPIPE, errno.EINVAL)
"""What systems say of a reader that has left; the second is Windows'."""


class PatientStream:
    """A text stream that goes on when nobody reads it any more: work that only prints its news isn't lost by it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """As the stream's own; says that all was written where nobody reads."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._close_if_gone(error)
            return len(text)

    def flush(self) -> None:
        """As the stream's own."""
        try:
            self._stream.flush()
        except OSError as error:
            self._close_if_gone(error)

    def _close_if_gone(self, error: OSError) -> None:
        """Have what is still to come go nowhere, also what the interpreter flushes when it ends.

        Raises:
            OSError: ``error`` says something else.
        """
        if error.errno not in GONE:
            raise error
        nothing = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nothing, self._stream.fileno())
        finally:
            os.close(nothing)


@contextmanager
def patient_streams() -> Iterator[None]:
    """Within it, neither stdout nor stderr fails because its reader has left."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and PatientStream(stream) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before
