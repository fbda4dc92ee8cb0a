"""Pictures for reports: frames as bytes, and Pillow, which is optional."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from vividface_core.errors import MissingDependency


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
