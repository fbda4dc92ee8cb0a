"""Does something cover the face: a hand, a thing, a mask? A small network's guess, cell by cell.

It reads the middle features of the network that recognises people (:mod:`vividface_core.faces.embed`), of the face
aligned by its landmarks, and was trained on faces with things pasted over them (``training.curation.train_occlusion``).
It is ours, no published method. What it finds and misses is measured in ``docs/prefilter.md``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vividface_core.faces.embed import SIDE, FaceEmbedder, align, load_embedder
from vividface_core.faces.weights import FOLDER, read_weights

WEIGHTS = FOLDER / "cover.safetensors"

DEPTH = 16
"""Modules of the embedder that are used: features [128, 14, 14]."""
CHANNELS, CELLS, WIDTH = 128, 14, 32
INNER = (56.0, 74.0, 32.0, 38.0)
"""Ellipse of the inner face, brows to chin, in the aligned picture: centre x, y and half axes, pixels of 112."""


class OcclusionNet(nn.Sequential):
    """Features [N,128,14,14] of aligned faces → logits [N,14,14] that something covers the cell."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(CHANNELS, WIDTH, 1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, 1, 3, padding=1),
            nn.Flatten(1, 2),
        )


class OcclusionDetector:
    """Looks at faces whose five landmarks are known."""

    def __init__(self, net: OcclusionNet, embedder: FaceEmbedder) -> None:
        self.net, self._trunk = net, nn.Sequential(*embedder.net.children())[:DEPTH]

    @torch.inference_mode()
    def features(self, faces: Tensor) -> Tensor:
        """[N,128,14,14] of aligned faces [N,3,112,112] RGB 0…1."""
        like = next(self._trunk.parameters())
        return self._trunk((faces.to(like).flip(1) * 255 - 127) / 128)

    @torch.inference_mode()
    def cells(self, frames: Tensor, landmarks: np.ndarray) -> Tensor:
        """How probably each cell [N,14,14] is covered, of faces [N,3,S,S] with landmarks [N,5,2] pixels."""
        faces = [align(frame, points[None], SIDE) for frame, points in zip(frames, np.asarray(landmarks, np.float64))]
        return self.net(self.features(torch.cat(faces))).sigmoid().cpu()

    def shares(self, frames: Tensor, landmarks: np.ndarray) -> np.ndarray:
        """Share [N] of the inner face that is covered: mean probability over its cells, 0…1."""
        return self.cells(frames, landmarks)[:, inner_face()].mean(1).numpy()


def inner_face() -> Tensor:
    """Cells ``[14, 14]`` bool whose middles are in :data:`INNER`."""
    place = (torch.arange(CELLS) + 0.5) * SIDE / CELLS
    x, y, half_width, half_height = INNER
    return ((place[None] - x) / half_width) ** 2 + ((place[:, None] - y) / half_height) ** 2 <= 1


def load_occlusion_detector(device: str | torch.device = "cpu", path: Path = WEIGHTS) -> OcclusionDetector:
    """The finder with the weights that come with the package.

    Raises:
        MissingWeights: the files aren't there, so the installation is incomplete.
    """
    net = OcclusionNet()
    net.load_state_dict(read_weights(path))
    return OcclusionDetector(net.eval().requires_grad_(False).to(device), load_embedder(device))
