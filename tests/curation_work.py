"""Work for engines that does as its items say: it waits, fails, dies, and leaves notes of all that."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.curation.record_store import RecordStore
from vividface_core import errors
from vividface_core.mllm.judges.http import Refused
from vividface_core.runtime.engines.base import Worker

PATIENCE = 400
"""Seconds after which something that should come counts as never."""


@dataclass(frozen=True)
class Work:
    """Items: ``key``, and as wanted ``value`` (comes back), ``wait`` (notes that it waits for), ``raise`` (an error's
    class), ``deaths`` (times that it dies at work), ``dies_done`` (it dies as soon as its record is there), ``rest``
    (seconds that it takes).

    Attributes:
        folder: of notes and records.
        fault: class of an error that it can't be made for.
    """

    folder: Path
    fault: str = ""

    def __call__(self) -> Worker:
        note(self.folder, "made", f"{os.getpid()}-{threading.get_ident()}")
        if self.fault:
            raise getattr(errors, self.fault)(f"{self.fault} is what it is. Do something.")
        return self.work

    def work(self, item: dict[str, Any]) -> dict[str, Any]:
        store, key = RecordStore(self.folder / "store"), item["key"]
        if known := store.get("work", key):
            return known
        note(self.folder, "begun", key)
        for wanted in item.get("wait", ()):
            wait_for(self.folder, *wanted)
        time.sleep(item.get("rest", 0))
        if name := item.get("raise"):
            note(self.folder, "raised", key)
            if name == Refused.__name__:
                raise Refused(f"{key} can't be.", 401)
            raise getattr(errors, name, ZeroDivisionError)(f"{key} can't be.")
        if noted(self.folder, "begun").count(key) <= item.get("deaths", 0):
            os.kill(os.getpid(), signal.SIGKILL)
        record = {"key": key, "value": item.get("value"), "pid": os.getpid(), "thread": threading.get_ident()}
        store.put("work", key, record)
        note(self.folder, "done", key)
        if item.get("dies_done"):
            os.kill(os.getpid(), signal.SIGKILL)
        return record


def note(folder: Path, kind: str, text: str) -> None:
    """Several processes may write at once."""
    handle = os.open(folder / kind, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(handle, f"{text}\n".encode())
    os.close(handle)


def noted(folder: Path, kind: str) -> list[str]:
    path = folder / kind
    return path.read_text().splitlines() if path.exists() else []


def wait_for(folder: Path, kind: str, text: str) -> None:
    end = time.monotonic() + PATIENCE
    while text not in noted(folder, kind):
        if time.monotonic() > end:
            raise TimeoutError(f"{text} was never {kind}")
        time.sleep(0.01)
