"""What became of each video, a JSON line each: written as soon as it is known, read by the next run."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vividface_core.errors import UnreadableVideo, UnwritableVideo
from vividface_core.video.images import list_images


def judge_id(identity: Mapping[str, Any]) -> str:
    """A name for whatever decides a judge's answers: its kind, its model, and a digest of everything else."""
    text = json.dumps(identity, sort_keys=True, ensure_ascii=False)
    told = " ".join(str(identity[word]) for word in ("kind", "model") if identity.get(word))
    return f"{told}@{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def content_of(clip: Path) -> str:
    """SHA-256 of a video's content; of a folder's, names and contents of its pictures.

    Raises:
        UnreadableVideo: it can't be read.
    """
    digest = hashlib.sha256()
    files = list_images(clip) if clip.is_dir() else [clip]
    try:
        for file in files:
            if clip.is_dir():
                digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as opened:
                while piece := opened.read(1 << 20):
                    digest.update(piece)
    except OSError as error:
        raise UnreadableVideo(f"{clip} can't be read: {error.strerror}.") from error
    return digest.hexdigest()


class Records:
    """Judged videos by name, content and judge. A line cut short by a crash counts as not written.

    Args:
        path: of the JSONL file; ``None``: nothing is kept.

    Raises:
        UnwritableVideo: it can't be read or written.
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._lock = path, threading.Lock()
        self._judged: dict[tuple[str, str, str], dict[str, Any]] = {}
        if path is None:
            return
        try:
            text = path.read_bytes() if path.exists() else b""
            with path.open("ab") as file:
                if text and not text.endswith(b"\n"):
                    file.write(b"\n")  # what a crash cut off must not swallow the next line
        except OSError as error:
            raise _unwritable(path, error) from error
        for line in text.splitlines():
            try:
                record = json.loads(line)
                if record["state"] == "judged":
                    self._judged[_key(record)] = record
            except (ValueError, KeyError, TypeError):
                continue

    def find(self, name: str, content: str, judge: str) -> dict[str, Any] | None:
        """An earlier run's record, if it was judged."""
        return self._judged.get((name, content, judge))

    def add(self, record: dict[str, Any]) -> None:
        """Keep one; safe to call from several threads.

        Raises:
            UnwritableVideo: it can't be written.
        """
        if self._path is None:
            return
        line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
        try:
            with self._lock, self._path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(self._path, error) from error


def _key(record: Mapping[str, Any]) -> tuple[str, str, str]:
    if not isinstance(record["judgement"]["assessment"], dict):
        raise TypeError("assessment")
    return str(record["name"]), str(record["content"]), str(record["judge"])


def _unwritable(path: Path, error: OSError) -> UnwritableVideo:
    return UnwritableVideo(f"{path} can't be read or written: {error.strerror}. Name another file with --jsonl.")
