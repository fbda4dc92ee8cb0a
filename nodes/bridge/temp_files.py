"""Files in ComfyUI's temp folder that go when nobody needs them any more, not when the server starts next."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .paths import temp_path

SHOWN = 8
"""Pairs of videos that stay because a page may be showing them."""


class TempFile(str):
    """Path of a new file that is deleted with the last reference to this path.

    A VIDEO keeps the path that it was made from, and so do the trimmed ones that are made of it: the file lives as long
    as ComfyUI's cache or a running node holds one of them.
    """

    def __new__(cls, suffix: str) -> TempFile:
        self = super().__new__(cls, temp_path(suffix))
        weakref.finalize(self, _delete, str(self))
        return self


def _delete(path: str) -> None:
    file = Path(path)
    for one in file.parent.glob(f"{file.stem}*"):  # and what was written beside it under its name
        with suppress(OSError):  # gone already, or still open on Windows: the next start empties the folder
            one.unlink()


_shown: deque[tuple[object, ...]] = deque(maxlen=SHOWN)


def keep_shown(files: Iterable[object]) -> None:
    """Let files live until so many others have been shown."""
    _shown.append(tuple(one for one in files if isinstance(one, TempFile)))
