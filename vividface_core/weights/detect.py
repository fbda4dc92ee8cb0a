"""What a file or folder is: told by its content, never by its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vividface_core.errors import MissingDependency, MissingWeights, UnsupportedCheckpoint
from vividface_core.io.tensors import SUFFIXES
from vividface_core.restorers.registry import CARD, LOOSE, Contents, recognise, unknown_system


@dataclass(frozen=True)
class CheckpointInfo:
    """What is known of one checkpoint, or of one part of it.

    Attributes:
        kind: in words: ``checkpoint folder``, ``diffusers folder``, ``loose files``, ``missing``, or what one file is.
        system: id of the system that it is of; "" if it isn't known.
        restores: whether a restorer can be loaded by its path; otherwise it is a part of one.
        format: how the weights are stored (a folder's denoiser): kind of file and types of the numbers.
    """

    name: str
    kind: str
    path: Path | None = None
    licence: str = "unknown"
    size: int = 0
    summary: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    format: str = ""
    system: str = ""
    restores: bool = False

    @property
    def here(self) -> bool:
        """Whether it can be loaded now."""
        return self.path is not None

    def __str__(self) -> str:
        kind = f"{self.kind} ({self.format})" if self.format else self.kind
        place = f"{kind}, {self.size / 1e6:,.0f} MB, {self.path}" if self.path else "not here"
        system = f"system: {self.system}" if self.system else ""
        parts = [f"{self.name:<20} {place}", self.summary, system, f"licence: {self.licence}"]
        return "; ".join(part for part in parts if part)


def inspect(path: str | Path) -> CheckpointInfo:
    """What a file or folder is, by its content.

    Raises:
        MissingWeights: nothing there.
        UnsupportedCheckpoint: none of the known kinds; tells the first keys and shapes.
    """
    path = Path(path)
    contents = Contents(path)
    if (error := unknown_system(contents)) is not None:
        raise error
    recognised = recognise(contents)
    if recognised is None:
        told = "no checkpoint" if path.is_dir() else _describe(contents.tensors)
        raise UnsupportedCheckpoint(f"{path} is none of the known checkpoints: it holds {told}.")
    system, found = recognised
    licence = str(found.config.get("licence", "unknown")) if contents.card is not None else "unknown"
    return CheckpointInfo(
        path.name if path.is_dir() else path.stem, found.kind, path, licence, size_of(path), config=found.config,
        format=found.format, system=system.id, restores=found.restores,
    )  # fmt: skip


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def local_checkpoints(places: Iterable[Path]) -> list[CheckpointInfo]:
    """Checkpoint folders and single denoiser files directly in ``places``."""
    found = {}
    for place in places:
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if path.name.startswith(".") or (path.is_file() and path.suffix not in SUFFIXES):
                continue
            if path.is_dir() and not is_checkpoint_folder(path):
                continue
            try:
                info = inspect(path)
            except (UnsupportedCheckpoint, MissingDependency):
                continue  # a models folder is shared with other programs; what is not ours is not listed
            if info.restores:
                found.setdefault(path.name, CheckpointInfo(**{**vars(info), "name": path.name}))
    return list(found.values())


def is_checkpoint_folder(folder: Path) -> bool:
    """Whether a folder is one checkpoint: the project's own, or one of networks with a folder each."""
    if (folder / CARD).is_file():
        return True
    if not any(folder.glob("*/config.json")):
        return False
    try:
        recognised = recognise(Contents(folder))
    except (UnsupportedCheckpoint, MissingDependency, MissingWeights):
        return False
    return recognised is not None and recognised[1].restores and recognised[1].kind != LOOSE


def _describe(tensors: Mapping[str, Any]) -> str:
    sample = ", ".join(f"{key} {list(value.shape)}" for key, value in list(tensors.items())[:3])
    return f"{len(tensors)} unfamiliar tensors ({sample} …)"
