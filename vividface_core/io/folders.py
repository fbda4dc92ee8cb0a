"""A folder that is written whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder to write into; it gets the name ``path`` when the block ends without an error.

    An older folder of that name stays until then.
    """
    partial = path.with_name(f".{path.name}.partial.{uuid.uuid4().hex[:8]}")
    try:
        partial.mkdir(parents=True)
        yield partial
        _put_in_place(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put_in_place(new: Path, path: Path) -> None:
    """Rename; a folder can't be renamed over a full one, so an old one steps aside first."""
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
        shutil.rmtree(old)
