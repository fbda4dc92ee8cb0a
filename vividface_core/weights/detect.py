"""What a file or folder is: told by its content, never by its name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vividface_core.errors import MissingDependency, MissingWeights, UnsupportedCheckpoint, first_line
from vividface_core.io.folders import entries, is_dir, is_file, leave_out, size_of, walk
from vividface_core.io.tensors import SUFFIXES, unfamiliar
from vividface_core.restorers.registry import CARD, LOOSE, Contents, recognise, systems, unknown_system
from vividface_core.weights.catalog import TABLE

SKIPPED = frozenset((*TABLE, "metrics", "facexlib", "rubrics", "calibrations"))
"""Folders of a models folder whose content has another name, or is no checkpoint."""

_known: dict[tuple[object, ...], CheckpointInfo | None] = {}


@dataclass(frozen=True)
class CheckpointInfo:
    """What is known of one checkpoint, or of one part of it.

    Attributes:
        kind: in words: ``checkpoint folder``, ``diffusers folder``, ``loose files``, ``missing``, or what one file is.
        system: id of the system that it is of; "" if it isn't known.
        restores: whether a restorer can be loaded by its path; otherwise it is a part of one.
        format: how the weights are stored (a folder's denoiser): kind of file and types of the numbers.
        tasks: what the model was trained for, of :data:`vividface_core.restorers.base.TASKS`; empty: nothing, or not
            known.
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
    tasks: tuple[str, ...] = ()

    @property
    def here(self) -> bool:
        """Whether it can be loaded now."""
        return self.path is not None

    def __str__(self) -> str:
        kind = f"{self.kind} ({self.format})" if self.format else self.kind
        place = f"{kind}, {self.size / 1e6:,.0f} MB, {self.path}" if self.path else "not here"
        system = f"system: {self.system}" if self.system else ""
        tasks = f"trained to {' and to '.join(self.tasks)}" if self.tasks else ""
        parts = [f"{self.name:<24} {place}", self.summary, tasks, system, f"licence: {self.licence}"]
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
        told = "no checkpoint" if path.is_dir() else unfamiliar(contents.tensors)
        raise UnsupportedCheckpoint(f"{path} is none of the known checkpoints: it holds {told}.")
    system, found = recognised
    licence = str(found.config.get("licence", "unknown")) if contents.card is not None else "unknown"
    return CheckpointInfo(
        path.name if path.is_dir() else path.stem,
        found.kind,
        path,
        licence,
        size_of(path),
        config=found.config,
        format=found.format,
        system=system.id,
        restores=found.restores,
        tasks=found.tasks if found.restores else (),
    )


def local_checkpoints(places: Iterable[Path]) -> list[CheckpointInfo]:
    """Checkpoint folders and single denoiser files in ``places`` and the folders below them.

    Each is called by its path below the place, with ``/``. A models folder is shared with other programs: what is not
    ours is not listed, and nothing that lies there makes this fail.
    """
    found: dict[str, CheckpointInfo] = {}
    for home in places:
        for _, content in walk(home):
            for path in list(content):
                name = path.relative_to(home).as_posix()
                if is_dir(path):
                    whole = not path.name.startswith(".") and is_checkpoint_folder(path)
                    if path.name.startswith(".") or name in SKIPPED or whole:
                        content.remove(path)  # what is in there are its parts
                    if not whole:
                        continue
                elif path.name.startswith(".") or path.suffix not in SUFFIXES or not is_file(path):
                    continue
                info = _looked_at(path)
                if info is not None:
                    found.setdefault(name, replace(info, name=name))
    return list(found.values())


def _looked_at(path: Path) -> CheckpointInfo | None:
    """:func:`inspect`, once for each state of a file; ``None``: nothing that is listed."""
    if is_dir(path):
        return _inspected(path)
    try:
        state = path.stat()
    except OSError:
        return None
    key = (str(path), state.st_size, state.st_mtime_ns, tuple(system.id for system in systems()))
    if key not in _known:
        _known[key] = _inspected(path)
    return _known[key]


def _inspected(path: Path) -> CheckpointInfo | None:
    try:
        info = inspect(path)
        return info if info.restores else None
    except (UnsupportedCheckpoint, MissingDependency, MissingWeights):
        return None  # not ours
    except Exception as error:  # whatever a file of somebody's makes of a reader: the listing goes on
        leave_out(path, first_line(error))
        return None


def is_checkpoint_folder(folder: Path) -> bool:
    """Whether a folder is one checkpoint: the project's own, or one of networks with a folder each."""
    if is_file(folder / CARD):
        return True
    if not any(is_file(part / "config.json") for part in entries(folder) if is_dir(part)):
        return False
    try:
        recognised = recognise(Contents(folder))
    except Exception:  # whatever a file of somebody's makes of a reader: the listing goes on
        return False
    return recognised is not None and recognised[1].restores and recognised[1].kind != LOOSE
