"""MTCNN in plain PyTorch: a cascade of three small networks over an image pyramid.

Zhang, Zhang, Li, Qiao: "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks", 2016.
Needs no torchvision and no compiled operator, and its weights (2 MB) come with the package, so it runs everywhere.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vividface_core.faces.weights import FOLDER, read_weights
from vividface_core.runtime.devices import channels_last

WEIGHTS = FOLDER / "mtcnn.safetensors"

LONG_SIDE = 640
"""Frames are shrunk to this many pixels on the long side before detection."""
SMALLEST_FACE = 20
"""Shortest face side, in pixels of the shrunk frame, that the pyramid looks for."""
SMALLEST_FACE_SHARE = 0.05
"""The same as a share of the short side; the larger of the two counts."""
PYRAMID_STEP = 0.709
"""Ratio of two neighbouring pyramid levels: each has half the area of the one before (section III)."""
THRESHOLDS = (0.6, 0.7, 0.75)
"""Face probability that a window needs to survive the proposal, refinement and output network."""
CENTRINGS = 2
"""How often the output network looks at a found face again, through the box that it gave itself."""

_CELL, _STRIDE = 12, 2
_FRAMES_AT_ONCE = 8
_WINDOWS_AT_ONCE = 1024
_THREADS = 2


def _convolution(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel), nn.PReLU(outputs)]


class ProposalNet(nn.Module):
    """[N,3,H,W] → face probability [N,H',W'] and box offsets [N,4,H',W'], one per 12×12 window at stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(3, 10, 3),
            nn.MaxPool2d(2, 2, ceil_mode=True),
            *_convolution(10, 16, 3),
            *_convolution(16, 32, 3),
        )
        self.face = nn.Conv2d(32, 2, 1)
        self.box = nn.Conv2d(32, 4, 1)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(picture)
        return self.face(features).softmax(1)[:, 1], self.box(features)


class RefinementNet(nn.Module):
    """Windows [N,3,24,24] → face probability [N] and box offsets [N,4]."""

    side = 24

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(3, 28, 3),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            *_convolution(28, 48, 3),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            *_convolution(48, 64, 2),
            nn.Flatten(),
            nn.Linear(576, 128),
            nn.PReLU(128),
        )
        self.face = nn.Linear(128, 2)
        self.box = nn.Linear(128, 4)

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(windows)
        return self.face(features).softmax(1)[:, 1], self.box(features)


class OutputNet(nn.Module):
    """Windows [N,3,48,48] → face probability [N], box offsets [N,4] and landmarks [N,10] (five x, then five y)."""

    side = 48

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(3, 32, 3),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            *_convolution(32, 64, 3),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            *_convolution(64, 64, 3),
            nn.MaxPool2d(2, 2, ceil_mode=True),
            *_convolution(64, 128, 2),
            nn.Flatten(),
            nn.Linear(1152, 256),
            nn.PReLU(256),
        )
        self.face = nn.Linear(256, 2)
        self.box = nn.Linear(256, 4)
        self.landmarks = nn.Linear(256, 10)

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.features(windows)
        return self.face(features).softmax(1)[:, 1], self.box(features), self.landmarks(features)


