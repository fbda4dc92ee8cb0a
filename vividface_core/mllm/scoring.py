"""Scoring many videos with one judge: each once, concurrently if the judge supports it, and stoppable."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vividface_core.errors import Interrupted, MissingDependency, UnreadableVideo, UnwritableVideo, VividFaceError
from vividface_core.mllm.calibration import Calibration
from vividface_core.mllm.judges.base import Judge
from vividface_core.mllm.judges.http import Refused
from vividface_core.mllm.rubric import Rubric, rubric_version
from vividface_core.runtime.threads import parallel_map
from vividface_core.video.images import list_images

FATAL_STATUS = (401, 403, 404, 407)
"""HTTP status codes that every further request would get too."""
ABORT_GRACE = 0.5
"""Seconds that a stopped judge has to close its files."""


def run_judge(
    judge: Judge,
    clips: Sequence[Path],
    records: Records,
    names: Mapping[Path, str] | None = None,
    on_poll: Callable[[], None] | None = None,
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield each clip with its record as it is finished, as many at once as the judge supports.

    After an error the running ones are finished and kept; Ctrl-C waits for none.

    Args:
        names: of clips in records; without one it is their file's.
        on_poll: called ten times a second in the caller's thread; what it raises stops everything at once.

    Raises:
        VividFaceError: no other clip could be judged either.
    """
    names = names or {}

    def judge_one(clip: Path) -> dict[str, Any]:
        return _one(judge, clip, records, names.get(clip))

    return parallel_map(lambda: judge_one, clips, judge.concurrency, on_poll, partial(abort_judge, judge))


def abort_judge(judge: Judge, threads: Sequence[threading.Thread]) -> None:
    """Stop a judge and wait shortly for its threads. An answer that has been sent already may still arrive."""
    judge.stopped.set()
    for thread in threads:
        thread.join(ABORT_GRACE / len(threads))


def _one(judge: Judge, clip: Path, records: Records, name: str | None) -> dict[str, Any]:
    """A clip's record: an earlier run's, or a new one.

    Raises:
        VividFaceError: no other clip could be judged either.
    """
    judge_name = judge_id(judge.identity)
    video, name = name or str(clip), name or clip.name
    record: dict[str, Any] = {"video": video, "name": name, "content": None, "judge": judge_name}
    try:
        record["content"] = content_of(clip)
        known = records.find(name, record["content"], judge_name)
        if known:
            return {**known, "video": video, "resumed": True}
        record |= {"state": "judged", "judgement": judge.judge(clip).to_json()}
    except (Interrupted, MissingDependency, UnwritableVideo):
        raise
    except VividFaceError as error:
        if isinstance(error, Refused) and error.status in FATAL_STATUS:
            raise
        record |= {"state": "failed", "error": str(error)}
        if refused := getattr(error, "refused", ()):
            record["refused"] = [{"answer": rejected.answer, "reason": rejected.reason} for rejected in refused]
    records.add(record)
    return record


def with_verdict(
    record: Mapping[str, Any], rubric: Rubric, calibration: Calibration | None = None, threshold: float | None = None
) -> dict[str, Any]:
    """A record with its final score, tier and verdict; these depend on calibration and threshold and are not stored.

    Args:
        threshold: clips above it are kept; ``None``: the rubric's own.
    """
    if record["state"] != "judged":
        return {**record, "final": None, "tier": None, "keep": False}
    final = record["judgement"]["assessment"]["final"]
    if calibration is not None:
        final = calibration.correct(final, rubric=rubric_version(rubric), judge=record["judge"])
    keep = rubric.keeps(final) if threshold is None else final > threshold
    return {**record, "final": final, "tier": rubric.tier(final), "keep": keep}


def pop_notices(judge: Any) -> list[str]:
    """Remove and return the judge's pending notices for the user."""
    notices, told = getattr(judge, "notices", []), []
    while notices:
        told.append(notices.pop(0))
    return told


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
            _check_records(path, text)
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


def _check_records(path: Path, text: bytes) -> None:
    """
    Raises:
        UnwritableVideo: the file holds something else, which records would be appended to.
    """
    whole, _, rest = text.partition(b"\n")
    try:
        first = json.loads(whole) if whole.strip() else {"state": ""}
    except ValueError:
        # A crash may have cut the only line.
        first = {"state": ""} if whole.startswith(b"{") and not rest.strip() else None
    if not isinstance(first, dict) or "state" not in first:
        raise UnwritableVideo(
            f"{path} exists already and holds no judged videos; they would be written into it. Name another file."
        )


def _key(record: Mapping[str, Any]) -> tuple[str, str, str]:
    if not isinstance(record["judgement"]["assessment"], dict):
        raise TypeError("assessment")
    return str(record["name"]), str(record["content"]), str(record["judge"])


def _unwritable(path: Path, error: OSError) -> UnwritableVideo:
    return UnwritableVideo(f"{path} can't be read or written: {error.strerror}. Name another file with --jsonl.")
