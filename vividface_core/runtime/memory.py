"""How much memory there is, the longest window that fits it, and memory that is given back."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

import torch

from vividface_core.errors import OutOfMemory
from vividface_core.restorers.base import Restorer

MEMORY_FRACTION = 0.8
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


def trim_memory() -> None:
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


def memory_budget(restorer: Restorer) -> int:
    """Bytes that a restorer may fill, its weights, which are there already, included."""
    devices = getattr(restorer, "devices", (restorer.device,))
    each = (int(free_memory(device) * MEMORY_FRACTION) // devices.count(device) for device in devices)
    return min(each) + restorer.weight_bytes


def best_window(restorer: Restorer, longest: int) -> int:
    """Frames that are restored together if memory is no matter: the model's own, or what covers the longest region."""
    lengths = restorer.valid_lengths
    native = lengths.at_most(restorer.native_frames) or lengths.least
    return min(native, lengths.at_least(longest))


def reduce_memory(restorer: Restorer, window: int, shape: tuple[int, int], limit: int | None = None) -> str:
    """Let the restorer take less memory for the same pictures until the window fits, or there is no way left.

    Returns:
        The last of the ways in words; empty: it fits as it is.
    """
    limit, told = memory_budget(restorer) if limit is None else limit, ""
    while restorer.memory_for(window, *shape) > limit and (way := restorer.reduce_memory()):
        told = way
    return told


def choose_window(restorer: Restorer, shape: tuple[int, int], longest: int, limit: int | None = None) -> int:
    """The longest window of a native length that fits and is worth having.

    Never longer than :func:`best_window`.

    Args:
        shape: height and width of the frames.
        limit: bytes, weights included; ``None``: :func:`memory_budget`.

    Raises:
        OutOfMemory: not even the shortest window fits.
    """
    limit = memory_budget(restorer) if limit is None else limit
    lengths = restorer.valid_lengths
    for window in lengths.down_from(best_window(restorer, longest)):
        if restorer.memory_for(window, *shape) <= limit:
            return window
    needed = restorer.memory_for(lengths.least, *shape)
    count = "a single" if lengths.least == 1 else f"{lengths.least}"
    raise OutOfMemory(
        f"{restorer.name} needs about {needed / 2**30:.1f} GiB for {count} {shape[1]}×{shape[0]} "
        f"frame{'s' * (lengths.least > 1)} and "
        f"{limit / 2**30:.1f} GiB may be used on {restorer.device}. Free memory there, or choose a smaller size, "
        "a smaller model or another device."
    )
