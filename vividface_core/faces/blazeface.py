"""MediaPipe's short-range face detector, for those who need its box: the mesh network's crop is laid by it.

Bazarevsky et al.: "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019, in plain PyTorch. It sees a
picture of 128 pixels, so it finds only faces that take a good part of it; to find faces in any frame there are better
detectors (``vividface_core.faces.detect``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.faces.weights import FOLDER, read_weights
from vividface_core.runtime.devices import channels_last

WEIGHTS = FOLDER / "blazeface.safetensors"

SIDE = 128
"""Side of the picture that the network takes, in pixels."""
THRESHOLD = 0.5
"""Face probability of a detection."""
OVERLAP = 0.3
"""Intersection over union above which two boxes are of one face; the face's is their mean, weighted by probability."""
KEYPOINTS = 6
"""Left and right eye (as seen), nose tip, mouth, left and right ear."""


class Block(nn.Module):
    """Filter each channel, mix, add what came in. With stride 2 both ways halve the picture; new channels are added
    to nothing.

    Args:
        slopes: whether negative values are scaled, each channel by its own learnt factor, or cut.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, slopes: bool = True) -> None:
        super().__init__()
        self.stride = stride
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, padding=2 - stride, groups=inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)
        self.activation = nn.PReLU(outputs) if slopes else nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        mixed = self.pointwise(self.depthwise(features if self.stride == 1 else pad_to_halve(features, 3)))
        kept = features if self.stride == 1 else F.max_pool2d(features, 2)
        kept = F.pad(kept, (0, 0, 0, 0, 0, mixed.shape[1] - kept.shape[1]))
        return self.activation(kept + mixed)


def pad_to_halve(features: Tensor, kernel: int) -> Tensor:
    """Pad an even picture for a convolution of stride 2 as TensorFlow does: the odd pixel to the right and below."""
    before = (kernel - 2) // 2
    return F.pad(features, (before, kernel - 2 - before) * 2)


class BlazeFace(nn.Module):
    """Pictures [N,3,128,128] RGB −1…1 → [N,896,17]: per anchor the logarithm of the face's odds; middle, width and
    height; six points. Lengths are in pixels, places too, and relative to the anchor's."""

    def __init__(self) -> None:
        super().__init__()
        widths = (24, 24, 28, 32, 36, 42, 48, 56, 64, 72, 80, 88)
        # The steps to 32 and 48 channels halve the picture.
        blocks = [Block(a, b, 2 if b in (32, 48) else 1, slopes=False) for a, b in zip(widths, widths[1:])]
        self.fine = nn.Sequential(nn.Conv2d(3, 24, 5, 2), nn.ReLU(), *blocks)
        self.coarse = nn.Sequential(Block(88, 96, 2, slopes=False), *(Block(96, 96, slopes=False) for _ in range(4)))
        self.fine_score, self.fine_place = nn.Conv2d(88, 2, 1), nn.Conv2d(88, 2 * 16, 1)
        self.coarse_score, self.coarse_place = nn.Conv2d(96, 6, 1), nn.Conv2d(96, 6 * 16, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        fine = self.fine(pad_to_halve(pictures, 5))
        coarse = self.coarse(fine)
        scores = _by_anchor(self.fine_score(fine), 1), _by_anchor(self.coarse_score(coarse), 1)
        places = _by_anchor(self.fine_place(fine), 16), _by_anchor(self.coarse_place(coarse), 16)
        return torch.cat([torch.cat(scores, 1), torch.cat(places, 1)], 2)


def _by_anchor(maps: Tensor, values: int) -> Tensor:
    return maps.permute(0, 2, 3, 1).reshape(len(maps), -1, values)


def _anchors() -> np.ndarray:
    """Middles [896,2] in pixels: two at each of 16×16 cells, then six at each of 8×8."""
    parts = []
    for cells, count in ((16, 2), (8, 6)):
        at = (np.arange(cells) + 0.5) * SIDE / cells
        x, y = np.meshgrid(at, at)
        parts.append(np.stack([x, y], -1).reshape(-1, 2).repeat(count, 0))
    return np.concatenate(parts)


class BlazeDetector:
    """Finds faces in windows of frames."""

    def __init__(self, net: BlazeFace) -> None:
        self.net, self._anchors = net, _anchors()

    @torch.inference_mode()
    def find(self, frames: Tensor, windows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Faces of each frame, most probable first.

        Args:
            frames: [N,3,H,W] RGB 0…1.
            windows: [N,3] middle x, y and side in pixels of the square that is looked at, one a frame. The whole
                frame, as MediaPipe looks at it, is :func:`whole`.

        Returns:
            Per frame boxes [k,4] as x0 y0 x1 y1, points [k,6,2] and probabilities [k]; pixels of the frame.
        """
        windows = np.asarray(windows, np.float64)
        squares = np.column_stack([windows, np.zeros(len(windows))])
        pictures = crop_squares(frames.to(self.net.fine_score.weight), squares, SIDE, outside="zeros")
        raw = self.net(pictures * 2 - 1).cpu().double().numpy()
        return [self._faces(values, window) for values, window in zip(raw, windows, strict=True)]

    def _faces(self, raw: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        scores = 1 / (1 + np.exp(-raw[:, 0].clip(-100, 100)))
        # A box can come out inside out; such a one is nobody's.
        likely = np.flatnonzero((scores >= THRESHOLD) & (raw[:, 3:5] >= 0).all(1))
        likely = likely[np.argsort(-scores[likely], kind="stable")]
        scores, places, anchors = scores[likely], raw[likely, 1:].reshape(-1, 2 + KEYPOINTS, 2), self._anchors[likely]
        middle, half = places[:, 0] + anchors, places[:, 1] / 2
        # Corners of the box, then the six points, all [k,8,2].
        points = np.concatenate([np.stack([middle - half, middle + half], 1), places[:, 2:] + anchors[:, None]], 1)
        points, scores = _merge(points, scores)
        points = window[:2] + (points / SIDE - 0.5) * window[2]
        return points[:, :2].reshape(-1, 4), points[:, 2:], scores


def _merge(points: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One row a face: the mean of what overlaps with its most probable box. Rows come most probable first."""
    faces, best = [], []
    while len(points):
        least = np.maximum(points[:, 0], points[0, 0])
        most = np.minimum(points[:, 1], points[0, 1])
        shared = np.prod((most - least).clip(0), axis=1)
        areas = np.prod(points[:, 1] - points[:, 0], axis=1)
        same = shared > OVERLAP * (areas + areas[0] - shared)
        same[0] = True
        faces.append(np.average(points[same], axis=0, weights=scores[same]))
        best.append(scores[0])
        points, scores = points[~same], scores[~same]
    return np.reshape(faces, (-1, 2 + KEYPOINTS, 2)), np.array(best)


def whole(frames: Tensor) -> np.ndarray:
    """Windows [N,3] that hold the whole of frames [N,3,H,W]."""
    height, width = frames.shape[-2:]
    return np.tile([width / 2, height / 2, float(max(width, height))], (len(frames), 1))


def crop_squares(frames: Tensor, squares: np.ndarray, side: int, outside: str) -> Tensor:
    """Cut squares [N,4] (middle x, y, side, turn in radians) out of frames [N,3,H,W], one a frame: [N,3,side,side].

    Bilinear between pixels, large squares subsampled without a filter, and a square's corner on the middle of a pixel:
    as MediaPipe cuts, for its networks are used to that.

    Args:
        outside: what lies around the frame: ``zeros`` or its repeated ``border``.
    """
    height, width = frames.shape[-2:]
    x, y, length, turn = np.asarray(squares, np.float64).T[..., None, None]
    steps = np.arange(side) / side - 0.5
    at = (steps[None, :] + 1j * steps[:, None]) * length * np.exp(1j * turn) + x + 1j * y
    places = np.stack([(2 * at.real + 1) / width - 1, (2 * at.imag + 1) / height - 1], -1)
    grid = torch.from_numpy(places).to(frames.dtype).to(frames.device)
    return F.grid_sample(frames, grid, padding_mode=outside, align_corners=False)


def load_blazeface(device: str | torch.device = "cpu", path: Path = WEIGHTS) -> BlazeDetector:
    """The detector with the weights that come with the package.

    Raises:
        MissingWeights: the file isn't there, so the installation is incomplete.
    """
    net = BlazeFace()
    net.load_state_dict(read_weights(path))
    # Separate filters of few channels are quicker with the channels last in memory.
    channels_last(net)
    return BlazeDetector(net.eval().requires_grad_(False).to(device))
