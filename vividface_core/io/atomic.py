"""Files that are written whole or not at all: a reader sees the old content or the new one."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from vividface_core.errors import UnsupportedCheckpoint, UnwritableVideo
from vividface_core.io.file_names import beside
from vividface_core.io.text import read_text


def write_json(path: Path, content: object, indent: int | None = None) -> None:
    """Write JSON at once or not at all."""
    partial = beside(path, before=".", after=".partial")
    partial.write_text(json.dumps(content, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")
    os.replace(partial, path)


def read_json(path: Path) -> dict[str, Any]:
    """An object out of a JSON file.

    Raises:
        UnsupportedCheckpoint: it is damaged or holds something else.
    """
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UnsupportedCheckpoint(f"{path} is no valid JSON ({error}); fetch the checkpoint again.") from error
    if not isinstance(content, dict):
        raise UnsupportedCheckpoint(f"{path} holds no JSON object; fetch the checkpoint again.")
    return content


def write_report(path: Path, text: str) -> None:
    """Write a report, whole or not at all.

    Raises:
        UnwritableVideo: it can't be written.
    """
    partial = beside(path, before=".", after=".partial")
    try:
        # A file's name that is no Unicode has halves of characters, which UTF-8 hasn't.
        partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
        os.replace(partial, path)
    except OSError as error:
        raise UnwritableVideo(f"The report can't be written to {path}: {error.strerror}.") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_json_report(path: Path, content: dict[str, Any]) -> None:
    """Write a report of JSON values.

    Raises:
        UnwritableVideo: it can't be written.
    """
    write_report(path, json.dumps(content, indent=2) + "\n")
