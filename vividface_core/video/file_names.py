"""Names of video files: which suffixes they have, their natural order, what results are called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}


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
