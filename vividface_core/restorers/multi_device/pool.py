"""One restorer per device, each in its own process; the windows of a video are distributed among them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vividface_core.errors import DeviceLost, InvalidOption
from vividface_core.restorers.base import Progress, Restorer, stand_for
from vividface_core.restorers.multi_device.worker import Load, Request, Worker
from vividface_core.restorers.multi_device.worker_group import WorkerGroup

ATTEMPTS = 3
"""Attempts for a clip whose worker process dies."""
POLL_SECONDS = 0.2
"""Seconds between two checks whether the run was stopped."""


class DevicePool(Restorer):
    """Restores clips on several devices at once. Close it, or use it in a ``with`` block.

    A process that dies is restarted, and its clip is restored again.

    Args:
        load: makes the restorer of one device.
        devices: one process each; the same one may be named several times.
        notice: called with messages of the processes.
        together: all devices work on each clip (context parallelism) instead of one clip each.

    Raises:
        VividFaceError: what ``load`` raised.
        DeviceLost: a process ended before it was ready.
    """

    name: ClassVar[str] = "pool"

    def __init__(
        self, load: Load, devices: Sequence[torch.device], notice: Callable[[str], None], *, together: bool = False
    ) -> None:
        if not devices:
            raise InvalidOption("Name at least one device.")
        self.devices, self._notice = tuple(devices), notice
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        threads = max(1, torch.get_num_threads() // len(devices))
        self._workers: list[Worker] | list[WorkerGroup] = (
            [WorkerGroup(load, devices, threads, notice)]
            if together
            else [Worker(load, device, threads, notice) for device in devices]
        )
        try:
            properties = [worker.start() for worker in self._workers][0]
        except BaseException:
            self.close()
            raise
        self._properties = properties
        stand_for(self, properties)
        self.parallel = 0 if together else len(devices)
        self._threads = [threading.Thread(target=self._serve, args=(worker,), daemon=True) for worker in self._workers]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> DevicePool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill all processes."""
        self._closed.set()
        for worker in self._workers:
            worker.stop()
        for _ in self._workers:
            self._requests.put(None)

    def submit(self, clip: Tensor, progress: Progress | None = None) -> Callable[[], Tensor]:
        return self._ask("restore", (clip.detach().cpu().numpy(), None, 1.0), progress)

    def restore(
        self, clip: Tensor, *, mask: Tensor | None = None, strength: float = 1.0, progress: Progress | None = None
    ) -> Tensor:
        masks = None if mask is None else mask.detach().cpu().numpy()
        return self._ask("restore", (clip.detach().cpu().numpy(), masks, strength), progress)().to(clip)

    def memory_for(self, frames: int, height: int, width: int) -> int:
        return self._ask("memory_for", (frames, height, width))()

    def _ask(self, what: str, arguments: tuple, progress: Progress | None = None) -> Callable[[], Any]:
        request = Request(what, arguments)
        self._requests.put(request)

        def wait() -> Any:
            while True:
                try:
                    return request.result.result(timeout=POLL_SECONDS)
                except TimeoutError:
                    if self._closed.is_set():
                        raise DeviceLost("The device processes were closed while a clip was at work.") from None
                    if progress is not None:
                        progress(request.share)  # may raise: the user stopped

        return wait

    def _serve(self, worker: Worker | WorkerGroup) -> None:
        """Send requests to one worker until the pool is closed."""
        while (request := self._requests.get()) is not None and not self._closed.is_set():
            try:
                request.result.set_result(worker.run(request))
            except (EOFError, OSError):
                if not self._closed.is_set():
                    self._lost(worker, request)
            except BaseException as error:
                request.result.set_exception(error)

    def _lost(self, worker: Worker | WorkerGroup, request: Request) -> None:
        """A worker died while it handled a request: restart it and repeat the request."""
        request.deaths += 1
        told = f"The process on {worker.device} ended ({worker.exit_status()})"
        try:
            worker.start()
        except BaseException as error:
            request.result.set_exception(error)
            return
        if request.deaths >= ATTEMPTS:
            request.result.set_exception(DeviceLost(f"{told}, as did {ATTEMPTS - 1} before it over the same clip."))
            return
        self._notice(f"{told}; its clip is done again.")
        self._requests.put(request)

    @property
    def modules(self) -> dict[str, nn.Module]:
        return {}  # they live in the worker processes

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> DevicePool:
        return self

    @property
    def weight_bytes(self) -> int:
        return self._properties["weight_bytes"]

    @property
    def device(self) -> torch.device:
        return self.devices[0]

    @property
    def dtype(self) -> torch.dtype:
        return self._properties["dtype"]
