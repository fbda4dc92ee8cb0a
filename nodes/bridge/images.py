"""ComfyUI's pictures and the engine's."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vividface_core.errors import InvalidOption


def to_frames(images: Tensor) -> Tensor:
    """IMAGE ``[T, H, W, C]`` → frames ``[T, 3, H, W]``; a view, alpha left out, grey repeated.

    Raises:
        InvalidOption: a value is no number, as an overflow of half precision upstream leaves it.
    """
    for number, image in enumerate(images):
        if not torch.isfinite(image).all():
            raise InvalidOption(
                f"Image {number} holds values that are no numbers (NaN or infinity); look for the node that made them, "
                "often a decoder in half precision."
            )
    frames = images.movedim(-1, 1)
    return frames.expand(-1, 3, -1, -1) if frames.shape[1] == 1 else frames[:, :3]


def to_images(frames: Tensor) -> Tensor:
    """Frames ``[T, 3, H, W]`` → IMAGE ``[T, H, W, 3]``."""
    return frames.movedim(1, -1).contiguous()


def with_alpha_of(images: Tensor, source: Tensor) -> Tensor:
    """IMAGE ``[T, H, W, 3]`` with the alpha of another one of its size, where that has one."""
    if source.shape[-1] != 4:
        return images
    return torch.cat((images, source[..., 3:].to(images)), -1)


def image_of(picture: Image.Image) -> Tensor:
    """An RGB picture as IMAGE, ``[1, H, W, 3]``, 0…1."""
    return torch.from_numpy(np.asarray(picture, np.float32) / 255)[None]
