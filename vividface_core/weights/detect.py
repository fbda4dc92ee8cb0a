"""What a file or folder is: told by its content, never by its name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vividface_core.errors import MissingDependency, MissingWeights, UnsupportedCheckpoint, first_line
from vividface_core.io.atomic import read_json
from vividface_core.io.folders import is_dir, is_file, leave_out, size_of, walk
from vividface_core.io.quantization import attach_scales, type_names
from vividface_core.io.tensors import SUFFIXES, container
from vividface_core.wan.loading import read_config, transformer_config, vae_config
from vividface_core.wan.state_dict import describe, kind_of, read_state_dict
from vividface_core.weights.catalog import TABLE
from vividface_core.weights.folder import CARD, DEFAULTS

SKIPPED = frozenset((*TABLE, "metrics", "facexlib", "rubrics", "calibrations"))
"""Folders of a models folder whose content has another name, or is no checkpoint."""

_known: dict[tuple[str, int, int], CheckpointInfo | None] = {}


@dataclass(frozen=True)
class CheckpointInfo:
    """What is known of one checkpoint, or of one part of it.

    Attributes:
        format: how the weights are stored (a folder's denoiser): kind of file and types of the numbers.
    """

    name: str
    kind: str  # "checkpoint folder", "diffusers folder", "loose files", "empty prompt", "missing", or of wan.names
    path: Path | None = None
    licence: str = "unknown"
    size: int = 0
    summary: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    format: str = ""

    @property
    def here(self) -> bool:
        """Whether it can be loaded now."""
        return self.path is not None

    def __str__(self) -> str:
        kind = f"{self.kind} ({self.format})" if self.format else self.kind
        place = f"{kind}, {self.size / 1e6:,.0f} MB, {self.path}" if self.path else "not here"
        parts = [f"{self.name:<20} {place}", self.summary, f"licence: {self.licence}"]
        return "; ".join(part for part in parts if part)


def inspect(path: str | Path) -> CheckpointInfo:
    """What a file or folder is, by its content.

    Raises:
        MissingWeights: nothing there.
        UnsupportedCheckpoint: none of the known kinds; tells the first keys and shapes.
    """
    path = Path(path)
    kind = folder_kind(path)
    if kind is not None:
        card = read_card(path)
        licence = str(card.get("licence", "unknown"))
        return CheckpointInfo(path.name, kind, path, licence, size_of(path), config=card, format=format_of(path))
    tensors = attach_scales(read_state_dict(path), path)
    kind = "empty prompt" if "rows" in tensors and len(tensors) <= 2 else kind_of(tensors)
    if kind is None:
        raise UnsupportedCheckpoint(f"{path} is none of the known checkpoints: it holds {describe(tensors)}.")
    readers = {"wan-dit-original": transformer_config, "wan-vae-original": vae_config}
    config = read_config(path) or (readers[kind](tensors, path) if kind in readers else {})
    found = f"{container(path)}, {type_names(tensors)}"
    return CheckpointInfo(path.stem, kind, path, size=size_of(path), config=config, format=found)


def format_of(folder: Path) -> str:
    """How the denoiser of a folder is stored; "" where that can't be told, which is loading's to say."""
    try:
        return inspect(folder / "transformer").format
    except Exception:  # whatever a file of somebody's makes of a reader: a listing goes on
        return ""


def folder_kind(path: Path) -> str | None:
    """``checkpoint folder``, ``diffusers folder``, or ``None`` for anything else."""
    if is_file(path / CARD):
        return "checkpoint folder"
    if all(is_file(path / part / "config.json") for part in ("vae", "transformer")):
        return "diffusers folder"
    return None


def read_card(folder: Path) -> dict[str, Any]:
    """What a folder's card says, with the defaults for what it leaves out.

    Raises:
        UnsupportedCheckpoint: it is no JSON object.
    """
    path = folder / CARD
    return {**DEFAULTS, **(read_json(path) if path.is_file() else {})}


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
                    if path.name.startswith(".") or name in SKIPPED or folder_kind(path):
                        content.remove(path)  # what is in there are its parts
                    if path.name.startswith(".") or folder_kind(path) is None:
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
    key = (str(path), state.st_size, state.st_mtime_ns)
    if key not in _known:
        info = _inspected(path)
        _known[key] = info if info is not None and info.kind.startswith("wan-dit") else None
    return _known[key]


def _inspected(path: Path) -> CheckpointInfo | None:
    try:
        return inspect(path)
    except (UnsupportedCheckpoint, MissingDependency, MissingWeights):
        return None  # not ours
    except Exception as error:  # whatever a file of somebody's makes of a reader: the listing goes on
        leave_out(path, first_line(error))
        return None
