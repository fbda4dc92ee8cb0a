"""Figures of a face-region clip that are cheap to measure: size, detail, light, pose, cover, place and motion.

They are stored as they were measured; :mod:`training.curation.thresholds` decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.curation.detail import luma, sharpness_and_noise
from training.curation.occlusion import OcclusionDetector, load_occlusion_detector
from training.curation.pose import angles, nose_symmetry
from vividface_core.errors import InvalidOption
from vividface_core.faces.crop import crop_clip
from vividface_core.faces.face_mesh import PRESENT, FaceMesher, load_mesher

VERSION = 1
"""Of how the figures are measured; records of another one are measured anew."""
LOOKS = 9
"""Frames, spread over the clip, whose pixels are looked at."""
DETAIL_SIDE = 128
"""Sharpness is that of the face at this side in pixels, or at its own in the source where that is less: so a small
sharp face isn't called blurred, and one that was enlarged is."""
MOST = 0.8
"""Quantile over the looks (or the frames) that stands for the worst of them, so that one unlucky frame doesn't."""
_BLACK, _WHITE = 6, 249


@dataclass(frozen=True)
class ClipStats:
    """Of one clip. Angles are in degrees, shares 0…1, light in units of 8-bit luma.

    Attributes:
        face_side: shorter side of the face's box, pixels of the source, median.
        sharpness: share of the detail that a slight blur takes away, along the direction in which it is least
            (see :mod:`training.curation.detail` and ``DETAIL_SIDE``).
        noise: standard deviation of what is noise, luma.
        brightness, contrast: mean and standard deviation of the face's luma.
        black, white: shares of the face that are cut off at either end.
        yaw, pitch, roll: how far the head is turned either way, 80 % quantile; ``None``: no mesh was found.
        evenness: nose to eyes, 1: in the middle; see :func:`training.curation.pose.nose_symmetry`; median.
        mesh: share of the looks in which the face's mesh was found.
        covered: share of the inner face that something seems to cover, mean.
        outside: share of the face's box that is beyond the picture, 80 % quantile.
        mirrored: share of the crop that is beyond the picture.
        motion: how far the face moves from frame to frame, in face sides, 80 % quantile.
        seen: share of the frames in which the detector found the face.
    """

    face_side: float
    sharpness: float
    noise: float
    brightness: float
    contrast: float
    black: float
    white: float
    yaw: float | None
    pitch: float | None
    roll: float | None
    evenness: float
    mesh: float
    covered: float
    outside: float
    mirrored: float
    motion: float
    seen: float

    def to_json(self) -> dict[str, float | None]:
        """Plain numbers, by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> ClipStats:
        """Read what :meth:`to_json` made.

        Raises:
            InvalidOption: other figures.
        """
        names = {field.name for field in fields(cls)}
        if stored.keys() != names:
            other = ", ".join(sorted(stored.keys() ^ names))
            raise InvalidOption(f"These are figures of another version ({other}); measure the clip again.")
        return cls(**stored)


@dataclass(frozen=True)
class Tools:
    """The networks that measuring needs, one set a worker."""

    mesher: FaceMesher
    cover: OcclusionDetector

    @classmethod
    def load(cls, device: str | torch.device = "cpu") -> Tools:
        """Those that come with the package.

        Raises:
            MissingWeights: the installation is incomplete.
        """
        return cls(load_mesher(device), load_occlusion_detector(device))


def measure_clip(
    frames: Tensor,
    landmarks: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    tools: Tools,
    *,
    crop: Sequence[float],
    picture: tuple[int, int],
) -> ClipStats:
    """The figures of one face's clip.

    Args:
        frames: ``[T, 3, S, S]`` RGB 0…1, the resized crop.
        landmarks: ``[T, 5, 2]`` pixels of the resized crop.
        boxes: ``[T, 4]`` x0, y0, x1, y1 in pixels of the source.
        scores: ``[T]``, the detector's; 0 where it didn't see the face.
        tools: see :class:`Tools`.
        crop: centre x, centre y, side in pixels of the source.
        picture: width and height of the source's frames.

    Raises:
        InvalidOption: the arrays aren't of one length, or empty.
    """
    landmarks, boxes, scores = (np.asarray(values, np.float64) for values in (landmarks, boxes, scores))
    if not len(frames) or len({len(frames), len(landmarks), len(boxes), len(scores)}) > 1:
        raise InvalidOption(
            f"A clip's frames, landmarks, boxes and scores are of one length, one or more; these have {len(frames)}, "
            f"{len(landmarks)}, {len(boxes)} and {len(scores)}."
        )
    side = float(np.median((boxes[:, 2:] - boxes[:, :2]).min(1)))
    at = np.unique(np.linspace(0, len(frames) - 1, min(LOOKS, len(frames))).round().astype(int))
    looks, points = frames[torch.from_numpy(at).to(frames.device)], landmarks[at]
    in_crop = side * frames.shape[-1] / float(crop[2])
    found = {
        "face_side": side,
        **_pixels(looks, points, min(DETAIL_SIDE, side) / max(in_crop, 1e-6)),
        **_pose(looks, points, tools.mesher),
        "evenness": float(np.median(nose_symmetry(landmarks))),
        "covered": float(np.mean(tools.cover.shares(looks, points))),
        "outside": float(np.quantile(_outside(boxes, picture), MOST)),
        "mirrored": float(_outside(_square(crop), picture)[0]),
        "motion": _motion(boxes, side),
        "seen": float((scores > 0).mean()),
    }
    return ClipStats(**{name: value if value is None else round(value, 4) for name, value in found.items()})


def _pixels(looks: Tensor, points: np.ndarray, scale: float) -> dict[str, float]:
    """Detail and light of the inner face, a square from the brows to the chin, resized by ``scale``."""
    squares = []
    for frame, face in zip(looks, points):
        eyes, mouth = face[:2].mean(0), face[3:].mean(0)
        reach = 2 * max(np.linalg.norm(face[1] - face[0]), np.linalg.norm(mouth - eyes))
        side = max(16, round(reach * scale))
        picture = crop_clip(frame, (*((eyes + mouth) / 2), reach), side)
        squares.append((picture * 255).round().to(torch.uint8).cpu())
    measured = np.array([(*sharpness_and_noise(square), *_light(square)) for square in squares]).mean(0)
    return dict(zip(("sharpness", "noise", "brightness", "contrast", "black", "white"), measured.tolist()))


def _light(square: Tensor) -> tuple[float, ...]:
    """Mean and deviation of luma, shares of black and white, within the circle of ``[3, n, n]`` uint8."""
    place = (torch.arange(square.shape[-1]) + 0.5) / square.shape[-1] * 2 - 1
    inside = place[:, None] ** 2 + place[None] ** 2 <= 1
    values = luma(square)[inside]
    cut = [(values < _BLACK).float().mean().item(), (values > _WHITE).float().mean().item()]
    return values.mean().item(), values.std().item(), *cut


def _pose(looks: Tensor, points: np.ndarray, mesher: FaceMesher) -> dict[str, float | None]:
    meshes, presence = mesher.landmarks(looks, points)
    there = presence >= PRESENT
    if not there.any():
        return {"yaw": None, "pitch": None, "roll": None, "mesh": 0.0}
    turned = np.quantile(np.abs(angles(meshes[there])), MOST, axis=0)
    return {**dict(zip(("yaw", "pitch", "roll"), turned.tolist())), "mesh": float(there.mean())}


def _square(crop: Sequence[float]) -> np.ndarray:
    x, y, side = map(float, crop)
    return np.array([[x - side / 2, y - side / 2, x + side / 2, y + side / 2]])


def _outside(boxes: np.ndarray, picture: tuple[int, int]) -> np.ndarray:
    """Share ``[N]`` of boxes ``[N, 4]`` that is beyond a picture of that width and height."""
    limits = np.array([*picture, *picture], np.float64)
    inner = np.clip(boxes, 0, limits)
    whole = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return 1 - np.prod(inner[:, 2:] - inner[:, :2], axis=1) / np.maximum(whole, 1e-6)


def _motion(boxes: np.ndarray, side: float) -> float:
    steps = np.linalg.norm(np.diff((boxes[:, :2] + boxes[:, 2:]) / 2, axis=0), axis=1)
    return float(np.quantile(steps, MOST)) / max(side, 1e-6) if len(steps) else 0.0
