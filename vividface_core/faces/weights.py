"""Where the face networks' weights lie: in the package, or where a user has put facexlib's."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from vividface_core.errors import MissingWeights
from vividface_core.io.folders import is_file
from vividface_core.io.places import CACHE, models_folder

FOLDER = Path(__file__).parent.parent / "assets" / "faces"


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict in float32.

    Raises:
        MissingWeights: the file isn't there, so the installation is incomplete.
    """
    from safetensors.torch import load_file

    if not path.is_file():
        raise MissingWeights(
            f"The weights {path.name} are missing in {path.parent}. They come with the package: install it again, or "
            "make the file with `python -m training.assets.convert_face_assets`."
        )
    return {key: value.float() for key, value in load_file(path).items()}


def facexlib_folders(folders: Iterable[str | Path] | None = None) -> list[Path]:
    """Where facexlib weights may lie: ``folders``, ``$VIVIDFACE_MODELS/facexlib``, ``~/.cache/vividface/facexlib``."""
    default = dict.fromkeys((models_folder(), Path.home().joinpath(*CACHE)))
    return [*map(Path, folders or ()), *(place / "facexlib" for place in default)]


def first_file(names: Iterable[str], places: Iterable[Path]) -> Path | None:
    """The first of ``names`` in the first of ``places`` that has one."""
    names = list(names)
    return next((path for place in places for name in names if is_file(path := place / name)), None)
