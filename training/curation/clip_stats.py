"""Figures of a face-region clip that are cheap to measure: size, detail, light, pose, cover, place and motion.

They are stored as they were measured; :mod:`training.curation.thresholds` decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.curation.occlusion import OcclusionDetector, load_occlusion_detector
from vividface_core.errors import InvalidOption
from vividface_core.faces.crop import crop_clip
from vividface_core.faces.face_mesh import PRESENT, FaceMesher, load_mesher
from vividface_core.faces.pose import nose_symmetry
from vividface_core.luma import BT709
from vividface_core.mllm.judges.technical import measure

PAIRS = ((33, 263), (133, 362), (61, 291), (50, 280), (127, 356), (234, 454), (172, 397), (54, 284))
"""Points of the mesh that lie opposite each other: outer and inner corners of the eyes, corners of the mouth, cheeks,
temples, ears, jaw, forehead."""
FOREHEAD, CHIN = 10, 152
"""Points of the midline; in MediaPipe's canonical face one is above the other within a degree."""
NOSE, LEFT_EYE, RIGHT_EYE = 1, 33, 263

_WAYS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Steps down and across."""
_STEP, _BLURRED_STEP = ((-1, -0.5), (1, 0.5)), ((-2, -0.125), (-1, -0.25), (1, 0.25), (2, 0.125))
"""The difference over two pixels, and the same after a blur with weights 1 2 1: places along the way and weights."""
_NOISE_SHARE = 0.5 - 0.15625
"""Of white noise of variance 1, what the blur takes from the squared difference."""

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
            (see :func:`sharpness_and_noise` and ``DETAIL_SIDE``).
        noise: standard deviation of what is noise, luma.
        brightness, contrast: mean and standard deviation of the face's luma.
        black, white: shares of the face that are cut off at either end.
        yaw, pitch, roll: how far the head is turned either way, 80 % quantile; ``None``: no mesh was found.
        evenness: nose to eyes, 1: in the middle; see :func:`vividface_core.faces.pose.nose_symmetry`; median.
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
    figures: dict[str, Any] = {name: value if value is None else round(value, 4) for name, value in found.items()}
    return ClipStats(**figures)


def _pixels(looks: Tensor, points: np.ndarray, scale: float) -> dict[str, float]:
    """Detail and light of the inner face, a square from the brows to the chin, resized by ``scale``."""
    squares = []
    for frame, face in zip(looks, points):
        eyes, mouth = face[:2].mean(0), face[3:].mean(0)
        reach = 2 * float(max(np.linalg.norm(face[1] - face[0]), np.linalg.norm(mouth - eyes)))
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


def luma(picture: Tensor) -> Tensor:
    """Rec. 709 luma ``[H, W]``, 0…255, of ``[3, H, W]`` uint8."""
    return sum(share * channel.float() for share, channel in zip(BT709, picture))


def sharpness_and_noise(picture: Tensor) -> tuple[float, float]:
    """Of ``[3, H, W]`` uint8, sides of 16 or more.

    Returns:
        Sharpness 0…1: the share of the squared differences along a line that a slight blur along that line takes away,
        noise discounted, of the direction in which it is least. A picture that was blurred along one direction only is
        as blurred as that direction is. And the standard deviation of the noise, in units of luma.
    """
    noise = measure(picture[None]).noise
    values = luma(picture)[None, None]
    fine, coarse = (F.conv2d(values, _kernels(taps)).square().mean((0, 2, 3)) for taps in (_STEP, _BLURRED_STEP))
    # Twice the noise is taken off, as it is read where there is least of it.
    lost = (fine - coarse - 2 * _NOISE_SHARE * noise * noise).clamp(min=0) / fine.clamp(min=1e-6)
    return lost.min().item(), noise


def _kernels(taps: tuple[tuple[int, float], ...]) -> Tensor:
    kernels = torch.zeros(len(_WAYS), 1, 5, 5)
    for kernel, (down, across) in zip(kernels, _WAYS):
        for place, weight in taps:
            kernel[0, 2 + place * down, 2 + place * across] = weight
    return kernels


def angles(points: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll ``[N, 3]`` in degrees of meshes ``[N, 478, 3]`` (x right, y down, z away from the camera).

    The head's right is the mean direction of :data:`PAIRS`, its down that from forehead to chin, made perpendicular;
    the rotation is R = R_z(roll) R_y(yaw) R_x(pitch). Positive: the nose to the right of the picture, the nose up, the
    head turned clockwise. The picture is taken for a parallel projection. NaN where the points are.
    """
    points = np.asarray(points, np.float64)
    starts, ends = np.array(PAIRS).T
    right = _unit((points[:, ends] - points[:, starts]).mean(1))
    down = points[:, CHIN] - points[:, FOREHEAD]
    down = _unit(down - (down * right).sum(1, keepdims=True) * right)
    away = np.cross(right, down)
    yaw = np.arcsin(np.clip(right[:, 2], -1, 1))
    pitch = -np.arctan2(down[:, 2], away[:, 2])
    roll = np.arctan2(right[:, 1], right[:, 0])
    return np.degrees(np.stack([yaw, pitch, roll], 1))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