class Mtcnn(nn.Module):
    """The cascade. Its state dict has the prefixes ``proposal.``, ``refinement.`` and ``output.``."""

    def __init__(self) -> None:
        super().__init__()
        self.proposal = ProposalNet()
        self.refinement = RefinementNet()
        self.output = OutputNet()

    @classmethod
    def load(cls, device: str | torch.device = "cpu", path: Path = WEIGHTS) -> Mtcnn:
        """Build the cascade with its weights.

        Raises:
            MissingWeights: the file isn't there, so the installation is incomplete.
        """
        net = cls()
        net.load_state_dict(read_weights(path))
        # Pooling few channels is four times as quick with the channels last in memory.
        channels_last(net.proposal)
        return net.eval().requires_grad_(False).to(device)

    @torch.inference_mode()
    def detect(self, frames: Tensor) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Find faces.

        Args:
            frames: [T,3,H,W] RGB 0…1 on any device.

        Returns:
            Per frame, most probable face first: boxes [N,4] as x0 y0 x1 y1, landmarks [N,5,2] and scores [N],
            in pixels of the given frames (0 is the left or upper edge of the first pixel).
        """
        chunks = frames.split(_FRAMES_AT_ONCE)
        if self.proposal.face.weight.device.type != "cpu" or min(len(chunks), torch.get_num_threads()) < _THREADS:
            return [found for chunk in chunks for found in self._look(chunk)]
        # Layers this small keep one core busy; another one looks at the next frames.
        with ThreadPoolExecutor(_THREADS) as pool:
            return [found for part in pool.map(self._look, chunks) for found in part]

    @torch.inference_mode()
    def _look(self, frames: Tensor) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        picture = _shrink(frames.to(self.proposal.face.weight.device, torch.float32))
        per_pixel = np.array([frames.shape[-1] / picture.shape[-1], frames.shape[-2] / picture.shape[-2]])
        index, boxes, landmarks, scores = self._cascade((picture * 255 - 127.5) / 128)
        boxes, landmarks = boxes * np.tile(per_pixel, 2), landmarks * per_pixel
        of_frames = (index == t for t in range(len(frames)))
        return [tuple(part[mine].astype(np.float32) for part in (boxes, landmarks, scores)) for mine in of_frames]

    def _cascade(self, picture: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        index, boxes = self._propose(picture)
        sampler = WindowSampler(picture)

        scores, offsets = _run(self.refinement, sampler, index, boxes)
        kept = np.flatnonzero(scores >= THRESHOLDS[1])
        kept = kept[suppress(boxes[kept], scores[kept], index[kept], 0.7)]
        index, boxes = index[kept], square(move(boxes[kept], offsets[kept]))

        scores, offsets, points = _run(self.output, sampler, index, boxes)
        kept = np.flatnonzero(scores >= THRESHOLDS[2])
        kept = kept[suppress(move(boxes[kept], offsets[kept]), scores[kept], index[kept], 0.7, of_smaller=True)]
        index, boxes, scores, offsets, points = (part[kept] for part in (index, boxes, scores, offsets, points))
        # The published cascade ends here. Its result depends on where the window happened to lie, which makes boxes
        # tremble in a video; looking again through the found box, now well placed, removes most of that.
        for _ in range(CENTRINGS):
            boxes = square(move(boxes, offsets))
            _, offsets, points = _run(self.output, sampler, index, boxes)
        sides = boxes[:, None, 2:] - boxes[:, None, :2]
        landmarks = boxes[:, None, :2] + points.reshape(-1, 2, 5).swapaxes(1, 2) * sides
        return index, move(boxes, offsets), landmarks, scores

    def _propose(self, picture: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Frame index [N] and square candidate boxes [N,4] from the proposal network at every pyramid level."""
        height, width = picture.shape[-2:]
        parts: list[tuple[np.ndarray, ...]] = [(np.zeros(0, int), np.zeros((0, 4)), np.zeros(0))]
        for scale in pyramid(height, width):
            size = math.ceil(height * scale), math.ceil(width * scale)
            level = functional.interpolate(picture, size, mode="area")
            probability, offsets = self.proposal(level.contiguous(memory_format=torch.channels_last))
            index, row, column = torch.nonzero(probability >= THRESHOLDS[0], as_tuple=True)
            scores = _numpy(probability[index, row, column])
            corner = _numpy(torch.stack([column, row], 1)) * _STRIDE
            # The level's size is whole pixels, so its true scale differs a little between the axes.
            scale_xy = np.array([size[1] / width, size[0] / height])
            boxes = np.concatenate([corner / scale_xy, (corner + _CELL) / scale_xy], 1)
            boxes = np.concatenate([boxes, _numpy(offsets[index, :, row, column])], 1)
            frame = _numpy(index).astype(int)
            kept = suppress(boxes[:, :4], scores, frame, 0.5)
            parts.append((frame[kept], move(boxes[kept, :4], boxes[kept, 4:]), scores[kept]))
        frames, boxes, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
        kept = suppress(boxes, scores, frames, 0.7)
        return frames[kept], square(boxes[kept])


