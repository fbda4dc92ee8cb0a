"""Folders that many programs share: whatever lies in them, looking into them never fails.

A link to nothing, a link to itself, a folder that may not be read, a file that vanishes meanwhile: each is left out,
and the log says so once. A folder of the project's own is written whole or not at all.
"""

from __future__ import annotations

import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vividface_core.io.file_names import beside

LOG = logging.getLogger("vividface")
DEPTH = 4
"""Levels of folders that :func:`walk` goes down."""
_told: set[str] = set()


def leave_out(path: Path, why: object) -> None:
    """Say that something is left out; once in the life of the process."""
    if (key := str(path)) not in _told:
        _told.add(key)
        LOG.warning("VividFace: %s is left out: %s.", path, why)


def entries(folder: Path) -> list[Path]:
    """What lies in a folder and can be reached, by name; empty if the folder isn't there or can't be read."""
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        leave_out(folder, error.strerror)
        return []
    return [path for path in (folder / name for name in names) if _reachable(path)]


def _reachable(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            leave_out(path, "it is a link to nothing")
        return False  # or it vanished meanwhile
    except OSError as error:
        leave_out(path, error.strerror)
        return False
    return True


def is_file(path: Path) -> bool:
    """``Path.is_file``, but false as well for what can't be reached."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_dir(path: Path) -> bool:
    """``Path.is_dir``, but false as well for what can't be reached."""
    try:
        return path.is_dir()
    except OSError:
        return False


def walk(folder: Path, depth: int = DEPTH) -> Iterator[tuple[Path, list[Path]]]:
    """A folder and those below it, each with its :func:`entries`, links followed and no folder twice.

    Hidden folders are left out. The list may be changed by the caller: folders taken out of it aren't gone into.
    """
    yield from _walk(folder, depth, set())


def _walk(folder: Path, depth: int, seen: set[str]) -> Iterator[tuple[Path, list[Path]]]:
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    found = entries(folder)
    yield folder, found
    for entry in found if depth > 0 else ():
        if is_dir(entry) and entry.name[0] != ".":
            yield from _walk(entry, depth - 1, seen)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder, as far as they can be reached."""
    if is_file(path):
        return _size(path)
    return sum(_size(entry) for _, found in walk(path) for entry in found if is_file(entry))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder to write into; it gets the name ``path`` when the block ends without an error.

    An older folder of that name stays until then; what it has and the new one hasn't is kept.
    """
    partial = beside(path, before=".", after=f".partial.{uuid.uuid4().hex[:8]}")
    try:
        partial.mkdir(parents=True)
        yield partial
        _put_in_place(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put_in_place(new: Path, path: Path) -> None:
    """Rename; a folder can't be renamed over a full one, so an old one steps aside first. What isn't of the checkpoint
    moves back from there."""
    path = Path(os.path.realpath(path))  # a link stays a link
    old = path.with_name(f"{new.name}.old")
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(new, path)
    except OSError:
        if old.exists():
            os.replace(old, path)
        raise
    if old.exists():
        _move_missing(old, path)
        shutil.rmtree(old)


def _move_missing(old: Path, new: Path) -> None:
    """Move into ``new`` what only ``old`` has."""
    for entry in old.iterdir():
        target = new / entry.name
        if not os.path.lexists(target):
            os.replace(entry, target)
        elif entry.is_dir() and not entry.is_symlink() and target.is_dir():
            _move_missing(entry, target)
