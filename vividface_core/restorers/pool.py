"""One restorer a device, each in a process of its own: the windows of a video are shared among them."""

from __future__ import annotations

import math
import multiprocessing
import queue
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, TimeoutError
from multiprocessing.connection import Connection
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vividface_core.errors import DeviceLost, InvalidOption, VividFaceError
from vividface_core.restorers.base import Progress, Restorer

ATTEMPTS = 3
"""Processes that may die over one clip before it is given up."""
LOOK_EVERY = 0.2
"""Seconds between two looks whether the run was stopped."""
FACTS = ("name", "frame_multiple", "size_multiple", "native_size", "native_frames", "weights", "dtype")

Load = Callable[..., Restorer]
"""``load(device=…)`` makes a restorer; it travels to other processes, so it must be importable by name."""


class DevicePool(Restorer):
    """Restores clips on several devices at once. Close it, or use it in a ``with`` block.

    A process that dies is started anew, and its clip is done again.

    Args:
        load: makes the restorer of one device.
        devices: one process each; the same one may be named several times.
        notice: called with what the processes have to tell.

    Raises:
        VividFaceError: what :data:`Load` raised.
        DeviceLost: a process ended before it was ready.
    """

    name: ClassVar[str] = "pool"

    def __init__(self, load: Load, devices: Sequence[torch.device], notice: Callable[[str], None]) -> None:
        if not devices:
            raise InvalidOption("Name at least one device.")
        self.devices, self._notice = tuple(devices), notice
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        threads = max(1, torch.get_num_threads() // len(devices))
        self._workers = [_Worker(load, device, threads, notice) for device in devices]
        try:
            facts = [worker.start() for worker in self._workers][0]
        except BaseException:
            self.close()
            raise
        self._facts = facts
        self.name = facts["name"]
        self.frame_multiple, self.size_multiple = facts["frame_multiple"], facts["size_multiple"]
        self.native_size, self.native_frames = facts["native_size"], facts["native_frames"]
        self.parallel = len(devices)
        self._threads = [threading.Thread(target=self._serve, args=(worker,), daemon=True) for worker in self._workers]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> DevicePool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes, at once."""
        self._closed.set()
        for worker in self._workers:
            worker.stop()
        for _ in self._workers:
            self._jobs.put(None)

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
        job = _Job(what, arguments)
        self._jobs.put(job)

        def wait() -> Any:
            while True:
                try:
                    return job.result.result(timeout=LOOK_EVERY)
                except TimeoutError:
                    if self._closed.is_set():
                        raise DeviceLost("The device processes were closed while a clip was at work.") from None
                    if progress is not None:
                        progress(job.share)  # may raise: the user stopped

        return wait

    def _serve(self, worker: _Worker) -> None:
        """Hand jobs to one process until the pool is closed."""
        while (job := self._jobs.get()) is not None and not self._closed.is_set():
            try:
                job.result.set_result(worker.run(job))
            except (EOFError, OSError):
                if not self._closed.is_set():
                    self._lost(worker, job)
            except BaseException as error:
                job.result.set_exception(error)

    def _lost(self, worker: _Worker, job: _Job) -> None:
        """A process died over a job: start another one, and do the job again."""
        job.deaths += 1
        told = f"The process on {worker.device} ended ({worker.exit_status()})"
        try:
            worker.start()
        except BaseException as error:
            job.result.set_exception(error)
            return
        if job.deaths >= ATTEMPTS:
            job.result.set_exception(DeviceLost(f"{told}, as did {ATTEMPTS - 1} before it over the same clip."))
            return
        self._notice(f"{told}; its clip is done again.")
        self._jobs.put(job)

    @property
    def modules(self) -> dict[str, nn.Module]:
        return {}  # they are elsewhere

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> DevicePool:
        return self

    @property
    def weights(self) -> int:
        return self._facts["weights"]

    @property
    def device(self) -> torch.device:
        return self.devices[0]

    @property
    def dtype(self) -> torch.dtype:
        return self._facts["dtype"]


class _Job:
    def __init__(self, what: str, arguments: tuple) -> None:
        self.what, self.arguments = what, arguments
        self.result: Future[Any] = Future()
        self.share, self.deaths = 0.0, 0


class _Worker:
    """A process with a restorer, seen from here."""

    def __init__(self, load: Load, device: torch.device, threads: int, notice: Callable[[str], None]) -> None:
        self._load, self.device, self._thread_count, self._notice = load, device, threads, notice
        self._process: Any = None
        self._pipe: Connection | None = None

    def start(self) -> dict[str, Any]:
        """Start the process and wait until it is ready; returns its :data:`FACTS`."""
        context = multiprocessing.get_context("spawn")  # a fork would share CUDA's state
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(self._load, self.device, self._thread_count, theirs),
                                        daemon=True)  # fmt: skip
        self._process.start()
        theirs.close()  # so that its end is noticed here
        try:
            return self._answer()
        except EOFError:
            how = self.exit_status()
            raise DeviceLost(f"The process on {self.device} ended before it was ready ({how}).") from None

    def run(self, job: _Job) -> Any:
        """Carry out a job there.

        Raises:
            EOFError, OSError: the process is gone.
        """
        self._pipe.send((job.what, job.arguments))
        result = self._answer(job)
        return torch.from_numpy(result) if job.what == "restore" else result

    def _answer(self, job: _Job | None = None) -> Any:
        while True:
            kind, value = self._pipe.recv()
            if kind == "share" and job is not None:
                job.share = value
            elif kind == "notice":
                self._notice(value)
            elif kind == "error":
                raise value
            elif kind == "done":
                return value

    def exit_status(self) -> str:
        """How the process ended, in words."""
        self._process.join(5)
        code = self._process.exitcode
        return f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"

    def stop(self) -> None:
        if self._process is not None and self._process.is_alive():
            self._process.kill()


def _work(load: Load, device: torch.device, threads: int, pipe: Connection) -> None:
    """The process: restores what comes until the pipe closes."""
    from vividface_core.restorers.careful import CarefulRestorer

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started us decides what Ctrl-C means
    torch.set_num_threads(threads)
    try:
        restorer = CarefulRestorer(load(device=device), lambda text: pipe.send(("notice", text)))
        pipe.send(("done", {fact: getattr(restorer, fact) for fact in FACTS}))
        while True:
            what, arguments = pipe.recv()
            pipe.send(_carry_out(restorer, what, arguments, pipe))
    except VividFaceError as error:
        pipe.send(("error", error))
    except (EOFError, OSError):
        pass  # nobody is interested any more


def _carry_out(restorer: Restorer, what: str, arguments: tuple, pipe: Connection) -> tuple[str, Any]:
    try:
        if what == "memory_for":
            return "done", restorer.memory_for(*arguments)
        clip, mask, strength = arguments
        told = -math.inf

        def progress(share: float) -> None:
            nonlocal told
            if share - told >= 0.01:
                told = share
                pipe.send(("share", share))

        clip, mask = (None if array is None else torch.from_numpy(array).to(restorer.device) for array in (clip, mask))
        return "done", restorer.restore(clip, mask=mask, strength=strength, progress=progress).cpu().numpy()
    except VividFaceError as error:
        return "error", error
