"""What a file or folder is: told by its content, never by its name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vividface_core.errors import MissingDependency, UnsupportedCheckpoint, VividFaceError
from vividface_core.io.atomic import read_json
from vividface_core.io.quantization import attach_scales, type_names
from vividface_core.io.tensors import SUFFIXES, container
from vividface_core.wan.loading import read_config, transformer_config, vae_config
from vividface_core.wan.state_dict import describe, kind_of, read_state_dict
from vividface_core.weights.folder import CARD, DEFAULTS


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
    except VividFaceError:
        return ""


def folder_kind(path: Path) -> str | None:
    """``checkpoint folder``, ``diffusers folder``, or ``None`` for anything else."""
    if (path / CARD).is_file():
        return "checkpoint folder"
    if all((path / part / "config.json").is_file() for part in ("vae", "transformer")):
        return "diffusers folder"
    return None


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def read_card(folder: Path) -> dict[str, Any]:
    """What a folder's card says, with the defaults for what it leaves out.

    Raises:
        UnsupportedCheckpoint: it is no JSON object.
    """
    path = folder / CARD
    return {**DEFAULTS, **(read_json(path) if path.is_file() else {})}


def local_checkpoints(places: Iterable[Path]) -> list[CheckpointInfo]:
    """Checkpoint folders and single denoiser files directly in ``places``."""
    found = {}
    for place in places:
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if path.name.startswith(".") or (path.is_file() and path.suffix not in SUFFIXES):
                continue
            if path.is_dir() and folder_kind(path) is None:
                continue
            try:
                info = inspect(path)
            except (UnsupportedCheckpoint, MissingDependency):
                continue  # a models folder is shared with other programs; what is not ours is not listed
            if path.is_dir() or info.kind.startswith("wan-dit"):
                found.setdefault(path.name, CheckpointInfo(**{**vars(info), "name": path.name}))
    return list(found.values())
