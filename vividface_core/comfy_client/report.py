"""The end of a batch: a table for people, JSON for programs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from vividface_core.comfy_client.files import Item
from vividface_core.errors import UnwritableVideo

LEFT = "not done"


def table(items: list[Item]) -> str:
    """A line a file (state, seconds, name, server, results or reason), and the counts below."""
    if not items:
        return ""
    wide = max(len(item.name) for item in items)
    host = max(len(item.server) for item in items)
    lines = []
    for item in items:
        seconds = f"{item.seconds:8.1f} s" if item.seconds else " " * 10
        rest = " ".join(item.reason.split()) if item.reason else ", ".join(item.outputs)
        lines.append(f"{_state(item):<8} {seconds}  {item.name:<{wide}}  {item.server:<{host}}  {rest}".rstrip())
    counts = counted(items)
    lines.append(", ".join(f"{number} {state}" for state, number in counts.items() if number))
    return "\n".join(lines)


def counted(items: list[Item]) -> dict[str, int]:
    """How many files are done, skipped, failed and not done."""
    counts = {"done": 0, "skipped": 0, "failed": 0, LEFT: 0}
    for item in items:
        counts[_state(item)] += 1
    return counts


def report(items: list[Item], servers: list[dict[str, Any]], **details: Any) -> dict[str, Any]:
    """The same as JSON values.

    Args:
        servers: address, files done, times lost and last reason of each.
        details: about the run as a whole.
    """
    files = [
        {
            "name": item.name, "state": _state(item), "seconds": round(item.seconds, 2), "server": item.server or None,
            "outputs": item.outputs, "reason": item.reason or None, "sent": item.starts,
        }
        for item in items
    ]  # fmt: skip
    return {**details, "counts": counted(items), "files": files, "servers": servers}


def check_target(path: Path) -> None:
    """Say before the work that a report can't be written.

    Raises:
        UnwritableVideo: its folder is missing, or it is a folder itself.
    """
    if not path.parent.is_dir() or path.is_dir():
        raise UnwritableVideo(f"The report can't be written to {path}. Name a file in a folder that exists.")


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a report, whole or not at all.

    Raises:
        UnwritableVideo: it can't be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise UnwritableVideo(f"The report can't be written to {path}: {error.strerror}.") from error


def _state(item: Item) -> str:
    return item.state if item.state in ("done", "skipped", "failed") else LEFT
