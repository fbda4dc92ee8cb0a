"""How much memory is free, and how much was used at most."""

from __future__ import annotations

import os
import sys

import torch


def free_memory(device: torch.device) -> int:
    """Bytes free on ``device``; for the CPU the machine's available memory, or the container's limit if lower."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "xpu":
        return torch.xpu.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return min(_available(), _container_limit())


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


def peak_memory() -> int:
    """Highest resident memory of this process so far, in bytes."""
    try:
        # Not from getrusage: there a program inherits the peak of the one that started it.
        with open("/proc/self/status") as table:
            return next(int(line.split()[1]) * 1024 for line in table if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass  # not Linux
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return getattr(psutil.Process().memory_info(), "peak_wset")  # noqa: B009 - there on Windows alone
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
