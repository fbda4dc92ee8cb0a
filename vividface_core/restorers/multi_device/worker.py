"""A worker process with its own restorer, and the messages between it and the process that started it."""

from __future__ import annotations

import math
import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
import torch

from vividface_core.errors import DeviceLost, InvalidOption, VividFaceError
from vividface_core.restorers.base import PROPERTIES, Restorer
from vividface_core.runtime.allocator import reuse_memory

RESTORER_PROPERTIES = (*PROPERTIES, "weight_bytes", "dtype")
"""What a process tells of its restorer when it is ready."""

Load = Callable[..., Restorer]
"""``load(device=…)`` makes a restorer; it travels to other processes, so it must be importable by name."""


class Response(NamedTuple):
    """The result that a worker process returned."""

    value: Any


class Request:
    """A call of a restorer in a worker process.

    Attributes:
        what: ``restore`` or ``memory_for``.
        arguments: of that method; clips and masks as NumPy arrays.
        result: resolved when the worker has answered.
        share: of the work done so far, 0…1.
        deaths: worker processes that died while they handled this request.
    """

    def __init__(self, what: str, arguments: tuple) -> None:
        self.what, self.arguments = what, arguments
        self.result: Future[Any] = Future()
        self.share, self.deaths = 0.0, 0


class Worker:
    """The parent's handle of a worker process."""

    def __init__(self, load: Load, device: torch.device, threads: int, notice: Callable[[str], None]) -> None:
        self._load, self.device, self._thread_count, self._notice = load, device, threads, notice
        self._process: Any = None
        self._starting = True
        self.pipe: Any = None  # a Connection once the process is started

    def start(self) -> dict[str, Any]:
        """Start the process and wait until it is ready; returns its :data:`RESTORER_PROPERTIES`."""
        self.spawn()
        return self._answer()

    def spawn(self, rank_info: RankInfo | None = None) -> None:
        """Start the process. Its first response holds its :data:`RESTORER_PROPERTIES`.

        Args:
            rank_info: rank in a group of processes that share each clip; ``None``: the process works alone.
        """
        context = multiprocessing.get_context("spawn")  # a fork would share CUDA's state
        self.pipe, theirs = context.Pipe()
        self._starting = True
        self._process = context.Process(
            target=_work, args=(self._load, self.device, self._thread_count, theirs, rank_info), daemon=True
        )
        self._process.start()
        theirs.close()  # so that its end is noticed here

    def run(self, request: Request) -> Any:
        """Send a request and wait for its result.

        Raises:
            EOFError, OSError: the process has ended.
        """
        self.send(request)
        return self._answer(request)

    def send(self, request: Request) -> None:
        """Send a request without waiting for its result."""
        self.pipe.send((request.what, request.arguments))

    def _answer(self, request: Request | None = None) -> Any:
        while (response := self.poll(request)) is None:
            pass
        return response.value

    def poll(self, request: Request | None = None) -> Response | None:
        """Wait for the next message of the process; return the result if it is one, else ``None``.

        Raises:
            EOFError, OSError: the process has ended.
            DeviceLost: the process ended before it was ready.
            VividFaceError: raised by the restorer in the process.
        """
        try:
            kind, value = self.pipe.recv()
        except EOFError:
            if not self._starting:
                raise
            how = self.exit_status()
            raise DeviceLost(f"The process on {self.device} ended before it was ready ({how}).") from None
        if kind == "share" and request is not None:
            request.share = value
        elif kind == "notice":
            self._notice(value)
        elif kind == "error":
            raise value
        elif kind == "done":
            self._starting = False
            return Response(torch.from_numpy(value) if isinstance(value, np.ndarray) else value)
        return None

    def exit_status(self) -> str:
        """How the process ended, for a message."""
        self._process.join(5)
        code = self._process.exitcode
        return f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"

    def stop(self) -> None:
        if self._process is not None and self._process.is_alive():
            self._process.kill()


def _work(load: Load, device: torch.device, threads: int, pipe: Connection, rank_info: RankInfo | None) -> None:
    """The worker process: handles requests until the pipe closes."""
    from vividface_core.restorers.oom_fallback import OomFallbackRestorer

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
    torch.set_num_threads(threads)
    reuse_memory()  # the process is this restorer's alone
    try:
        restorer = load(device=device)
        if rank_info is None:
            restorer = OomFallbackRestorer(restorer, lambda text: pipe.send(("notice", text)))
        else:
            # No OOM fallback here: if one rank went on in smaller windows, the others would wait for it forever.
            init_process_group(restorer, device, rank_info)
        pipe.send(("done", {name: getattr(restorer, name) for name in RESTORER_PROPERTIES}))
        while True:
            what, arguments = pipe.recv()
            pipe.send(_carry_out(restorer, what, arguments, pipe))
    except VividFaceError as error:
        pipe.send(("error", error))
    except (EOFError, OSError):
        pass  # the parent has closed the pipe


def _carry_out(restorer: Restorer, what: str, arguments: tuple, pipe: Connection) -> tuple[str, Any]:
    try:
        if what == "memory_for":
            return "done", restorer.memory_for(*arguments)
        pictures, where, strength = arguments
        told = -math.inf

        def progress(share: float) -> None:
            nonlocal told
            if share - told >= 0.01:
                told = share
                pipe.send(("share", share))

        clip = torch.from_numpy(pictures).to(restorer.device)
        mask = None if where is None else torch.from_numpy(where).to(restorer.device)
        return "done", restorer.restore(clip, mask=mask, strength=strength, progress=progress).cpu().numpy()
    except VividFaceError as error:
        return "error", error


class RankInfo(NamedTuple):
    """The rank of a process in a group (``torch.distributed``)."""

    init_method: str
    """``file://`` address through which the processes of the group find each other."""
    rank: int
    world_size: int


def init_process_group(restorer: Restorer, device: torch.device, rank_info: RankInfo) -> None:
    """Join the process group, and share the work on each window in it from now on.

    Raises:
        InvalidOption: the restorer can't share a window, or torch has no distribution.
    """
    import torch.distributed as dist

    if not dist.is_available():
        raise InvalidOption("One window can't be shared here: that takes torch with distribution.")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=rank_info.init_method,
        rank=rank_info.rank,
        world_size=rank_info.world_size,
    )
    restorer.share_window()
