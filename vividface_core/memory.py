"""How much memory there is, the longest window that fits it, and memory that is given back."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

import torch

from vividface_core.errors import OutOfMemory
from vividface_core.restorers.base import Restorer

SHARE = 0.8
"""Part of the free memory that a window may fill: the rest is for frames that wait and for the host."""


def free_memory(device: torch.device) -> int:
    """Bytes free on ``device``; for the CPU the machine's available memory, or the container's limit if lower."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "xpu":
        return torch.xpu.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return min(_available(), _container_limit())


def give_back() -> None:
    """Return freed memory to the system, where the C library holds on to it (glibc).

    Its pools keep what was freed between pieces that are still in use, a little more with every window; in a server
    that lives for days that looks like a leak.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim():
    try:
        return ctypes.CDLL(None).malloc_trim if sys.platform == "linux" else None
    except (OSError, AttributeError):
        return None  # another C library


def _available() -> int:
    try:
        with open("/proc/meminfo") as table:
            return next(int(line.split()[1]) * 1024 for line in table if line.startswith("MemAvailable"))
    except OSError:
        pass  # not Linux: ask the next source
    try:
        import psutil

        return psutil.virtual_memory().available
    except ImportError:
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        return 8 << 30


def _container_limit() -> int:
    try:
        with open("/sys/fs/cgroup/memory.max") as limit, open("/sys/fs/cgroup/memory.current") as used:
            return int(limit.read()) - int(used.read())
    except (OSError, ValueError):
        return 1 << 62  # no container, or "max"


def choose_window(restorer: Restorer, size: int, longest: int, limit: int | None = None) -> int:
    """The longest window (4k + 1 frames) that fits ``limit`` bytes and is worth having.

    Never longer than the model's own clip length, nor than the ``longest`` region rounded up.

    Raises:
        OutOfMemory: not even the shortest window fits.
    """
    limit = int(free_memory(restorer.device) * SHARE) if limit is None else limit
    multiple = restorer.frame_multiple
    most = min(restorer.native_frames, 1 + multiple * -(-(longest - 1) // multiple))
    for window in range(most, 0, -multiple):
        if restorer.memory_for(window, size, size) <= limit:
            return window
    needed = restorer.memory_for(1, size, size)
    raise OutOfMemory(
        f"{restorer.name} needs about {needed / 2**30:.1f} GiB for a single {size}×{size} frame and "
        f"{limit / 2**30:.1f} GiB may be used on {restorer.device}. Free memory there, or choose a smaller size, "
        "a smaller model or another device."
    )
