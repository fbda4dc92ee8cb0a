"""Which videos are which: by content, read again only where a file seems to have changed."""

from __future__ import annotations

import time
from pathlib import Path

from training.curation.record_store import RecordStore, digest_of
from vividface_core.errors import UnreadableVideo
from vividface_core.mllm.records import content_of

STAGE = "contents"
YOUNG = 2.0
"""Seconds in which a file may change again without another time."""


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
