"""Clips at work in a thread, while their sender crops the next frames and puts the last ones back."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent import futures
from typing import TypeVar

import torch

from vividface_core.restorers.base import Progress

T = TypeVar("T")
LOOK_EVERY = 0.1
"""Seconds between two reports of progress, and so between two chances to stop."""
PATIENCE = 1.0
"""Seconds that a thread which was told to stop is waited for; a stop shall not take longer than the user does."""


class Dropped(Exception):
    """Nobody wants the result any more."""


class Beside:
    """One thread that does one piece of work after the other, in order.

    The sender's own callbacks are called in the sender's thread, while it waits for a result: hosts expect them there.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._dropped = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="restore", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Progress], T], progress: Progress | None = None) -> Callable[[], T]:
        """Begin ``work(tell)`` when the earlier ones are done.

        Returns:
            What waits for the result, calls ``progress`` meanwhile, and raises what ``work`` or ``progress`` raised.
        """
        result: futures.Future[T] = futures.Future()
        # Both are of a thread: a host that computes without gradients means all of its run.
        inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
        share = [0.0]

        def tell(done: float) -> None:
            share[0] = done
            if self._dropped.is_set():
                raise Dropped

        def run() -> None:
            try:
                tell(0.0)
                with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
                    result.set_result(work(tell))
            except BaseException as error:
                result.set_exception(error)

        def wait() -> T:
            while not futures.wait([result], timeout=LOOK_EVERY).done:
                if progress is not None:
                    progress(share[0])
            return result.result()

        self._waiting.put(run)
        return wait

    def end(self) -> None:
        """Nothing more comes, and what is at work stops at its next report."""
        self._dropped.set()
        self._waiting.put(None)
        self._thread.join(PATIENCE)

    def _serve(self) -> None:
        while (run := self._waiting.get()) is not None:
            run()
            del run  # whoever waits for work doesn't hold on to the last clip
