"""Commands in a process of their own, which stays: a crash or a hang costs one command, not the run."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

LIMIT = 300.0
"""Seconds after which a command counts as hanging."""
_TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        status: its exit status; ``None``: it crashed or hung.
        out, err: what it printed, native libraries included.
    """

    status: int | None
    out: str
    err: str
    seconds: float
    fault: str = ""

    @property
    def faults(self) -> str:
        """What no input may lead to: a traceback, a crash, a hang; empty if all is well."""
        return self.fault or ("traceback" if _TRACEBACK in self.out + self.err else "")

    @property
    def told(self) -> list[str]:
        """The command's own sentences, each once."""
        lines = (line.strip() for line in self.err.replace("\r", "\n").splitlines())
        return list(dict.fromkeys(line[11:] for line in lines if line.lower().startswith("vividface: ")))


class Worker:
    """Runs the ``vividface`` command's own entry point with its imports done once."""

    def __init__(self, limit: float = LIMIT) -> None:
        self._limit, self._context = limit, multiprocessing.get_context("spawn")
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, words: list[str], folder: Path) -> Outcome:
        """One command, with ``folder`` as the current one."""
        if self._process is None:
            self._start()
        began = time.monotonic()
        self._pipe.send((words, str(folder)))
        if not self._pipe.poll(self._limit):
            self.close(0.0)
            return Outcome(None, "", "", self._limit, f"hangs (over {self._limit:.0f} s)")
        try:
            status, out, err = self._pipe.recv()
        except EOFError:
            code = self._process.exitcode
            self.close()
            return Outcome(None, "", "", time.monotonic() - began, f"crash (exit code {code})")
        return Outcome(status, out, err, time.monotonic() - began)

    def close(self, patience: float = 10.0) -> None:
        """End the process, whatever it is doing."""
        if self._process is not None:
            self._pipe.close()  # one that waits for a command ends by itself
            self._process.join(patience)
            self._process.kill()
            self._process.join()
        self._process = self._pipe = None

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()  # its imports are done: they don't count


def _serve(pipe: Connection) -> None:
    import torch

    import vividface_core.cli.main
    import vividface_core.cli.restore_checks
    import vividface_core.pipeline.restore
    import vividface_core.weights  # noqa: F401

    torch.set_num_threads(1)
    pipe.send("ready")
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        while True:
            try:
                words, folder = pipe.recv()
            except EOFError:
                return
            pipe.send(_run(words, folder))


def _run(words: list[str], folder: str) -> tuple[int, str, str]:
    from vividface_core.cli.main import main

    os.chdir(folder)
    for descriptor in (1, 2):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        status = main(words)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status, _read(1), _read(2)


def _read(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0).decode("utf-8", "replace")
