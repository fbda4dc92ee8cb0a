"""Before the work: every path that will be written, against every path that is read or written.

Two paths are one file whatever they are called: through links to files or folders, as hard links, in other case on a
disk that ignores case. What would be lost is refused, however it is asked for; what merely exists already is the
caller's to ask about (:func:`unrelated`).
"""

from __future__ import annotations

import json
import os
import stat
import sys
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from vividface_core.errors import InvalidOption, UnwritableVideo
from vividface_core.io.file_names import beside, is_too_long

MEDIA_AND_WEIGHTS = frozenset(
    (
        ".mp4",
        ".m4v",
        ".mov",
        ".mkv",
        ".webm",
        ".avi",
        ".ts",
        ".m2ts",
        ".mts",
        ".wmv",
        ".flv",
        ".mpg",
        ".mpeg",
        ".mxf",
        ".png",
        ".apng",
        ".jpg",
        ".jpeg",
        ".webp",
        ".gif",
        ".bmp",
        ".tif",
        ".tiff",
        ".avif",
        ".jxl",
        ".wav",
        ".mp3",
        ".m4a",
        ".safetensors",
        ".ckpt",
        ".pth",
        ".pt",
        ".bin",
        ".gguf",
    )
)
"""A report is never called so: whoever names one so has mixed up two options."""
PROBED = 64
"""Entries of a folder that are looked at to learn whether its disk ignores case."""
OWN_BYTES = 64 << 20
"""A larger file isn't looked into to see whether an earlier run wrote it."""

Place = tuple[tuple[int, int], tuple[str, ...]]


@dataclass(frozen=True)
class Source:
    """What is read: a file, or a folder with all that lies in it.

    Attributes:
        name: what the user calls it, for messages: ``the input``, ``--reference``.
    """

    path: Path
    name: str


@dataclass(frozen=True)
class Target:
    """What is written.

    Attributes:
        name: the option or file as messages call it.
        whole: a folder that is replaced or cleared as a whole, so nothing that is read may lie in it.
    """

    path: Path
    name: str
    whole: bool = False


def place(path: str | Path, *, ignore_case: bool | None = None) -> Place:
    """What two paths of one file have in common, whether or not it exists.

    Args:
        ignore_case: whether names that don't exist yet are equal in upper and lower case; ``None``: as their disk
            takes them.

    Returns:
        Device and number of what exists (of the nearest folder, if the file doesn't), and the names below it.
    """
    path = Path(os.path.realpath(path))
    names: list[str] = []
    while True:
        try:
            found = path.stat()
            break
        except OSError:
            if path == path.parent:
                return (-1, -1), tuple(reversed(names))
            names.append(path.name)
            path = path.parent
    if names and (ignores_case(path) if ignore_case is None else ignore_case):
        names = [unicodedata.normalize("NFC", name).casefold() for name in names]
    return (found.st_dev, found.st_ino), tuple(reversed(names))


def ignores_case(folder: Path) -> bool:
    """Whether ``A`` and ``a`` are one file in ``folder``; learnt from names that exist, nothing is written."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, PROBED)]
    except OSError:
        names = []
    for known in [*(folder / name for name in names), folder, *folder.parents]:
        other = known.with_name(known.name.swapcase()) if known.name else known
        if other.name == known.name:
            continue
        try:
            return os.path.samestat(known.lstat(), other.lstat())
        except OSError:
            return False
    return sys.platform in ("win32", "darwin")


def is_within(path: str | Path, folder: str | Path) -> bool:
    """Whether a path is a folder or lies in it, by whatever name."""
    path, wanted = Path(os.path.realpath(path)), place(folder)
    return any(place(one) == wanted for one in (path, *path.parents))


def scratch_of(path: Path) -> list[Path]:
    """Where writers keep what isn't finished; a left-over there is removed."""
    return [beside(path, before=".", after=after) for after in (".vividface", f".partial{path.suffix}", ".partial")]


def check_paths(targets: Iterable[Target], sources: Iterable[Source]) -> None:
    """Refuse to write over anything that is read, or twice into one file.

    Raises:
        InvalidOption: says which two are one.
    """
    sources = list(sources)
    read: dict[Place, Source] = {}
    for source in sources:
        read.setdefault(place(source.path), source)
    folders = [source for source in sources if source.path.is_dir()]
    written: dict[Place, Target] = {}
    for target in targets:
        where = place(target.path)
        if taken := read.get(where):
            raise InvalidOption(
                f"{target.name} {target.path} is {taken.name} itself, which would be lost; choose another name."
            )
        if other := written.get(where):
            raise InvalidOption(
                f"{target.name} {target.path} is the file of {other.name} too; choose another name for one of them."
            )
        written[where] = target
        _check_around(target, sources, folders)


def _check_around(target: Target, sources: list[Source], folders: list[Source]) -> None:
    """What lies in a folder that goes, and what is put over a part of a folder that is read."""
    gone = [folder for folder in scratch_of(target.path) if os.path.lexists(folder)]
    gone += [target.path] if target.whole and target.path.is_dir() else []
    for source in sources:
        for folder in gone:
            if is_within(source.path, folder):
                raise InvalidOption(
                    f"{source.name} {source.path} lies in {folder}, which is cleared for "
                    f"{target.name}; choose another output, or copy it elsewhere first."
                )
    for whole in folders:
        if os.path.lexists(target.path) and not target.path.is_dir() and is_within(target.path, whole.path):
            raise InvalidOption(
                f"{target.name} {target.path} is a part of {whole.name}, which is read; choose another name."
            )


def check_file(path: Path, name: str, suffixes: Collection[str] = ()) -> None:
    """Say before the work that a file can't be written: its folder, its kind, its suffix.

    Args:
        name: the option, for messages.
        suffixes: those that fit; empty: all but those of videos, pictures and weights.

    Raises:
        InvalidOption: a suffix of something else.
        UnwritableVideo: the folder is missing or write-protected, or there is a folder or a device of that name.
    """
    path, suffix = Path(path), Path(path).suffix.lower()
    if suffixes and suffix not in suffixes:
        raise InvalidOption(f"{name} {path} should end in {' or '.join(suffixes)}; choose another name.")
    if not suffixes and suffix in MEDIA_AND_WEIGHTS:
        raise InvalidOption(
            f"{name} writes a report, but {path} is called like a file of another kind ({suffix}); choose another name."
        )
    if is_too_long(path):
        raise UnwritableVideo(f"{name} can't be written to {path}: the name is too long for this file system.")
    if not path.parent.is_dir():
        raise UnwritableVideo(
            f"{name} can't be written to {path}: the folder {path.parent} does not exist. Make it, or name another one."
        )
    if not os.access(path.parent, os.W_OK):
        raise UnwritableVideo(f"{name} can't be written to {path}: the folder {path.parent} is write-protected.")
    if path.is_dir():
        raise UnwritableVideo(f"{name} can't be written to {path}: that is a folder. Name a file.")
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        raise UnwritableVideo(f"{name} can't be written to {path}: that is no ordinary file. Name another one.")


def unrelated(paths: Iterable[Path], own: Collection[str] = ()) -> list[Path]:
    """Those that exist already and weren't written by an earlier run.

    Args:
        own: keys of the JSON object that an earlier run leaves; empty: whatever exists counts.
    """
    return [path for path in paths if os.path.lexists(path) and not (own and is_own(path, own))]


def is_own(path: Path, keys: Collection[str]) -> bool:
    """Whether a file holds a JSON object with these keys, so that an earlier run wrote it."""
    try:
        if path.stat().st_size > OWN_BYTES:
            return False
        content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and set(keys) <= content.keys()
