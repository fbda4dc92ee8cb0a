"""The folder of a data set: what lies where, and whose it is."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from training.curation.record_store import RecordStore
from vividface_core.errors import InvalidOption, UnwritableVideo
from vividface_core.io.atomic import write_json
from vividface_core.io.file_names import VIDEO_SUFFIXES
from vividface_core.io.locks import lock_file

FORMAT, VERSION = "vividface-curation", 1
CLIP_SUFFIX = ".mp4"


def candidate_path(work: Path, key: str) -> Path:
    """Where a clip's file lies, kept or not; the same clip always has the same key."""
    return work / "candidates" / f"{key}{CLIP_SUFFIX}"


class DataSet:
    """A data set under way or done.

    Args:
        out: its folder; made by :meth:`open`.
    """

    def __init__(self, out: Path) -> None:
        self.out = Path(out)
        self.work, self.clips = self.out / "work", self.out / "clips"
        self.manifest, self.parquet = self.out / "manifest.jsonl", self.out / "manifest.parquet"
        self.sheet, self.review = self.out / "contact_sheet.jpg", self.out / "review.html"
        self.overrules, self.settings = self.out / "overrules.json", self.out / "curate.json"
        self.store = RecordStore(self.work)

    def check(self, videos: Path) -> None:
        """
        Raises:
            InvalidOption: ``videos`` is no folder, or one of the two would lie in the other.
            UnwritableVideo: the output is no folder, or holds something else.
        """
        if not videos.is_dir():
            raise InvalidOption(f"{videos} is no folder. Name one with videos in it or below it.")
        source, target = videos.resolve(), self.out.resolve()
        if target == source or source in target.parents or target in source.parents:
            raise InvalidOption(
                f"The data set {self.out} and the videos {videos} lie in one another: a later run would take clips for "
                "videos. Name an output elsewhere."
            )
        if self.out.exists() and not self.out.is_dir():
            raise UnwritableVideo(f"{self.out} is a file. Name a folder for the data set.")
        if self.out.is_dir() and any(self.out.iterdir()) and self.read_settings() is None:
            raise UnwritableVideo(
                f"{self.out} holds something else than a data set of vividface curate. Name another folder, or an "
                "empty one."
            )

    def read_settings(self) -> dict[str, Any] | None:
        """What the last run was asked for; ``None``: this is no data set."""
        try:
            stored = json.loads(self.settings.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return stored if isinstance(stored, dict) and stored.get("format") == FORMAT else None

    @contextmanager
    def opened(self, settings: dict[str, Any]) -> Iterator[None]:
        """Make the folder, note what is asked for, and keep a second run out meanwhile; the system lets go of the lock
        however this one ends.

        Raises:
            UnwritableVideo: it can't be written, or another run works on it.
        """
        noted = {"format": FORMAT, "version": VERSION, **settings}
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            if not self.settings.exists():
                write_json(self.settings, noted, indent=1)  # first of all: it tells whose folder this is
            self.work.mkdir(exist_ok=True)
            lock = (self.work / "lock").open("ab")
        except OSError as error:
            raise UnwritableVideo(f"{self.out} can't be written: {error.strerror}. Choose another folder.") from error
        with lock:
            if not lock_file(lock.fileno()):
                raise UnwritableVideo(f"Another run works on {self.out}. Wait for it, or stop it.")
            write_json(self.settings, noted, indent=1)
            self._sweep()
            yield
            self._sweep()

    def _sweep(self) -> None:
        """Remove what killed processes were writing; nobody else is at work."""
        for place in (self.work, *(entry for entry in self.work.iterdir() if entry.is_dir()), self.clips):
            for partial in place.glob(".*.partial"):
                partial.unlink(missing_ok=True)

    def publish(self, keys: Iterable[str], others: Iterable[str]) -> None:
        """Put the clips ``keys`` into ``clips/``, as links to the candidates where the file system has them, and take
        the ``others`` out of it. Files of other names aren't touched.

        Raises:
            UnwritableVideo: that can't be done.
        """
        try:
            self.clips.mkdir(exist_ok=True)
            for key in keys:
                _link(candidate_path(self.work, key), self.kept_path(key))
            for key in others:
                self.kept_path(key).unlink(missing_ok=True)
        except OSError as error:
            raise UnwritableVideo(f"Clips can't be written to {self.clips}: {error.strerror}.") from error

    def kept_path(self, key: str) -> Path:
        """Of a kept clip."""
        return self.clips / f"{key}{CLIP_SUFFIX}"


def videos_below(folder: Path) -> list[str]:
    """All videos in a folder and below it, as sorted relative posix paths; hidden files and folders are left out.

    Raises:
        InvalidOption: there is none.
    """
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "."]
        found += [
            Path(place, name).relative_to(folder).as_posix()
            for name in files
            if name[0] != "." and Path(name).suffix.lower() in VIDEO_SUFFIXES
        ]
    if not found:
        raise InvalidOption(f"There is no video in {folder} or below it ({', '.join(sorted(VIDEO_SUFFIXES))}).")
    # A name that is no valid text can't be listed as it is; the file is then reported as missing.
    return sorted(name.encode("utf-8", "replace").decode() for name in found)


def _link(source: Path, target: Path) -> None:
    if target.exists():
        one, other = source.stat(), target.stat()
        if os.path.samestat(one, other) or (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns):
            return
    partial = target.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        try:
            os.link(source, partial)
        except OSError:  # another file system, or one without links
            shutil.copy2(source, partial)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
