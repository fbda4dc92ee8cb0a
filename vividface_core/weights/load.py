"""How a name becomes a restorer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from vividface_core.errors import UnsupportedCheckpoint
from vividface_core.restorers.base import Restorer
from vividface_core.restorers.registry import CheckpointFiles, Contents, System, recognise, systems, unknown_system
from vividface_core.weights.locate import model_folders, where


def load_restorer(
    name_or_path: str | Path = "vividface-nano",
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    runs_on: torch.device | str | None = None,
    folders: Iterable[str | Path] | None = None,
    **options: Any,
) -> Restorer:
    """Make a restorer ready to run.

    Args:
        name_or_path: a name (see :func:`where`), a checkpoint folder, or any other folder or file that one of the
            systems recognises by its content.
        device: where to compute.
        dtype: type of the computation; ``None``: what suits the device.
        runs_on: the device to which a host will move it before use; ``None``: ``device``.
        folders: looked into before the default models folder.
        options: of the checkpoint's system, as ``attention``: the fields of its
            :class:`~vividface_core.restorers.execution.ExecutionConfig`.

    Raises:
        MissingWeights: something is not here; tells the file, the folder and the address.
        MissingDependency: a package is missing without which the files can't be read.
        InvalidOption: no such name; an option that the system doesn't have, or refuses.
        UnsupportedCheckpoint: the content is damaged, of no known system, or does not belong together.
    """
    folders = list(folders or ())
    path = where(name_or_path, folders)
    system = system_of(path)
    execution = system.configure(options, device, dtype, runs_on)
    return system.restorer(CheckpointFiles(path, tuple(model_folders(folders))), execution)


def load_unchanged(name_or_path: str | Path, folders: Iterable[str | Path] | None = None) -> Restorer:
    """A restorer in fp32 whose modules are as they are stored: to train and to export."""
    unchanged = system_of(where(name_or_path, folders)).unchanged
    return load_restorer(name_or_path, dtype=torch.float32, folders=folders, **unchanged)


def system_of(path: str | Path) -> System:
    """The system of a checkpoint, by its content.

    Raises:
        MissingWeights, MissingDependency: it can't be read.
        UnsupportedCheckpoint: of no system that is here.
    """
    contents = Contents(path)
    if (error := unknown_system(contents)) is not None:
        raise error
    recognised = recognise(contents)
    if recognised is None:
        names = ", ".join(system.id for system in systems())
        raise UnsupportedCheckpoint(
            f"{path} holds no checkpoint of a known system ({names}). 'vividface models inspect' tells what a file is."
        )
    return recognised[0]
