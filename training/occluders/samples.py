"""Faces out of the prepared material, and samples of them with things before them."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from training.curation.occlusion import load_occlusion_detector
from training.curation.train_occlusion import LEFT_OUT
from training.data.occluders import as_filmed
from training.data.random_clips import Material
from training.occluders.shapes import Place, draw_occluder
from vividface_core.degrade.filters import gaussian_blur
from vividface_core.faces.crop import crop_clip, crop_points, square_crop
from vividface_core.faces.detect import load_detector
from vividface_core.faces.occluders import SIDE
from vividface_core.faces.parse import LandmarkHull

STORED, MARGIN = 264, 1.25
"""Side of the stored crops in pixels, and by how much they show more than the pipeline's crop."""
COVERED = 0.12
"""Share of the inner face from which a face counts as covered already."""
TEST_SHARE = 7
"""Every so many-th group of people only tells how it goes."""
OUTSIDE = 0.1
"""What a pixel outside the head counts, beside one within it."""


@dataclass(frozen=True)
class Faces:
    """Faces, and what is put before them.

    Attributes:
        pictures: uint8 ``[N, 3, 264, 264]``.
        landmarks: ``[N, 5, 2]`` pixels of them.
        textures: pictures of other things ``[M, 3, 160, 160]``, 0…1.
        skins: a piece of cheek of each face ``[N, 3, 24, 24]``, 0…1.
    """

    pictures: Tensor
    landmarks: np.ndarray
    textures: Tensor
    skins: Tensor


