"""Faults that the pre-filter should find, put into real frames on purpose, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vividface_core.degrade.filters import gaussian_blur, oriented_blur


@dataclass(frozen=True)
class Scene:
    """What a fault is put into.

    Attributes:
        frames: whole frames ``[T, 3, H, W]``.
        boxes, landmarks: of the face, ``[T, 4]`` and ``[T, 5, 2]``, pixels.
        thing: another clip's picture ``[3, h, w]``, for things that cover the face.
        rng: where chance comes from.
    """

    frames: Tensor
    boxes: np.ndarray
    landmarks: np.ndarray
    thing: Tensor
    rng: np.random.Generator

    @property
    def side(self) -> float:
        """Shorter side of the face's box, pixels."""
        return float(np.median((self.boxes[:, 2:] - self.boxes[:, :2]).min(1)))

    @property
    def centre(self) -> np.ndarray:
        return np.median((self.boxes[:, :2] + self.boxes[:, 2:]) / 2, axis=0)

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))


@dataclass(frozen=True)
class Copy:
    """Frames with a fault, and where the face's centre is in them."""

    frames: Tensor
    centre: np.ndarray


def _same_place(change: Callable[[Scene], Tensor]) -> Callable[[Scene], Copy]:
    return lambda scene: Copy(change(scene).clamp(0, 1), scene.centre)


def blurred(scene: Scene) -> Tensor:
    """Out of focus: σ of 2.5 to 5 % of the face's side."""
    return gaussian_blur(scene.frames, scene.between(0.025, 0.05) * scene.side)


def smeared(scene: Scene) -> Tensor:
    """Moved while exposed: σ of 4 to 8 % of the face's side along one direction."""
    return oriented_blur(scene.frames, scene.between(0.04, 0.08) * scene.side, 0.3, scene.between(0, 180))


def enlarged(scene: Scene) -> Tensor:
    """A face of 24 to 40 pixels, and less than half of what it was, resized up to what it was."""
    small = _resized(scene.frames, min(scene.between(24, 40) / scene.side, 0.45))
    return F.interpolate(small, scene.frames.shape[-2:], mode="bicubic", align_corners=False)


def small(scene: Scene) -> Copy:
    """A face of 24 to 44 pixels in a small video."""
    return _shrunk(scene, scene.between(24, 44) / scene.side)


def _shrunk(scene: Scene, factor: float) -> Copy:
    frames = _resized(scene.frames, factor)
    scale = np.array(frames.shape[:-3:-1]) / np.array(scene.frames.shape[:-3:-1])
    return Copy(frames, scene.centre * scale)


def _resized(frames: Tensor, factor: float) -> Tensor:
    size = [max(2, round(side * factor / 2) * 2) for side in frames.shape[-2:]]
    return F.interpolate(frames, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def dark(scene: Scene) -> Tensor:
    """Brought down to a mean of 5 to 10 % on the face."""
    return scene.frames * (scene.between(0.05, 0.10) / _mean(scene))


def overexposed(scene: Scene) -> Tensor:
    """Brought up so that a third or more of the face is cut off."""
    top = np.quantile(_face(scene).mean(1).numpy(), scene.between(0.35, 0.6))
    return scene.frames / max(float(top), 0.02)


def flat(scene: Scene) -> Tensor:
    """Contrast brought down to 10 to 18 %, around the mean."""
    share, mean = scene.between(0.10, 0.18), _mean(scene)
    return (scene.frames - mean) * share + max(mean, 0.35)


def noisy(scene: Scene) -> Tensor:
    """Gaussian noise of 22 to 35 units of 255."""
    noise = torch.from_numpy(scene.rng.standard_normal(scene.frames.shape).astype(np.float32))
    return scene.frames + noise * (scene.between(22, 35) / 255)


def _face(scene: Scene) -> Tensor:
    middle = len(scene.frames) // 2
    height, width = scene.frames.shape[-2:]
    x0, y0, x1, y1 = np.clip(scene.boxes[middle], 0, (width, height, width, height)).round().astype(int)
    return scene.frames[middle : middle + 1, :, y0:y1, x0:x1]


def _mean(scene: Scene) -> float:
    return max(float(_face(scene).mean()), 0.02)


def cut_off(scene: Scene) -> Copy:
    """The picture ends 30 to 45 % into the face, at the left, the right or below."""
    height, width = scene.frames.shape[-2:]
    (low_x, low_y), (high_x, high_y) = np.median(scene.boxes, axis=0).reshape(2, 2)
    share, where = scene.between(0.30, 0.45), scene.rng.integers(3)
    if where == 0:
        start = round(low_x + share * (high_x - low_x))
        return Copy(scene.frames[..., max(0, start) :], scene.centre - (max(0, start), 0))
    if where == 1:
        return Copy(scene.frames[..., : max(16, round(high_x - share * (high_x - low_x)))], scene.centre)
    return Copy(scene.frames[..., : max(16, round(high_y - share * (high_y - low_y))), :], scene.centre)


def shaken(scene: Scene) -> Tensor:
    """Every frame jumps by up to 45 % of the face's side."""
    jumps = scene.rng.uniform(-0.45, 0.45, (len(scene.frames), 2)) * scene.side
    return torch.stack(
        [
            torch.roll(frame, tuple(np.round(jump).astype(int).tolist()), (1, 2))
            for frame, jump in zip(scene.frames, jumps)
        ]
    )


def thing_on_mouth(scene: Scene) -> Tensor:
    """A patterned thing over mouth and chin."""
    return _cover(scene, 3, _patch(scene), (1.3, 0.95))


def thing_on_eyes(scene: Scene) -> Tensor:
    """A patterned thing over both eyes."""
    return _cover(scene, 0, _patch(scene), (1.9, 0.75))


def hand(scene: Scene) -> Tensor:
    """Four fingers in the person's own skin colour over an eye and the cheek below, or over the mouth."""
    return _cover(scene, int(scene.rng.choice([1, 2, 3])), None, (1.15, 1.25))


def _patch(scene: Scene) -> Tensor:
    """A square out of another clip's border, without its face."""
    _, height, width = scene.thing.shape
    side = min(height, width) // 3
    left = 0 if scene.rng.random() < 0.5 else width - side
    top = int(scene.rng.integers(height - side))
    return scene.thing[:, top : top + side, left : left + side]


def _cover(scene: Scene, where: int, patch: Tensor | None, extent: tuple[float, float]) -> Tensor:
    """Cover eyes (0), an eye with its cheek (1, 2) or the mouth (3) by an oval thing or, without one, by fingers.

    ``extent`` is width and height in units of the face: the longer of eye distance and eyes to mouth.
    """
    frames, turn, sway = scene.frames.clone(), scene.between(-0.4, 0.4), scene.between(0.0, 0.06)
    skin = _skin(scene)
    for number, (frame, points) in enumerate(zip(frames, scene.landmarks)):
        eyes, mouth = points[:2].mean(0), points[3:].mean(0)
        unit = max(np.linalg.norm(points[1] - points[0]), np.linalg.norm(mouth - eyes))
        target = {0: eyes, 1: (points[0] + points[3]) / 2, 2: (points[1] + points[4]) / 2}.get(where, mouth)
        centre = target + sway * unit * np.array([np.sin(number / 3), np.cos(number / 4)])
        x, y = _grid(frame, centre, turn)
        u, v = x / (extent[0] * unit / 2), y / (extent[1] * unit / 2)
        if patch is None:
            color, inside = _fingers(u, v, skin)
        else:
            color = F.grid_sample(
                patch[None], torch.stack([u, v], -1)[None], padding_mode="reflection", align_corners=False
            )[0]
            inside = (u.abs() ** 4 + v.abs() ** 4).sqrt()
        alpha = ((1 - inside) * unit / 6).clamp(0, 1)
        frame[:] = alpha * color + (1 - alpha) * frame
    return frames


def _grid(frame: Tensor, centre: np.ndarray, turn: float) -> tuple[Tensor, Tensor]:
    height, width = frame.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5 - centre[1], torch.arange(width) + 0.5 - centre[0], indexing="ij")
    return (x * np.cos(turn) + y * np.sin(turn)).float(), (y * np.cos(turn) - x * np.sin(turn)).float()


