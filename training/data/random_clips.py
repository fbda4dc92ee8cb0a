"""Clean training clips, cut at random out of the prepared material, with degraded twins and face masks."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from training.config import Data
from training.data.manifest import rejected_videos
from training.data.people import held_back
from training.data.synthetic_motion import Move, cut
from vividface_core.degrade import load_preset
from vividface_core.degrade.mixture import with_shares
from vividface_core.errors import MissingWeights

CLIPS, ORIGINS, FACES, MASKS, PEOPLE = (
    "clips.safetensors",
    "clips.json",
    "faces.json",
    "masks.safetensors",
    "people.json",
)
MASK_SCALE = 4
"""Stored masks are smaller than the pictures by this."""
ENLARGED = 3.0
"""Most times that a small face's noise is enlarged with it."""


class Material:
    """Memory-mapped clips of :mod:`training.nano.prepare`, with the faces of :mod:`training.nano.find_faces`.

    Raises:
        MissingWeights: the folder isn't prepared.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / CLIPS).is_file():
            raise MissingWeights(f"{folder} holds no {CLIPS}; make it with: python -m training.nano.prepare {folder}")
        self.origin = json.loads((self.folder / ORIGINS).read_text())
        self.keys = sorted(self.origin)
        known = all((self.folder / file).is_file() for file in (FACES, MASKS, PEOPLE))
        self.faces: dict[str, list] = json.loads((self.folder / FACES).read_text()) if known else {}
        self.groups: dict[str, str] = (
            json.loads((self.folder / PEOPLE).read_text()) if known else {key: key for key in self.keys}
        )
        self._clips = safe_open(self.folder / CLIPS, "pt")
        moving = {key for key in self.faces if self._clips.get_slice(key).get_shape()[0] > 1}
        self.held_back = held_back(self.groups, self.faces, moving)
        self._masks = safe_open(self.folder / MASKS, "pt") if known else None

    def clip(self, key: str) -> Tensor:
        """``[T, H, W, 3]`` uint8."""
        return self._clips.get_tensor(key)

    def length(self, key: str) -> int:
        """Frames of a clip."""
        return self._clips.get_slice(key).get_shape()[0]

    def mask(self, key: str) -> Tensor | None:
        """``[T, H / 4, W / 4]`` uint8, 0 or 1; ``None`` where no face was found."""
        return self._masks.get_tensor(key) if self._masks is not None and key in self.faces else None

    def __getstate__(self) -> dict[str, Path]:
        # Open maps don't travel to a loader's worker; it opens its own.
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]  # it has no subclass


class RandomClips:
    """Endless samples: ``clean``, ``degraded`` ``[3, T, S, S]`` in −1…1, ``pixel_mask`` ``[1, T, S, S]`` uint8.

    A sample is a square that moves (stills: with the strength ``still_warp``) through a picture, mirrored, reversed,
    sped up and re-coloured at random, and ``lighting`` of them lit anew. A share of ``faces`` is cut around a known
    face: the whole crop at ``canvas`` pixels, or a window of ``size`` out of it, as sharp as the whole and cheaper.
    Where a sample shows no known face its mask is 1 everywhere: there is nothing to focus on. Clips that aren't
    degraded have up to ``camera_noise`` in input and truth alike.
    """

    def __init__(self, config: Data, *, validation: bool = False, degrade: bool = True) -> None:
        self._config, self._degrade = config, degrade
        self._material = Material(config.validation if validation and config.validation else config.path)
        self._degradations = load_preset(config.degradation, config.degradation_values)
        if config.shares:
            self._degradations = with_shares(self._degradations, config.shares)
        keys = self._material.keys
        if not config.validation:
            keys = [key for key in keys if (key in self._material.held_back) == validation]
        # The clips that a manifest rejects aren't trained on; those that it doesn't know stay.
        if config.manifest is not None and not validation:
            out = rejected_videos(config.manifest)
            keys = [key for key in keys if key not in out]
        self._keys = keys
        self._boxes = {
            key: [box for box in boxes if box[2] >= config.smallest_face] for key, boxes in self._material.faces.items()
        }
        self._faces = [key for key in keys if self._boxes.get(key)]

    def sample(self, number: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """See the class; ``number`` only counts."""
        at_face = bool(self._faces) and rng.random() < self._config.faces
        key = str(rng.choice(self._faces if at_face else self._keys))
        clean, mask = self._moving_square(key, at_face, rng)
        clean, mask = _mirror(clean, mask, rng)
        clean = _colour(clean, rng)
        clean = relit(clean, self._config.lighting, rng)
        if not self._degrade:
            return {"clean": clean.transpose(0, 1) * 2 - 1}
        degradation = self._degradations.sample(int(rng.integers(2**31)))
        clean = degradation.truth(clean)
        if not degradation.steps:
            clean = as_a_sensor_sees(clean, self._config.camera_noise, rng)
        return {
            "clean": clean.transpose(0, 1) * 2 - 1,
            "degraded": degradation(clean).transpose(0, 1) * 2 - 1,
            "pixel_mask": mask.transpose(0, 1),
        }

    def _moving_square(self, key: str, at_face: bool, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        config, clip, mask = self._config, self._material.clip(key), self._material.mask(key)
        chosen = self._frames(len(clip), rng)
        still, height, width = len(clip) == 1, *clip.shape[1:3]
        centre, side = self._face_square(key, rng) if at_face else self._square(height, width, rng)
        strength = config.still_warp if still else 0.3 * config.still_warp * (rng.random() < 0.3)
        move = Move.sample(len(chosen), centre, side, strength, rng)
        grid = move.grid(config.size, height, width)
        pictures, near = _around(clip if still else clip[chosen], grid, side)
        clean = cut(pictures, near, side).clamp(0, 1)
        if mask is None:
            return clean, torch.ones(len(clean), 1, config.size, config.size, dtype=torch.uint8)
        masks = (mask if still else mask[chosen])[:, None].float()
        seen = (cut(masks, grid, side / MASK_SCALE, "bilinear") > 0.5).to(torch.uint8)
        return clean, seen_or_all(seen)

    def _frames(self, total: int, rng: np.random.Generator) -> np.ndarray:
        """Which frames: a run of them, at up to double speed where the clip is long enough, half of them backwards."""
        wanted = self._config.frames
        assert wanted is not None  # the configuration of clips says it
        if total < wanted:
            return np.zeros(wanted, int)
        speed = int(rng.integers(1, 1 + min(2, max(1, (total - 1) // max(1, wanted - 1)))))
        first = int(rng.integers(total - speed * (wanted - 1)))
        chosen = first + speed * np.arange(wanted)
        return chosen[::-1].copy() if rng.random() < 0.5 else chosen

    def _square(self, height: int, width: int, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        side = min(height, width) * rng.uniform(*self._config.zoom)
        return np.array([rng.uniform(side / 2, length - side / 2) for length in (width, height)]), side

    def _face_square(self, key: str, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        boxes = self._boxes[key]
        x, y, whole = boxes[rng.integers(len(boxes))]
        whole *= rng.uniform(0.9, 1.15)
        side = whole * self._config.size / max(self._config.canvas, self._config.size)
        centre = np.array([x, y]) + rng.normal(0, 0.04, 2) * whole
        return centre + rng.uniform(-0.5, 0.5, 2) * (whole - side), side


def seen_or_all(mask: Tensor) -> Tensor:
    """A sample's mask of the face; where none is seen, 1 everywhere: there is nothing to focus on."""
    return mask if mask.any() else torch.ones_like(mask)


