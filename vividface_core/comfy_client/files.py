"""The videos of a folder, what identifies them, and what their results are called."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vividface_core.errors import InvalidOption
from vividface_core.io.file_names import VIDEO_SUFFIXES, distinct_stems, natural_key
from vividface_core.io.folders import entries, is_file


@dataclass(eq=False)
class Item:
    """One video of a batch.

    Attributes:
        path: the file.
        stem: how its results' names begin; no other video of the folder has the same.
        identity: name, size in bytes and time of change in ns: another file has another one.
        state: waiting, running, done, skipped or failed.
        reason: why it failed.
        seconds: from the upload to the finished result.
        server: address of the server that it was done or failed on.
        outputs: names of its results.
        starts: how often it was sent to a server.
        errors: how often a workflow failed on it.
    """

    path: Path
    stem: str
    identity: dict[str, Any]
    state: str = "waiting"
    reason: str = ""
    seconds: float = 0.0
    server: str = ""
    outputs: list[str] = field(default_factory=list)
    starts: int = 0
    errors: int = 0

    @property
    def name(self) -> str:
        """Its path in the input folder."""
        return self.identity["name"]

    @property
    def mark(self) -> str:
        """Differs from that of any other file, and from that of another version of this one."""
        text = f"{self.path.resolve()} {self.identity['size']} {self.identity['mtime_ns']}"
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]

    @property
    def upload_name(self) -> str:
        """Its name on the server."""
        plain = re.sub(r"[^A-Za-z0-9_-]+", "_", self.path.stem)[:60]
        return f"{plain}-{self.mark}{self.path.suffix.lower()}"


def find_videos(folder: Path, pattern: str | None = None) -> list[Item]:
    """The videos of a folder (not of folders in it) in natural order; hidden files are left out.

    Args:
        pattern: shell pattern instead of the usual suffixes.

    Raises:
        InvalidOption: no such folder, or no file in it fits.
    """
    if not folder.is_dir():
        raise InvalidOption(f"--input {folder} is no folder. Name a folder with videos.")
    try:
        videos = (entry for entry in entries(folder) if entry.suffix.lower() in VIDEO_SUFFIXES)
        found = folder.glob(pattern) if pattern else videos
        files = [file for file in found if is_file(file) and not file.name.startswith(".")]
    except (ValueError, NotImplementedError) as error:
        raise InvalidOption(f"--pattern {pattern!r} is no pattern for file names: {error}.") from error
    if not files:
        wanted = pattern or ", ".join(sorted(VIDEO_SUFFIXES))
        raise InvalidOption(f"{folder} holds no video ({wanted}). Name another folder, or use --pattern GLOB.")
    files.sort(key=lambda file: natural_key(str(file.relative_to(folder))))
    return [Item(file, stem, _identity(file, folder)) for file, stem in zip(files, distinct_stems(files))]


def result_names(stem: str, outputs: list[tuple[str, str]]) -> list[str]:
    """File names of results.

    Args:
        outputs: node id and file name on the server of each.
    """
    if len(outputs) == 1:
        return [stem + Path(outputs[0][1]).suffix]
    names: list[str] = []
    count: Counter[str] = Counter()
    for node, file in outputs:
        count[node] += 1
        names.append(f"{stem}-{re.sub(r'[^A-Za-z0-9]+', '_', node)}-{count[node]}{Path(file).suffix}")
    return names


def _identity(file: Path, folder: Path) -> dict[str, Any]:
    stat = file.stat()
    name = file.relative_to(folder).as_posix().encode(errors="replace").decode()  # printable whatever it is
    return {"name": name, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
