"""Overlapping temporal windows and the cross-fade between them.

A long clip is restored in windows of a native length that overlap. Where two windows overlap, the earlier one fades
out and the later one fades in along a raised cosine, so that no seam shows. Windows belong to one continuous clip:
whoever plans them has already cut at shots and tracks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vividface_core.errors import InvalidOption


@dataclass(frozen=True)
class Window:
    """Frames ``start`` … ``stop - 1`` of a clip."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def plan_windows(frames: int, length: int, overlap: int) -> list[Window]:
    """Cover ``frames`` frames with windows of ``length`` that share at least ``overlap`` frames.

    The last window ends with the clip and keeps its full length by overlapping more, because a short window has
    less context. A clip no longer than ``length`` is one window.

    Raises:
        InvalidOption: ``length`` < 1, ``overlap`` negative, or not smaller than ``length``.
    """
    if length < 1 or not 0 <= overlap < length:
        raise InvalidOption(f"A window of {length} frames can't overlap by {overlap}; choose an overlap below it.")
    if frames <= length:
        return [Window(0, frames)] if frames > 0 else []
    step = length - overlap
    count = 1 + math.ceil((frames - length) / step)
    starts = [min(number * step, frames - length) for number in range(count)]
    return [Window(start, start + length) for start in starts]


def usual_overlap(length: int) -> int:
    """Frames that windows of ``length`` share where nothing else is said: a quarter of one, at most 8."""
    return min(8, length // 4)


def in_windows(restore: Callable[[Window, Tensor], Tensor], clip: Tensor, windows: list[Window]) -> Tensor:
    """A whole clip, restored in windows.

    Args:
        restore: gives the restored frames of a window, of those it is given; both ``[len(window), C, H, W]``.
        clip: ``[T, C, H, W]``.
        windows: the plan over its frames, as :func:`plan_windows` makes it.
    """
    fade, output = CrossFade(windows), torch.empty_like(clip)
    for window in windows:
        first, finished = fade.push(restore(window, clip[window.start : window.stop]))
        output[first : first + len(finished)] = finished
    return output


def fade_in(frames: int) -> Tensor:
    """Weights ``[frames]`` of the later window over an overlap: sin² from just above 0 to just below 1."""
    at = (torch.arange(frames, dtype=torch.float32) + 0.5) / frames
    return torch.sin(at * math.pi / 2) ** 2


class CrossFade:
    """Joins restored windows into one clip, giving out every frame as soon as no later window touches it.

    Holds at most one window's overlap.

    Args:
        windows: the plan, in order, as :func:`plan_windows` makes it.
    """

    def __init__(self, windows: list[Window]) -> None:
        self._windows = windows
        self._next = 0
        self._tail: Tensor | None = None
        self._tail_start = 0

    def push(self, restored: Tensor) -> tuple[int, Tensor]:
        """Add the next window's result ``[len(window), C, H, W]``.

        Returns:
            The index of the first finished frame and the finished frames.
        """
        window = self._windows[self._next]
        if restored.shape[0] != len(window):
            raise ValueError(f"window {window} needs {len(window)} frames, got {restored.shape[0]}")
        if self._tail is not None:
            shared = self._tail_start + self._tail.shape[0] - window.start
            weight = fade_in(shared).to(restored).view(-1, 1, 1, 1)
            head = torch.lerp(self._tail[-shared:].to(restored), restored[:shared], weight)
            restored = torch.cat([self._tail[:-shared], head, restored[shared:]])
        start = window.start if self._tail is None else self._tail_start
        self._next += 1
        last = self._next == len(self._windows)
        keep_from = len(restored) if last else self._windows[self._next].start - start
        self._tail, self._tail_start = (None, 0) if last else (restored[keep_from:].clone(), start + keep_from)
        return start, restored[:keep_from]
