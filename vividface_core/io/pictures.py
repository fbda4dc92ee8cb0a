"""Pictures for reports: frames as bytes, and Pillow, which is optional."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from vividface_core.errors import MissingDependency, UnwritableVideo
from vividface_core.io.file_names import beside

SHEETS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}
"""Suffixes of sheets of pictures, and how they are written."""
QUALITY = 85
"""Of JPEG files."""
PAPER, INK, SOFT, LINE = "#fdfdfb", "#1f242c", "#626a76", "#c9cac5"
"""Colours of sheets: ground, text, secondary text, lines."""


def bytes_of(frames: Tensor) -> np.ndarray:
    """``[…, 3, H, W]`` 0…1 → ``[…, H, W, 3]`` uint8."""
    return frames.mul(255).round().clamp(0, 255).byte().movedim(-3, -1).cpu().numpy()


def pillow() -> Any:
    """Pillow's ``Image`` module.

    Raises:
        MissingDependency: it is absent or broken.
    """
    try:
        from PIL import Image
    except Exception as error:
        raise MissingDependency(
            f"Reports with pictures need Pillow, which does not import here ({error}). Install it with: "
            "pip install -U Pillow."
        ) from error
    return Image


@cache
def font(size: int) -> Any:
    """The font that Pillow carries: the same everywhere."""
    pillow()
    from PIL import ImageFont

    return ImageFont.load_default(size)


def save_sheet(picture: Any, path: Path, what: str) -> None:
    """Write a Pillow picture, whole or not at all; JPEG unless the path ends in ``.png``.

    Args:
        what: names it in a message: ``The contact sheet``.

    Raises:
        UnwritableVideo: it can't be written.
    """
    partial = beside(path, before=".", after=".partial")
    try:
        picture.save(partial, SHEETS.get(path.suffix.lower(), "jpeg"), quality=QUALITY)
        os.replace(partial, path)
    except OSError as error:
        raise UnwritableVideo(f"{what} can't be written to {path}: {error.strerror or error}.") from error
    finally:
        partial.unlink(missing_ok=True)
