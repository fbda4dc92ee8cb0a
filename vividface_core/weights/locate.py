"""Where checkpoints lie: in the folders that the host names, then in ``$VIVIDFACE_MODELS`` (``~/.cache/vividface`` if
unset)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vividface_core.errors import InvalidOption, MissingWeights, VividFaceError
from vividface_core.io.folders import is_dir, is_file, size_of
from vividface_core.io.hub import HubFile, WebFile, fetch
from vividface_core.io.places import models_folder
from vividface_core.io.tensors import SUFFIXES, shard_names
from vividface_core.restorers.registry import CARD, LOOSE
from vividface_core.runtime.callbacks import part_of
from vividface_core.weights.catalog import TABLE, Entry
from vividface_core.weights.detect import CheckpointInfo, inspect, is_checkpoint_folder, local_checkpoints

ASSETS = Path(__file__).parents[1] / "assets"


def model_folders(folders: Iterable[str | Path] | None = None) -> list[Path]:
    """Where to look: ``folders``, then the default one. They need not exist."""
    return [*map(Path, folders or ()), models_folder()]


def where(name: str | Path, folders: Iterable[str | Path] | None = None) -> Path:
    """The folder (or single file) of a checkpoint.

    Args:
        name: of :data:`TABLE`, of something in one of the folders, or a path.

    Raises:
        MissingWeights: known, but not here; tells each file, the folder for it and its address.
        InvalidOption: no such name; lists the known ones.
    """
    text, places = str(name), model_folders(folders)
    if text in TABLE:
        return _known(text, places)
    for candidate in [Path(text).expanduser(), *(place / text for place in places)]:
        if is_file(candidate) or is_dir(candidate):
            return candidate
    if Path(text).suffix in SUFFIXES or os.sep in text or "/" in text:
        raise MissingWeights(f"There is no checkpoint at {text}, nor under {', '.join(map(str, places))}.")
    names = [*TABLE, *(info.name for info in local_checkpoints(places))]
    raise InvalidOption(
        f"No checkpoint is called {text!r}. Known are {', '.join(dict.fromkeys(names))}; or give a path."
    )


def _known(name: str, places: Sequence[Path]) -> Path:
    entry = TABLE[name]
    if not entry.files:
        if not (ASSETS / name / CARD).is_file():
            raise MissingWeights(
                f"{name} belongs into {ASSETS / name}, as part of the installation, and isn't there: install anew, "
                "or make it with the commands in docs/nano_training.md."
            )
        return ASSETS / name
    candidates = [candidate for place in places for candidate in (place / name, place)]
    for candidate in candidates:
        if not _absent(entry, candidate) or is_checkpoint_folder(candidate):
            alone = len(entry.files) == 1 and candidate / entry.files[0].path
            return alone if alone and is_file(alone) else candidate
    best = min(candidates[::2], key=lambda folder: len(_absent(entry, folder)))
    lines = "; ".join(f"{file.path} from {file.address}" for file in _absent(entry, best))
    raise MissingWeights(
        f"{name} is not here. Fetch it with 'vividface models download {name}', or put into {best}: {lines}"
    )


def _absent(entry: Entry, folder: Path) -> list[HubFile | WebFile]:
    """Files of the entry that are wanted and not in ``folder``."""
    done = tuple(path for made, paths in entry.made_of.items() if is_file(folder / made) for path in paths)
    wanted = [file for file in entry.files if not is_file(folder / file.path)]
    return [file for file in wanted if not file.path.startswith(done)]


def download(name: str, folder: str | Path | None = None, progress: Callable[[float], None] | None = None) -> Path:
    """Fetch all files of a known checkpoint into ``folder/name`` (default: the models folder); resumes.

    Raises:
        InvalidOption: no such name. MissingWeights, UnsupportedCheckpoint: see :func:`vividface_core.io.hub.fetch`.
    """
    if name not in TABLE:
        raise InvalidOption(f"No checkpoint is called {name!r}. Known are {', '.join(TABLE)}.")
    if not TABLE[name].files:
        return where(name)
    target = (Path(folder) if folder else model_folders()[-1]) / name
    files = _absent(TABLE[name], target) + [file for file in TABLE[name].files if file.path.endswith(".index.json")]
    files = sorted(dict.fromkeys(files), key=lambda file: not file.path.endswith(".json"))
    report = progress or (lambda share: None)
    for done, file in enumerate(files):  # grows by the shards that an index names
        total = len(files)
        path = fetch(file, target, part_of(report, done, total))
        if isinstance(file, HubFile) and file.path.endswith(".index.json"):
            parent = file.path.rpartition("/")[0]
            files += [HubFile(file.repo, f"{parent}/{shard}") for shard in shard_names(path)]
    report(1.0)
    return target


def list_checkpoints(folders: Iterable[str | Path] | None = None) -> list[CheckpointInfo]:
    """The known checkpoints, here or not, and what else lies in the model folders."""
    found = []
    for name, entry in TABLE.items():
        try:
            path = where(name, folders)
        except MissingWeights:
            told: dict[str, Any] = {
                "licence": entry.licence,
                "summary": entry.summary,
                "system": entry.system,
                "tasks": entry.tasks,
            }
            found.append(CheckpointInfo(name, "missing", **told))
        else:
            found.append(_told(name, entry, path))
    return found + [info for info in local_checkpoints(model_folders(folders)) if info.name not in TABLE]


def _told(name: str, entry: Entry, path: Path) -> CheckpointInfo:
    """A known checkpoint that is here."""
    known: dict[str, Any] = {"name": name, "licence": entry.licence, "summary": entry.summary}
    if entry.files:
        known["tasks"] = entry.tasks  # weights without a card don't tell two de-flickerers apart
    try:
        return replace(inspect(path), **known)
    except VividFaceError:  # what is wrong with it is loading's to say
        return CheckpointInfo(**known, kind=LOOSE, path=path, size=size_of(path), system=entry.system)
