"""Weights that come with the package."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from vividface_core.errors import MissingWeights

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
            "make the file with `python -m training.convert_face_assets`."
        )
    return {key: value.float() for key, value in load_file(path).items()}