def gather(material: Material) -> tuple[Faces, Faces]:
    """Uncovered faces to train on, and those of other people to test on."""
    detector, covers = load_detector("mtcnn"), load_occlusion_detector()
    found: tuple[list[tuple[Tensor, np.ndarray]], ...] = ([], [])
    textures: list[Tensor] = []
    for key in tqdm(material.keys, unit="clip", disable=None):
        if key not in material.faces:
            if len(textures) < 400 and int(key) % 2 == 0:
                textures.append(_middle(material.clip(key)))
            continue
        if Path(material.origin[key]["file"]).stem in LEFT_OUT:
            continue
        group = hashlib.sha256(material.groups[key].encode()).digest()[0]
        apart = key in material.held_back or group % TEST_SHARE == 0
        clip = material.clip(key)
        for at in {len(clip) // 2, *range(0, len(clip), 8)}:
            frame = clip[at].permute(2, 0, 1).float() / 255
            for face in detector.detect(frame[None])[0]:
                if face.score < 0.97 or face.box[2] - face.box[0] < 48:
                    continue
                if covers.shares(frame[None], face.landmarks[None])[0] > COVERED:
                    continue
                crop = square_crop(face.box[None], face.landmarks[None])
                crop[:, 2] *= MARGIN
                points = crop_points(face.landmarks[None], crop, STORED)[0]
                found[apart].append((crop_clip(frame, crop[0], STORED), points))
    train, test = (_faces(part, torch.stack(textures)) for part in found)
    return train, test


def _faces(found: list[tuple[Tensor, np.ndarray]], textures: Tensor) -> Faces:
    pictures = torch.stack([picture for picture, _ in found])
    skins = torch.stack([_cheek(picture, points) for picture, points in found])
    return Faces((pictures * 255).round().byte(), np.stack([points for _, points in found]), textures, skins)


def _cheek(picture: Tensor, points: np.ndarray) -> Tensor:
    """The skin beside the nose, on its wider side."""
    sides = [(points[2] + points[corner] + points[eye]) / 3 for eye, corner in ((0, 3), (1, 4))]
    x, y = (
        max(sides, key=lambda side: float(np.linalg.norm(side - points[2]))).round().astype(int).clip(12, STORED - 12)
    )
    return picture[:, y - 12 : y + 12, x - 12 : x + 12]


def _middle(clip: Tensor) -> Tensor:
    picture = clip[len(clip) // 2].permute(2, 0, 1).float() / 255
    side = min(picture.shape[-2:])
    return F.interpolate(
        picture[None, :, :side, :side], (160, 160), mode="bilinear", antialias=True, align_corners=False
    )[0]


def sample(faces: Faces, number: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A face as it may come, where it is covered, and how much each pixel counts: ``[3, S, S]``, ``[1, S, S]`` twice,
    with the side of :class:`~vividface_core.faces.occluders.OccluderNet`."""
    picture, points = _moved(faces.pictures[number].float() / 255, faces.landmarks[number], rng)
    # Half of the hands are the person's own.
    skins = faces.skins[number : number + 1] if rng.random() < 0.5 else faces.skins
    place = Place.at(points, SIDE, faces.textures, skins)
    covered = torch.zeros(1, SIDE, SIDE)
    if rng.random() < 0.75:
        for _ in range(1 + (rng.random() < 0.25)):
            color, alpha, hides = draw_occluder(place, rng)
            soft = float(rng.uniform(0.3, 1.4))
            alpha, hides = (gaussian_blur(part[None], soft)[0] for part in (alpha, hides))
            if rng.random() < 0.5:
                # A thing before a face darkens it a little beside its edge.
                shadow = gaussian_blur(
                    torch.roll(alpha, (int(rng.integers(-3, 6)), int(rng.integers(-4, 5))), (1, 2))[None], 3.0
                )
                picture = picture * (1 - float(rng.uniform(0.1, 0.5)) * shadow[0])
            light = float(np.clip(float(picture.mean()) / 0.45, 0.5, 1.3)) if rng.random() < 0.5 else 1.0
            picture = alpha * (color * light).clamp(0, 1) + (1 - alpha) * picture
            covered = torch.maximum(covered, hides)
    head = LandmarkHull().parse(picture[None], points[None])[0]
    filmed = as_filmed(picture, rng) if rng.random() < 0.2 else picture
    return _degraded(filmed, rng).clamp(0, 1), covered, OUTSIDE + (1 - OUTSIDE) * head


def _moved(picture: Tensor, points: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, np.ndarray]:
    """A turned, shifted and perhaps mirrored part, as the pipeline cuts it, with the landmarks in it."""
    turn, grow, shift = rng.normal(0, 0.12), np.exp(rng.normal(0, 0.08)), rng.normal(0, 0.04, 2)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    inner = grow / MARGIN
    matrix = inner * np.array([[flip * np.cos(turn), -np.sin(turn)], [flip * np.sin(turn), np.cos(turn)]])
    theta = torch.from_numpy(np.concatenate([matrix, shift[:, None]], 1)).float()[None]
    grid = F.affine_grid(theta, [1, 3, SIDE, SIDE], align_corners=False)
    cut = F.grid_sample(picture[None], grid, padding_mode="reflection", align_corners=False)[0]
    unit = points * 2 / STORED - 1
    there = (np.linalg.inv(matrix) @ (unit - shift).T).T
    there = (there + 1) * SIDE / 2
    return cut, there[[1, 0, 2, 4, 3]] if flip < 0 else there


def _degraded(picture: Tensor, rng: np.random.Generator) -> Tensor:
    """Four in ten stay; the others are blurred, shrunk, noisy or compressed, as what is to be restored is."""
    if rng.random() < 0.4:
        return picture
    if rng.random() < 0.6:
        picture = gaussian_blur(picture[None], float(np.exp(rng.uniform(np.log(0.4), np.log(5)))))[0]
    if rng.random() < 0.5:
        few = int(SIDE / rng.uniform(1, 4))
        small = F.interpolate(picture[None], (few, few), mode="bilinear", antialias=True, align_corners=False)
        picture = F.interpolate(small, (SIDE, SIDE), mode="bicubic", align_corners=False)[0]
    noise = torch.from_numpy(rng.standard_normal(picture.shape).astype(np.float32))
    picture = (picture + noise * float(rng.uniform(0, 0.04))).clamp(0, 1)
    return _compressed(picture, rng) if rng.random() < 0.5 else picture


def _compressed(picture: Tensor, rng: np.random.Generator) -> Tensor:
    store = io.BytesIO()
    pixels = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(store, "JPEG", quality=int(rng.integers(12, 70)))
    return torch.from_numpy(np.array(Image.open(store))).permute(2, 0, 1).float() / 255