def _around(clip: Tensor, grid: Tensor, side: float) -> tuple[Tensor, Tensor]:
    """The part of ``clip [T, H, W, 3]`` that ``grid`` looks at, ``[T, 3, h, w]`` in 0…1, and the grid within it.

    A large picture is mostly outside of the square; to convert and shrink all of it takes most of a sample's time.
    """
    margin, edges = 8 + side / 8, []
    for axis, length in enumerate((clip.shape[2], clip.shape[1])):
        places = (grid[..., axis] + 1) * length / 2
        first = int(max(0, float(places.min()) - margin))
        edges.append((first, int(min(length, float(places.max()) + margin)) or 1, length))
    (left, right, width), (top, bottom, height) = edges
    if right - left < 2 or bottom - top < 2:
        left, right, top, bottom = 0, width, 0, height
    part = clip[:, top:bottom, left:right].permute(0, 3, 1, 2).float() / 255
    full, start, size = (torch.tensor(pair) for pair in ((width, height), (left, top), (right - left, bottom - top)))
    return part, ((grid + 1) * full / 2 - start) / size * 2 - 1


def _mirror(clean: Tensor, mask: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    return (clean.flip(-1), mask.flip(-1)) if rng.random() < 0.5 else (clean, mask)


def _colour(clean: Tensor, rng: np.random.Generator) -> Tensor:
    """Another exposure, gamma and white balance, and now and then a light that changes over the clip."""
    gain = rng.uniform(0.8, 1.15) * rng.uniform(0.95, 1.05, 3)
    drift = rng.normal(0, 0.03) * (rng.random() < 0.3)
    light = torch.from_numpy(1 + drift * np.linspace(-1, 1, len(clean))).float()[:, None, None, None]
    tint = torch.from_numpy(gain).float()[:, None, None]
    return (clean ** rng.uniform(0.85, 1.2) * tint * light).clamp(0, 1)


def relit(clean: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """A ``share`` of clips ``[T, 3, H, W]`` gets a light that is switched, or faded over some frames, and stays so."""
    if not share or rng.random() >= share:
        return clean
    total = len(clean)
    first, length = rng.uniform(0, total), rng.choice([1.0, rng.uniform(1, total)])
    done = np.clip((np.arange(total) - first) / length, 0, 1)
    before, after = rng.permutation([1.0, rng.uniform(0.35, 0.95)])
    return clean * torch.from_numpy(before + (after - before) * done).float()[:, None, None, None]


def as_a_sensor_sees(clean: Tensor, strongest: float, rng: np.random.Generator) -> Tensor:
    """Clips ``[T, 3, H, W]``, 0…1, with a camera's noise that no codec has touched: it belongs to the picture.

    Its deviation, of 255, is drawn up to ``strongest``, and colours have a share of their own. Half of the clips have
    it enlarged up to :data:`ENLARGED` times, as that of a face which fills less than the crop's size in its video.
    """
    if not strongest:
        return clean
    deviation, coloured = rng.uniform(0, strongest) / 255, rng.uniform(0, 1)
    size = clean.shape[2:]
    smaller = rng.uniform(1, ENLARGED) if rng.random() < 0.5 else 1.0
    own = [math.ceil(length / smaller) for length in size]
    grey, colours = (
        torch.from_numpy(rng.standard_normal((len(clean), channels, *own), dtype=np.float32)) for channels in (1, 3)
    )
    noise = (1 - coloured) ** 0.5 * grey + coloured**0.5 * colours
    if smaller > 1:
        noise = F.interpolate(noise, size=tuple(size), mode="bicubic")
    return (clean + deviation * noise).clamp(0, 1)
