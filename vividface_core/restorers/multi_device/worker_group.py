"""Processes that restore each clip together: each holds all weights and a shard of the denoiser's tokens."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch

from vividface_core.restorers.multi_device.worker import Load, RankInfo, Request, Worker


class WorkerGroup:
    """One worker per device; a pool treats the group as one worker. When one of them fails, all are stopped.

    Args:
        load: makes the restorer of one device.
        devices: one process each.
        threads: for each process.
        notice: called with messages of the processes.
    """

    def __init__(
        self, load: Load, devices: Sequence[torch.device], threads: int, notice: Callable[[str], None]
    ) -> None:
        self._workers = [Worker(load, device, threads, notice) for device in devices]
        self.device = ", ".join(map(str, devices))
        self._ready = False

    def start(self) -> dict[str, Any]:
        """Restart all processes and wait until the process group is complete."""
        self.stop()
        rendezvous = Path(tempfile.gettempdir()) / f"vividface-{uuid.uuid4().hex}"
        for rank, worker in enumerate(self._workers):
            worker.spawn(RankInfo(rendezvous.as_uri(), rank, len(self._workers)))
        try:
            properties = self._all()
        finally:
            rendezvous.unlink(missing_ok=True)
        self._ready = True
        return properties

    def run(self, request: Request) -> Any:
        """Handle a request on all ranks; the result is that of rank 0.

        Raises:
            EOFError, OSError: a process has ended.
            VividFaceError: raised by any rank.
        """
        if not self._ready:
            self.start()
        return self._all(request)

    def _all(self, request: Request | None = None) -> Any:
        """Wait for the response of every rank to a request; without one, for their start."""
        results: dict[Worker, Any] = {}
        try:
            if request is not None:
                for worker in self._workers:
                    worker.send(request)
            while len(results) < len(self._workers):
                busy: dict[Any, Worker] = {worker.pipe: worker for worker in self._workers if worker not in results}
                for pipe in wait(list(busy)):
                    worker = busy[pipe]
                    first = worker is self._workers[0]
                    if (response := worker.poll(request if first else None)) is not None:
                        results[worker] = response.value
        except BaseException:
            self._ready = False
            self.stop()  # the other ranks would wait forever
            raise
        return results[self._workers[0]]

    def exit_status(self) -> str:
        """How the processes ended, for a message."""
        return ", ".join(worker.exit_status() for worker in self._workers)

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()