class WindowSampler:
    """Cuts windows out of frames and brings them to one size with an exact area mean, all of a frame at once.

    The mean over a cell with fractional borders is four look-ups in the picture's integral image. What lies outside
    the frame counts as mid grey.
    """

    def __init__(self, picture: Tensor) -> None:
        # Sums over a whole frame need more digits than float32 has; Apple's backend has no float64.
        self.device = picture.device
        exact = (picture.cpu() if picture.device.type == "mps" else picture).double()
        self.integral = functional.pad(exact.cumsum(-1), (1, 0, 1, 0))
        # A cumulative sum along a strided axis takes ten times as long as adding row to row.
        for row in range(1, self.integral.shape[-2]):
            self.integral[..., row, :] += self.integral[..., row - 1, :]

    def __call__(self, index: np.ndarray, boxes: np.ndarray, side: int) -> Tensor:
        """Windows [N,3,side,side] for boxes [N,4] (x0 y0 x1 y1 px) of the frames that ``index`` [N] names."""
        windows = torch.zeros(len(boxes), 3, side, side, device=self.device)
        height, width = self.integral.shape[-2] - 1, self.integral.shape[-1] - 1
        steps = np.linspace(0, 1, side + 1)
        for t in np.unique(index):
            mine = np.flatnonzero(index == t)
            box = boxes[mine]
            x = (box[:, :1] + steps * (box[:, 2:3] - box[:, :1])) * 2 / width - 1
            y = (box[:, 1:2] + steps * (box[:, 3:] - box[:, 1:2])) * 2 / height - 1
            grid = np.stack(np.broadcast_arrays(x[:, None, :], y[:, :, None]), -1)
            at = torch.from_numpy(grid).to(self.integral).reshape(1, -1, side + 1, 2)
            sums = functional.grid_sample(
                self.integral[t : t + 1], at, mode="bilinear", padding_mode="border", align_corners=True
            )
            sums = sums.view(3, len(mine), side + 1, side + 1).diff(dim=-1).diff(dim=-2).movedim(1, 0)
            cell = np.prod((box[:, 2:] - box[:, :2]) / side, axis=1)
            means = sums / torch.from_numpy(cell).to(sums)[:, None, None, None]
            windows[torch.from_numpy(mine).to(self.device)] = means.to(self.device, torch.float32)
        return windows


def pyramid(height: int, width: int) -> list[float]:
    """Scales at which a 12-pixel window covers faces from the smallest looked for up to the short side."""
    short = min(height, width)
    scale = _CELL / max(SMALLEST_FACE, SMALLEST_FACE_SHARE * short)
    scales = []
    while short * scale >= _CELL:
        scales.append(scale)
        scale *= PYRAMID_STEP
    return scales


def suppress(
    boxes: np.ndarray, scores: np.ndarray, group: np.ndarray, limit: float, *, of_smaller: bool = False
) -> np.ndarray:
    """Greedy non-maximum suppression within each group.

    Args:
        boxes: [N,4] x0 y0 x1 y1.
        scores: [N], higher is better.
        group: [N] integers; boxes of different groups never suppress each other.
        limit: overlap above which the weaker box goes: intersection over union, or over the smaller box's area
            with ``of_smaller`` (which also removes a box inside another).

    Returns:
        Indices of the kept boxes, best first.
    """
    area = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    left = np.argsort(-scores, kind="stable")
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[left, :2])
        high = np.minimum(boxes[best, 2:], boxes[left, 2:])
        common = np.prod(np.maximum(high - low, 0), axis=1)
        whole = np.minimum(area[best], area[left]) if of_smaller else area[best] + area[left] - common
        left = left[(common <= limit * whole) | (group[left] != group[best])]
    return np.array(kept, dtype=int)


def move(boxes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Boxes [N,4] with each corner moved by ``offsets`` [N,4], given in widths and heights of the box."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes + offsets * np.tile(sides, 2)


def square(boxes: np.ndarray) -> np.ndarray:
    """Boxes [N,4] grown to squares about their centres; without extent, none is left smaller than one pixel."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=1), 1)[:, None] / 2
    return np.concatenate([centre - half, centre + half], 1)


def _run(net: Any, sampler: WindowSampler, index: np.ndarray, boxes: np.ndarray) -> list[np.ndarray]:
    # An empty batch goes through as well: it yields empty arrays of the right width.
    parts = []
    for start in range(0, max(len(boxes), 1), _WINDOWS_AT_ONCE):
        part = slice(start, start + _WINDOWS_AT_ONCE)
        windows = sampler(index[part], boxes[part], net.side)
        # The libraries of convolution keep memory for every batch size that they have seen: let there be few.
        batch = functional.pad(windows, (0, 0, 0, 0, 0, 0, 0, _few_sizes(len(windows)) - len(windows)))
        parts.append([_numpy(out)[: len(windows)] for out in net(batch)])
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def _few_sizes(count: int) -> int:
    """The next of 8, 16, 32, 64, 128, 192, 256, … from ``count`` on."""
    return next((size for size in (8, 16, 32, 64) if count <= size), -(-count // 64) * 64)


def _shrink(picture: Tensor) -> Tensor:
    height, width = picture.shape[-2:]
    ratio = LONG_SIDE / max(height, width)
    if ratio >= 1:
        return picture
    return functional.interpolate(picture, (max(1, round(height * ratio)), max(1, round(width * ratio))), mode="area")


def _numpy(values: Tensor) -> np.ndarray:
    return values.float().cpu().double().numpy()
