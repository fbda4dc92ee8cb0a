"""What the C library does with freed memory: keep it for the next tensors, or return it to the system."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Parameters of glibc's ``mallopt``."""
ALLOCATING = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""What a user says of the C library's allocator, or which other one to take."""


def trim_memory() -> None:
    """Return freed memory to the system where the C library keeps it (glibc).

    Its pools keep what was freed between pieces that are still in use, a little more with every window; in a server
    that lives for days that looks like a leak.
    """
    if (trim := _glibc("malloc_trim")) is not None:
        trim(0)


def reuse_memory() -> None:
    """Have glibc keep the memory of freed tensors for the next ones, unless the user has said something about it.

    By default it fetches each block of 32 MiB or more from the system and returns it after use, and the system clears
    every page: on a CPU a third of a small model's time at 512×512. :func:`trim_memory` returns what is left over.
    For programs, not for a library: it concerns the whole process.
    """
    if any(name in os.environ for name in ALLOCATING):
        return
    if (mallopt := _glibc("mallopt")) is not None:
        mallopt(MMAP_THRESHOLD, 1 << 30)
        mallopt(TRIM_THRESHOLD, (1 << 31) - 1)


@cache
def _glibc(function: str) -> Callable[..., int] | None:
    try:
        return getattr(ctypes.CDLL(None), function) if sys.platform == "linux" else None
    except (OSError, AttributeError):
        return None  # another C library