def _fingers(u: Tensor, v: Tensor, skin: Tensor) -> tuple[Tensor, Tensor]:
    """Four rounded bars side by side, each brighter in its middle than at its edges."""
    across = (u * 2) % 1 * 2 - 1
    length = torch.where((u * 2).floor().abs() % 2 == 0, 1.0, 0.85)
    tip = (v.abs() - (length - 0.25)).clamp(min=0) / 0.25
    inside = torch.maximum((across**2 + tip**2).sqrt(), u.abs())
    shade = 0.45 + 0.6 * (1 - across**2).clamp(min=0).sqrt()
    wrinkles = 1 - 0.12 * torch.exp(-(((v * 3) % 1 - 0.5) ** 2) / 0.004)
    return skin[:, None, None] * shade * wrinkles, inside


def _skin(scene: Scene) -> Tensor:
    """The colour beside the nose."""
    middle = len(scene.frames) // 2
    nose, mouth = scene.landmarks[middle][2], scene.landmarks[middle][3:].mean(0)
    x, y = (nose + 0.3 * (nose - mouth)).round().astype(int)
    height, width = scene.frames.shape[-2:]
    near = scene.frames[middle][:, max(0, min(y, height - 3) - 2) :, max(0, min(x, width - 3) - 2) :][:, :5, :5]
    return near.mean((1, 2)) * 1.1


FAULTS: dict[str, tuple[str, Callable[[Scene], Copy]]] = {
    "small": ("small", small),
    "blurred": ("blurred", _same_place(blurred)),
    "smeared by motion": ("blurred", _same_place(smeared)),
    "small, enlarged": ("blurred", _same_place(enlarged)),
    "dark": ("dark", _same_place(dark)),
    "overexposed": ("bright", _same_place(overexposed)),
    "low contrast": ("flat", _same_place(flat)),
    "noisy": ("noisy", _same_place(noisy)),
    "thing over the mouth": ("covered", _same_place(thing_on_mouth)),
    "thing over the eyes": ("covered", _same_place(thing_on_eyes)),
    "hand": ("covered", _same_place(hand)),
    "cut off by the picture": ("cut off", cut_off),
    "shaken": ("jumpy", _same_place(shaken)),
}
"""By name: the check that should find it, and how it is made."""

TWINS: dict[str, tuple[int, Callable[[Scene], Copy]]] = {
    "re-encoded": (32, lambda scene: Copy(scene.frames, scene.centre)),
    "resized to 70 %": (26, lambda scene: _shrunk(scene, 0.7)),
    "brighter": (24, _same_place(lambda scene: (scene.frames * 1.25 + 0.02) ** 0.9)),
}
"""Copies of the same moment: their crf and how they are made."""
