"""Names of video files: which suffixes they have, their natural order, what results are called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vividface_core.errors import UnreadableVideo
from vividface_core.video.images import IMAGE_SUFFIXES, list_images

VIDEO_SUFFIXES = frozenset((".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".mxf", ".gif"))


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


def clips_in(path: Path) -> list[Path]:
    """The clips that a path stands for: itself, or those of a folder (videos, and folders of pictures), by name.

    Raises:
        UnreadableVideo: nothing there.
    """
    if not path.exists():
        raise UnreadableVideo(f"{path} does not exist. Check the name and the folder.")
    if not path.is_dir() or list_images(path):
        return [path]
    found = sorted(entry for entry in path.iterdir() if entry.name[0] != "." and _is_clip(entry))
    if not found:
        raise UnreadableVideo(f"The folder {path} holds no video and no pictures.")
    return found


def _is_clip(entry: Path) -> bool:
    return bool(list_images(entry)) if entry.is_dir() else entry.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES
