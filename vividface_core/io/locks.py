"""A lock on a file, which the system lets go of however the process ends."""

from __future__ import annotations

from typing import Any


def lock_file(descriptor: int) -> bool:
    """False: another process has it. A file system without locks has none to wait for."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        locks: Any = msvcrt  # empty for a type checker on other systems
        try:
            locks.locking(descriptor, locks.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
