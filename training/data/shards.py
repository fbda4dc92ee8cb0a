"""Prepared training samples on disk: safetensors shards and an index.

A sample is a few named tensors under a key. Shards are written whole or not at all and the index is renewed after
each, so that a preparation that was killed goes on at its first missing sample. The index carries the recipe by which
the samples were made; samples of two recipes never lie in one folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from vividface_core.errors import InvalidOption, UnsupportedCheckpoint
from vividface_core.io.atomic import write_json
from vividface_core.io.tensors import write_tensors

FORMAT = 1
INDEX = "index.json"
SHARD_BYTES = 256 << 20


def fingerprint(recipe: Mapping[str, Any]) -> str:
    """A short mark of a recipe; equal values in another order have the same."""
    text = json.dumps(recipe, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_own(path: Path) -> bool:
    """Whether a run that was killed before its first index may have left a file."""
    return path.name[0] == "." or (path.suffix == ".safetensors" and path.stem.isdecimal())


def _read_index(folder: Path) -> dict[str, Any] | None:
    path = folder / INDEX
    if not path.is_file():
        return None
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnsupportedCheckpoint(f"{path} is damaged ({error}); prepare the data again.") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise UnsupportedCheckpoint(f"{path} isn't an index of format {FORMAT}; prepare the data again.")
    return index


class ShardWriter:
    """Adds samples to a folder; a context manager that writes the last shard when all went well.

    Args:
        folder: made if it is missing.
        recipe: what decides the samples, as JSON values.
        shard_bytes: a shard is closed when it has grown beyond this.

    Raises:
        InvalidOption: the folder holds samples of another recipe; tells what differs.
    """

    def __init__(self, folder: Path, recipe: Mapping[str, Any], shard_bytes: int = SHARD_BYTES) -> None:
        self.folder, self._shard_bytes = Path(folder), shard_bytes
        self.folder.mkdir(parents=True, exist_ok=True)
        recipe = json.loads(json.dumps(recipe))
        index = _read_index(self.folder)
        if index is None and any(not _is_own(path) for path in self.folder.iterdir()):
            raise InvalidOption(f"{self.folder} holds other files and no samples. Name a folder of its own for them.")
        if index is not None and index["fingerprint"] != fingerprint(recipe):
            raise InvalidOption(_difference(self.folder, index["recipe"], recipe))
        self._index = index or {
            "format": FORMAT,
            "fingerprint": fingerprint(recipe),
            "recipe": recipe,
            "samples": {},
            "dropped": {},
            "finished": [],
        }
        self._waiting: dict[str, dict[str, Tensor]] = {}
        self._notes: dict[str, dict[str, Any]] = {}
        self._bytes = 0

    def __contains__(self, key: str) -> bool:
        """Whether ``key`` needs no more work: stored, waiting for its shard, or dropped."""
        return any(key in known for known in (self._index["samples"], self._waiting, self._index["dropped"]))

    def add(self, key: str, tensors: Mapping[str, Tensor], note: Mapping[str, Any] | None = None) -> None:
        """Add a sample; ``note`` is kept in the index (JSON values).

        Raises:
            ValueError: the key is there already, or holds a slash.
        """
        if key in self or "/" in key:
            raise ValueError(f"{key!r} is there already" if key in self else f"{key!r}: a key has no slash")
        self._waiting[key] = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        self._notes[key] = dict(note or {})
        self._bytes += sum(value.numel() * value.element_size() for value in self._waiting[key].values())
        if self._bytes >= self._shard_bytes:
            self.flush()

    def drop(self, key: str, reason: str) -> None:
        """Remember that ``key`` was looked at and left out."""
        self._index["dropped"][key] = reason

    def finish(self, source: str) -> None:
        """Remember that all samples of ``source`` are there; in force with the next :meth:`flush`."""
        self._index["finished"].append(source)

    def is_finished(self, source: str) -> bool:
        """Whether ``source`` was finished, now or in an earlier run."""
        return source in self._index["finished"]

    def flush(self) -> None:
        """Write what waits as a shard, then the index."""
        if self._waiting:
            number = 1 + max((int(note["shard"].split(".")[0]) for note in self._index["samples"].values()), default=-1)
            name = f"{number:05d}.safetensors"
            flat = {f"{key}/{part}": value for key, parts in self._waiting.items() for part, value in parts.items()}
            write_tensors(self.folder / name, flat)
            for key in self._waiting:
                self._index["samples"][key] = {**self._notes[key], "shard": name}
            self._waiting, self._notes, self._bytes = {}, {}, 0
        write_json(self.folder / INDEX, self._index, indent=1)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Also after Ctrl-C: what is finished is kept. After a real error the shard may be what is wrong.
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self.flush()


def _difference(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    details = "; ".join(f"{key}: {before.get(key)!r} there, {now.get(key)!r} now" for key in changed)
    return (
        f"{folder} holds samples of another recipe ({details}). Prepare into another folder, or empty this one; "
        "samples of two recipes are never mixed."
    )


class ShardReader:
    """Samples of a prepared folder, memory-mapped, in the order of their keys.

    Raises:
        UnsupportedCheckpoint: no prepared data, or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        index = _read_index(self.folder)
        if index is None:
            raise UnsupportedCheckpoint(f"{folder} holds no prepared samples: {INDEX} is missing.")
        self.recipe: dict[str, Any] = index["recipe"]
        self.fingerprint: str = index["fingerprint"]
        self.notes: dict[str, dict[str, Any]] = index["samples"]
        self.dropped: dict[str, str] = index["dropped"]
        self.keys = sorted(self.notes)
        self._open: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        """The tensors of the sample at ``place``."""
        key = self.keys[place]
        file = self._file(self.notes[key]["shard"])
        parts = [name for name in file.keys() if name.startswith(f"{key}/")]
        return {name.removeprefix(f"{key}/"): file.get_tensor(name) for name in parts}

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return (self[place] for place in range(len(self)))

    def _file(self, name: str) -> Any:
        if name not in self._open:
            try:
                self._open[name] = safe_open(self.folder / name, "pt")
            except (SafetensorError, OSError) as error:
                raise UnsupportedCheckpoint(
                    f"{self.folder / name} is missing or damaged ({error}); prepare the data again."
                ) from error
        return self._open[name]

    def __getstate__(self) -> dict[str, Any]:
        # Open maps don't travel to a loader's worker; it opens its own.
        return {**vars(self), "_open": {}}
