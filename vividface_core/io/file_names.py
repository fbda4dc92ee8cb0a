"""Names of video files: their natural order, what results are called, how long they may be."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".mxf", ".gif", ".wmv", ".flv", ".m2ts")
    + (".mts", ".3gp", ".ogv", ".vob", ".asf", ".dv", ".apng")
)
"""By which the videos of a folder are told."""


def natural_key(name: str) -> list[Any]:
    """Sorts ``2.mp4`` before ``10.mp4``."""
    parts = re.split(r"(\d+)", name.casefold())
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def distinct_stems(files: Iterable[Path]) -> list[str]:
    """A stem for each file: its own, or with the suffix (``a-mov``) where files of other suffixes share it.

    Upper and lower case count as equal, as some file systems take them.
    """
    files = list(files)
    count = Counter(file.stem.casefold() for file in files)
    taken = {stem for stem, number in count.items() if number == 1}
    stems = []
    for file in files:
        stem = file.stem
        if count[stem.casefold()] > 1:
            base = stem = f"{file.stem}-{file.suffix[1:].lower()}"
            number = 2
            while stem.casefold() in taken:
                stem, number = f"{base}-{number}", number + 1
            taken.add(stem.casefold())
        stems.append(stem)
    return stems


def missing_numbers(stems: Sequence[str]) -> int:
    """How many numbers are left out in a row of names that end in numbers; 0 where they aren't such a row."""
    found = [match for stem in stems if (match := re.fullmatch(r"(.*?)(\d+)", stem))]
    if len(found) < 2 or len(found) < len(stems) or len({match[1] for match in found}) > 1:
        return 0
    numbers = [int(match[2]) for match in found]
    return max(0, numbers[-1] - numbers[0] + 1 - len(numbers))


NAME_BYTES = 255
"""Most bytes of a file's name, where the file system doesn't say."""


def longest_name(folder: Path) -> int:
    """Most bytes that a name in this folder may have."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # Windows has no pathconf
        return NAME_BYTES


def beside(path: Path, *, before: str = "", after: str = "") -> Path:
    """A path in the same folder, called ``before`` + the name + ``after``.

    Where that would be longer than names may be, the name's beginning and a hash of it stand for the name: the same
    one for the same name.
    """
    most = longest_name(path.parent)
    name = f"{before}{path.name}{after}"
    if len(os.fsencode(name)) > most:
        told = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
        room = most - len(os.fsencode(f"{before}~{told}{after}"))
        kept = os.fsencode(path.name)[: max(0, room)].decode("utf-8", "ignore")
        name = f"{before}{kept}~{told}{after}"
    return path.with_name(name)


def scratch_prefix(path: Path) -> str:
    """How the name of a temporary folder beside a path begins; eight signs more follow."""
    return beside(path, before=".", after=".12345678").name[:-8]


def is_too_long(path: Path) -> bool:
    """Whether the file system has no room for this name."""
    return len(os.fsencode(path.name)) > longest_name(path.parent)
