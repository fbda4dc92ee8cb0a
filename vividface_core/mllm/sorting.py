"""Copies of judged videos in folders by their verdict, brought up to date when a verdict changes."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vividface_core.errors import InvalidOption, UnwritableVideo
from vividface_core.io.tensors import write_json

BY_TIER, KEEP_AND_DROP, KEPT_ONLY = "by tier", "keep and drop", "kept only"
SORTS = (BY_TIER, KEEP_AND_DROP, KEPT_ONLY)
FOLDER, INDEX = "sorted", "copies.json"


def sort_copies(rows: Sequence[Mapping[str, Any]], videos: Mapping[str, Path], target: Path, sort: str,
                on_poll: Callable[[], None] | None = None) -> dict[str, str]:  # fmt: skip
    """Copy videos to ``target/sorted/CLASS/NAME``; originals are only read.

    Copies of an earlier run that belong elsewhere now are removed, unless somebody changed them; other files in there
    are never touched. Each copy appears whole or not at all.

    Args:
        rows: judged videos; those that failed are left out.
        videos: their files, by name.
        sort: one of :data:`SORTS`.
        on_poll: called before each copy; what it raises ends the work.

    Returns:
        Places of the copies below ``target/sorted``, with the content of each.

    Raises:
        InvalidOption: no such way of sorting.
        UnwritableVideo: disk full, folder not writable …
    """
    if sort not in SORTS:
        raise InvalidOption(f"Videos can't be sorted by {sort!r}; choose one of {', '.join(SORTS)}.")
    wanted = {f"{kind}/{row['name']}": row for row in rows if (kind := _class(row, sort))}
    index, base = target / INDEX, target / FOLDER
    known = _read(index)
    try:
        for place, size in list(known.items()):
            if place not in wanted and _is_own(base / place, size):
                (base / place).unlink()
        for place, row in wanted.items():
            if on_poll:
                on_poll()
            source = videos[row["name"]]
            if known.get(place) != [row["content"], source.stat().st_size] or not _is_own(base / place, known[place]):
                _copy(source, base / place)
                known[place] = [row["content"], source.stat().st_size]
                write_json(index, known, indent=1)
        kept = {place: known[place] for place in wanted}
        write_json(index, kept, indent=1)
    except OSError as error:
        raise UnwritableVideo(f"The videos can't be sorted into {base}: {error.strerror}.") from error
    return {place: content for place, (content, _) in kept.items()}


def _class(row: Mapping[str, Any], sort: str) -> str | None:
    if row["state"] != "judged":
        return None
    if sort == BY_TIER:
        return re.sub(r"[^\w -]+", "_", row["tier"]).strip() or "_"
    return "keep" if row["keep"] else "drop" if sort == KEEP_AND_DROP else None


def _is_own(path: Path, noted: Any) -> bool:
    """Whether a copy is still there as it was made."""
    return path.is_file() and path.stat().st_size == noted[1]


def _copy(source: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        shutil.copyfile(source, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _read(index: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        return {str(place): [str(one[0]), int(one[1])] for place, one in content.items() if _inside(str(place))}
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return {}


def _inside(place: str) -> bool:
    """What is removed is found by these names."""
    return not Path(place).is_absolute() and ".." not in Path(place).parts
