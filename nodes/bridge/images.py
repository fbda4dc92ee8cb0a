"""ComfyUI's pictures and the engine's."""

from __future__ import annotations

from torch import Tensor


def to_frames(images: Tensor) -> Tensor:
    """IMAGE ``[T, H, W, C]`` → frames ``[T, 3, H, W]``; a view, alpha left out, grey repeated."""
    frames = images.movedim(-1, 1)
    return frames.expand(-1, 3, -1, -1) if frames.shape[1] == 1 else frames[:, :3]


def to_images(frames: Tensor) -> Tensor:
    """Frames ``[T, 3, H, W]`` → IMAGE ``[T, H, W, 3]``."""
    return frames.movedim(1, -1).contiguous()
