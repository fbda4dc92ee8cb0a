"""Optical flow: where each pixel of a frame is found in another one, and what that tells of the two.

A flow is ``[n, 2, H, W]`` in pixels, x before y: ``first(p) ≈ second(p + flow(p))``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.errors import MissingDependency, OutOfMemory
from vividface_core.io.tensors import read_tensors
from vividface_core.luma import BT601
from vividface_core.metrics.networks.perceptual import fill
from vividface_core.metrics.weights import WeightFile

RAFT = WeightFile(
    "raft_large_C_T_V1-22a6c225.pth",
    "https://download.pytorch.org/models/raft_large_C_T_V1-22a6c225.pth",
    "BSD-3-Clause",
    "22a6c225",
)
"""RAFT's own ``raft-things.pth`` (trained on FlyingChairs, then FlyingThings3D) with torchvision's names."""
UPDATES = 20
BATCH_PIXELS = 1 << 20
"""Pixels of the pairs that RAFT is given at once; a larger frame goes alone."""


class FlowEstimator(Protocol):
    """Finds flows.

    Attributes:
        least_side: of a frame, in pixels.
    """

    least_side: int

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Flow from each of ``first`` to its partner in ``second``, both ``[n, 3, H, W]`` RGB 0…1: ``[n, 2, H, W]``."""


class DisFlow:
    """Dense inverse search (Kroeger et al. 2016) by OpenCV, its medium preset, on 8-bit luma. Needs no weights.

    Raises:
        MissingDependency: OpenCV is missing or broken.
    """

    least_side = 16

    def __init__(self) -> None:
        try:
            import cv2

            self._search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        except (ImportError, RuntimeError, AttributeError) as error:
            raise MissingDependency(
                f"Optical flow without weights needs OpenCV ({error}): pip install opencv-python"
            ) from error

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        flows = [self._search.calc(a, b, None) for a, b in zip(_luma(first), _luma(second))]
        return torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2).to(first)


def _luma(frames: Tensor) -> np.ndarray:
    weights = torch.tensor(BT601, device=frames.device)
    return (torch.einsum("nchw,c->nhw", frames, weights) * 255).round().byte().cpu().numpy()


class RaftFlow:
    """RAFT (Teed & Deng 2020) after :data:`UPDATES` updates.

    Sides are padded to multiples of 8 by repeating the border, and the padding is cut off again.

    Args:
        network: as :func:`load_raft` gives it.
        contrast: what pictures are multiplied by before the network maps 0…1 to −1…1; it was trained with 1.
    """

    least_side = 128

    def __init__(self, network: nn.Module, contrast: float = 1.0) -> None:
        self._network, self._contrast = network, contrast

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        height, width = first.shape[-2:]
        size = max(1, BATCH_PIXELS // (height * width))
        try:
            return torch.cat([self._find(*pair) for pair in zip(first.split(size), second.split(size))])
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(
                f"RAFT does not fit the memory of {first.device} at {width}×{height}. Measure on another device."
            ) from error

    def _find(self, first: Tensor, second: Tensor) -> Tensor:
        height, width = first.shape[-2:]
        left, top = -width % 8 // 2, -height % 8 // 2
        pads = (left, -width % 8 - left, top, -height % 8 - top)
        pair = [2 * self._contrast * F.pad(x, pads, mode="replicate") - 1 for x in (first, second)]
        return self._network(*pair, num_flow_updates=UPDATES)[-1][..., top : top + height, left : left + width]


def load_raft(path: Path, device: torch.device | str = "cpu") -> nn.Module:
    """torchvision's large RAFT with the weights of ``path``, frozen.

    Raises:
        MissingDependency: torchvision is missing or broken.
        UnsupportedCheckpoint: the file holds other weights.
    """
    try:
        from torchvision.models.optical_flow import raft_large
    except (ImportError, RuntimeError, AttributeError) as error:
        raise MissingDependency(
            f"RAFT needs the torchvision that belongs to this torch ({error}): pip install torchvision"
        ) from error
    network = raft_large(weights=None)
    fill(network, read_tensors(path), path)
    return network.eval().requires_grad_(False).to(device)


def warp(pictures: Tensor, flow: Tensor) -> Tensor:
    """``pictures(p + flow(p))`` of ``[n, C, H, W]``, bilinear; beyond the border the border's value counts."""
    x, y = _targets(flow)
    height, width = flow.shape[-2:]
    grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], -1)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=True)


def inside(flow: Tensor) -> Tensor:
    """Pixels that the flow leaves within the frame, ``[n, 1, H, W]``."""
    x, y = _targets(flow)
    height, width = flow.shape[-2:]
    return ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1))[:, None]


def visible(forward: Tensor, backward: Tensor) -> Tensor:
    """Pixels of the first frame that are seen in the second one, ``[n, 1, H, W]``.

    With f the flow there and b the flow back at the place where f leads, neither of these may hold (Ruder et al. 2016;
    Lai et al. 2018 with the same numbers):

        |f + b|² > 0.01 (|f|² + |b|²) + 0.5        it doesn't come back: hidden there
        |∇f|² > 0.01 |f|² + 0.002                  the edge of something that moves
    """
    back = warp(backward, forward)
    length = _square(forward)
    hidden = _square(forward + back) > 0.01 * (length + _square(back)) + 0.5
    across, down = F.pad(forward.diff(dim=-1), (0, 1)), F.pad(forward.diff(dim=-2), (0, 0, 0, 1))
    edge = _square(across) + _square(down) > 0.01 * length + 0.002
    return ~(hidden | edge)


def _targets(flow: Tensor) -> tuple[Tensor, Tensor]:
    height, width = flow.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=flow.device), torch.arange(width, device=flow.device), indexing="ij"
    )
    return x + flow[:, 0], y + flow[:, 1]


def _square(x: Tensor) -> Tensor:
    return x.square().sum(1, keepdim=True)
