"""Clean training clips, cut at random out of the prepared material, and their degraded twins."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from vividface_core.degrade import DegradationRanges


class ClipSource:
    """Memory-mapped clips, drawn in proportion to a weight (moving clips and faces more often than stills)."""

    def __init__(self, folder: Path) -> None:
        self.origin = json.loads((folder / "clips.json").read_text())
        self.keys = sorted(self.origin)
        self.path = folder / "clips.safetensors"
        self.file = safe_open(self.path, "pt")
        self.faces = json.loads((folder / "faces.json").read_text()) if (folder / "faces.json").exists() else {}

    def clip(self, key: str) -> Tensor:
        """``[T, H, W, 3]`` uint8."""
        return self.file.get_tensor(key)


class RandomClips(IterableDataset):
    """Endless samples ``{"clean": [3, T, S, S], "degraded": …}``, −1…1.

    A sample is a square cut of a random scale with a small random drift for stills (a synthetic camera move),
    mirrored and reversed at random. With ``faces`` set, that share of the samples is cut around a known face: the
    whole crop at ``canvas`` pixels, or a window of ``size`` out of it, as sharp as the whole and cheaper.
    """

    def __init__(self, folder: Path, *, frames: int, size: int, seed: int, degrade: bool, faces: float = 0.0,
                 zoom: tuple[float, float] = (0.5, 1.0), canvas: int = 0,
                 ranges: DegradationRanges | None = None) -> None:
        self.folder, self.frames, self.size, self.seed = folder, frames, size, seed
        self.canvas = max(canvas, size)
        self.degrade, self.faces, self.zoom = degrade, faces, zoom
        self.ranges = ranges or DegradationRanges()

    def __iter__(self):
        torch.set_num_threads(1)
        worker = get_worker_info()
        source = ClipSource(self.folder)
        draw = np.random.default_rng((self.seed, worker.id if worker else 0))
        while True:
            yield self._sample(source, draw)

    def _sample(self, source: ClipSource, draw: np.random.Generator) -> dict[str, Tensor]:
        at_face = bool(source.faces) and draw.random() < self.faces
        key = draw.choice(list(source.faces) if at_face else source.keys)
        clip = source.clip(key)
        box = source.faces[key][draw.integers(len(source.faces[key]))] if at_face else None
        clean = self._cut(clip, box, draw).clamp(0, 1)
        sample = {"clean": clean.transpose(0, 1) * 2 - 1}
        if self.degrade:
            degradation = self.ranges.draw(int(draw.integers(2**31)))
            sample["degraded"] = degradation(clean).transpose(0, 1) * 2 - 1
        return sample

    def _cut(self, clip: Tensor, box: list[float] | None, draw: np.random.Generator) -> Tensor:
        total, height, width = clip.shape[:3]
        if total >= self.frames:
            start = int(draw.integers(total - self.frames + 1))
            clip = clip[start : start + self.frames]
        else:
            clip = clip[:1].expand(self.frames, -1, -1, -1)
        if box is None:
            side = min(height, width) * draw.uniform(*self.zoom)
            center = np.array([draw.uniform(side / 2, width - side / 2), draw.uniform(side / 2, height - side / 2)])
        else:
            side = box[2] * draw.uniform(0.9, 1.15)
            center = np.array(box[:2]) + draw.normal(0, 0.04, 2) * side
            whole, side = side, side * self.size / self.canvas
            center = center + draw.uniform(-0.5, 0.5, 2) * (whole - side)
        drift = draw.normal(0, 0.01, 2) * side if total == 1 or draw.random() < 0.3 else np.zeros(2)
        growth = draw.normal(0, 0.004) if total == 1 else 0.0
        cut = _follow(clip, center, drift, side, growth, self.size)
        if draw.random() < 0.5:
            cut = cut.flip(-1)
        if draw.random() < 0.5:
            cut = cut.flip(0)
        gain, gamma = draw.uniform(0.8, 1.15), draw.uniform(0.85, 1.2)
        return (cut.clamp(0, 1) ** gamma * gain).clamp(0, 1)


def _follow(clip: Tensor, center: np.ndarray, drift: np.ndarray, side: float, growth: float, size: int) -> Tensor:
    """Cut squares ``[T, 3, S, S]`` whose centre drifts by ``drift`` and whose side grows by ``growth`` a frame."""
    count, height, width = clip.shape[:3]
    frames = clip.permute(0, 3, 1, 2).float() / 255
    step = torch.arange(count) - (count - 1) / 2
    half = side / 2 * (1 + growth * step)
    middle = torch.tensor(center, dtype=torch.float32) + step[:, None] * torch.tensor(drift, dtype=torch.float32)
    if side > 1.5 * size:
        # grid_sample doesn't filter: shrink first, so that fine structure is averaged, not skipped.
        factor = size / side
        frames = F.interpolate(frames, scale_factor=factor, mode="bilinear", antialias=True)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = half / (width / 2), half / (height / 2)
    theta[:, 0, 2], theta[:, 1, 2] = middle[:, 0] / (width / 2) - 1, middle[:, 1] / (height / 2) - 1
    grid = F.affine_grid(theta, [count, 3, size, size], align_corners=False)
    return F.grid_sample(frames, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
