"""The loss curve on disk, one JSON object a line, and Accelerate's trackers beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class CurveLog:
    """``log.jsonl`` of a run. A resumed run first forgets the lines after the state it resumes from."""

    def __init__(self, path: Path, step: int) -> None:
        kept = [line for line in _lines(path) if json.loads(line)["step"] <= step]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(kept))
        self._path = path

    def write(self, entry: dict[str, Any]) -> None:
        """Append one entry; floats keep nine digits, enough to compare two runs."""
        rounded = {key: float(f"{value:.9g}") if isinstance(value, float) else value for key, value in entry.items()}
        with self._path.open("a") as file:
            file.write(json.dumps(rounded) + "\n")


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    lines = path.read_text().splitlines(keepends=True)
    # A killed run may have left half a line at the end.
    return [line for line in lines if line.endswith("}\n")]


def read_curve(path: Path) -> list[dict[str, Any]]:
    """All entries of a ``log.jsonl``."""
    return [json.loads(line) for line in _lines(path)]
