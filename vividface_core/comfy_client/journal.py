"""What is done, kept in the output folder so that the next run leaves it alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from vividface_core.comfy_client.files import Item
from vividface_core.errors import UnwritableVideo

NAME = ".vividface-run.jsonl"


class Journal:
    """One line a finished video. A line cut short by a crash counts as not written.

    Args:
        folder: output folder; made if missing.

    Raises:
        UnwritableVideo: the folder or the journal can't be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / NAME
        self._records: dict[str, dict[str, Any]] = {}
        self._owners: dict[str, str] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            text = self._file.read_bytes() if self._file.exists() else b""
            with self._file.open("ab") as file:
                if text and not text.endswith(b"\n"):
                    file.write(b"\n")  # what a crash cut off must not swallow the next line
        except OSError as error:
            raise _unwritable(folder, error) from error
        for line in text.splitlines():
            try:
                record = json.loads(line)
                self._remember(record)
            except (ValueError, KeyError, TypeError):
                continue

    def done(self, item: Item, digest: str) -> dict[str, Any] | None:
        """The record of a video's last result if it still holds: same video, same workflow, results in place."""
        record = self._records.get(item.name)
        if not record or record["input"] != item.identity or record["workflow"] != digest:
            return None
        return record if all(self._in_place(item, output) for output in record["outputs"]) else None

    def _in_place(self, item: Item, output: dict[str, Any]) -> bool:
        file = self.folder / output["name"]
        owned = self._owners.get(output["name"].casefold()) == item.name
        return owned and file.is_file() and file.stat().st_size == output["size"]

    def _free_name(self, item: Item, name: str) -> str:
        """``name``, or one like it if that is the result of another video, or a file that no run has made."""
        path, number = Path(name), 2
        while self._is_taken(item, name):
            name, number = f"{path.stem}-{number}{path.suffix}", number + 1
        return name

    def _is_taken(self, item: Item, name: str) -> bool:
        owner = self._owners.get(name.casefold())
        return owner != item.name if owner is not None else os.path.lexists(self.folder / name)

    def accept(self, item: Item, digest: str, parts: list[tuple[Path, str]]) -> list[str]:
        """Give results their names and record them.

        Args:
            item: the video, with server and seconds.
            parts: finished temporary files in the output folder, and the name each is to get.

        Returns:
            The names they got: never that of another video's result.

        Raises:
            UnwritableVideo: they can't be renamed or recorded.
        """
        parts = [(part, self._free_name(item, name)) for part, name in parts]
        try:
            sizes = [part.stat().st_size for part, _ in parts]
            record = {
                "input": item.identity,
                "workflow": digest,
                "server": item.server,
                "seconds": round(item.seconds, 2),
                "outputs": [{"name": name, "size": size} for (_, name), size in zip(parts, sizes)],
            }
            with self._file.open("ab") as file:
                file.write(json.dumps(record).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            # After the record: what a crash leaves here is known as this video's, and is replaced by the next run.
            for part, name in parts:
                os.replace(part, self.folder / name)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        self._remember(record)
        return [name for _, name in parts]

    def _remember(self, record: dict[str, Any]) -> None:
        name = record["input"]["name"]
        if not isinstance(record["workflow"], str):
            raise TypeError("workflow")
        owned = {output["name"].casefold(): name for output in record["outputs"] if isinstance(output["size"], int)}
        self._records[name] = record
        self._owners.update(owned)


def _unwritable(folder: Path, error: OSError) -> UnwritableVideo:
    return UnwritableVideo(
        f"Can't write into {folder}: {error.strerror}. Choose a folder with write access and room with --output."
    )
