"""The longest window that fits the memory there is, and how a restorer is made to fit."""

from __future__ import annotations

from vividface_core.errors import OutOfMemory
from vividface_core.restorers.base import Restorer
from vividface_core.runtime.memory import free_memory

MEMORY_FRACTION = 0.8
"""Part of the free memory that a window may fill: the rest is for frames that wait and for the host."""


def memory_budget(restorer: Restorer) -> int:
    """Bytes that a restorer may fill, its weights, which are there already, included."""
    devices = getattr(restorer, "devices", (restorer.device,))
    each = (int(free_memory(device) * MEMORY_FRACTION) // devices.count(device) for device in devices)
    return min(each) + restorer.resident_bytes


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


def whole_window(restorer: Restorer, shape: tuple[int, int], frames: int, limit: int | None = None) -> int:
    """The native length that holds ``frames`` frames, however long.

    Args:
        shape, limit: see :func:`choose_window`.

    Raises:
        OutOfMemory: it doesn't fit.
    """
    limit = memory_budget(restorer) if limit is None else limit
    window = restorer.valid_lengths.at_least(frames)
    if (needed := restorer.memory_for(window, *shape)) > limit:
        raise OutOfMemory(
            f"All {frames} frames in one window need about {needed / 2**30:.1f} GiB and {limit / 2**30:.1f} GiB may be "
            f"used on {restorer.device}. Take a shorter clip, or leave out as_released: then windows overlap."
        )
    return window


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
