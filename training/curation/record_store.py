"""What each stage found out about each item: one small JSON file, whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

from vividface_core.errors import UnreadableVideo, UnwritableVideo
from vividface_core.mllm.scoring import content_of

STAGE = "contents"
YOUNG = 2.0
"""Seconds in which a file may change again without another time."""


def digest_of(values: object) -> str:
    """Ten hexadecimal digits that stand for JSON values."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


class RecordStore:
    """Records by stage and key. Several processes, on several machines with one file system, may use it at once.

    Args:
        folder: made when the first record is put.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def get(self, stage: str, key: str) -> dict[str, Any] | None:
        """A record; ``None`` if there is none, or a power cut damaged it."""
        try:
            record = json.loads(self._path(stage, key).read_bytes())
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) else None

    def put(self, stage: str, key: str, record: dict[str, Any]) -> None:
        """Write a record; a reader sees the one before or this one, whole.

        Raises:
            UnwritableVideo: it can't be written.
        """
        path = self._path(stage, key)
        # Two machines may write the same record, so neither process ids nor keys make the name unique.
        partial = path.with_name(f".{uuid.uuid4().hex}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except OSError as error:
            raise UnwritableVideo(f"{path} can't be written: {error.strerror}. The same command goes on.") from error
        finally:
            partial.unlink(missing_ok=True)

    def clear(self, stage: str) -> None:
        """Forget a stage.

        Raises:
            UnwritableVideo: its records can't be removed.
        """
        try:
            if (self.folder / stage).exists():
                shutil.rmtree(self.folder / stage)
        except OSError as error:
            raise UnwritableVideo(f"{self.folder / stage} can't be removed: {error.strerror}.") from error

    def _path(self, stage: str, key: str) -> Path:
        return self.folder / stage / f"{key}.json"


def known_content(store: RecordStore, folder: Path, video: str) -> str | None:
    """SHA-256 of a video that was read before and hasn't been touched since: same size, same times, also that of its
    last renaming or copying, which no program sets at will. ``None``: it must be read."""
    record = store.get(STAGE, digest_of(video))
    return record["content"] if record and record.get("facts") == _facts(folder / video) else None


def content_at(store: RecordStore, folder: Path, video: str) -> str:
    """SHA-256 of a video's content.

    Raises:
        UnreadableVideo: it can't be read.
        UnwritableVideo: the store can't be written.
    """
    if known := known_content(store, folder, video):
        return known
    facts = _facts(folder / video)
    if facts is None:
        raise UnreadableVideo(f"{folder / video} does not exist any more, or can't be read.")
    content = content_of(folder / video)
    if time.time() - max(facts[1:]) / 1e9 > YOUNG:
        store.put(STAGE, digest_of(video), {"video": video, "facts": facts, "content": content})
    return content


def _facts(path: Path) -> list[int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]
