"""Note where faces are in the prepared material: ``python -m training.nano.find_faces data/nano``.

Writes ``faces.json``: for each clip with a face the crops (centre x, centre y, side; pixels) of its middle frame,
framed as the pipeline frames them; ``masks.safetensors``: the faces' masks in every frame, at a quarter of the size;
and ``people.json``: which clips belong together because they come of one file or show one person, so that
validation is on other people than training. Crops narrower than ``--smallest`` pixels are left out. ``--every 4``
looks at every fourth frame alone, whose mask stands for its neighbours, and ``--shrink 2`` at pictures of half the
size, which the smallest crops bear.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from training.data.people import grouped
from training.data.random_clips import FACES, MASK_SCALE, MASKS, PEOPLE, Material
from vividface_core.faces.crop import square_crop
from vividface_core.faces.detect import FaceDetection, FaceDetector, load_detector
from vividface_core.faces.embed import FaceEmbedder, load_embedder
from vividface_core.faces.parse import FaceParser, load_parser
from vividface_core.io.atomic import write_json
from vividface_core.io.tensors import write_tensors

SCORE = 0.95
Found = tuple[list[list[float]], np.ndarray, Tensor]
"""Crops, the faces' embeddings ``[N, 512]`` and the masks of all frames of a clip."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--smallest", type=float, default=100)
    parser.add_argument("--workers", type=int, default=1, help="processes that search")
    parser.add_argument("--every", type=int, default=1, help="look for masks in every so many-th frame")
    parser.add_argument("--shrink", type=int, default=1, help="look for faces in pictures so many times smaller")
    args = parser.parse_args()
    for file in (FACES, MASKS, PEOPLE):
        (args.data / file).unlink(missing_ok=True)
    material = Material(args.data)
    jobs = [(args.data, key, args.smallest, args.every, args.shrink) for key in material.keys]
    crops, masks, looks = {}, {}, {}
    with get_context("spawn").Pool(args.workers, _one_thread) as pool:
        for key, found in zip(material.keys, tqdm(pool.imap(_search, jobs), total=len(jobs), unit="clip")):
            if found is not None:
                crops[key], looks[key], masks[key] = found
    write_tensors(args.data / MASKS, masks)
    write_json(args.data / FACES, crops)
    write_json(args.data / PEOPLE, grouped(material.origin, looks))
    print(f"{len(crops)} of {len(material.keys)} clips show {sum(map(len, crops.values()))} faces")


def _one_thread() -> None:
    torch.set_num_threads(1)


@cache
def _tools(folder: Path) -> tuple[Material, FaceDetector, FaceParser, FaceEmbedder]:
    return Material(folder), load_detector("mtcnn"), load_parser("landmark-hull"), load_embedder()


def _search(job: tuple[Path, str, float, int, int]) -> Found | None:
    folder, key, smallest, every, shrink = job
    material, detector, hull, embedder = _tools(folder)
    clip = material.clip(key).permute(0, 3, 1, 2).float() / 255
    middle = len(clip) // 2
    found = _faces(detector, clip[middle], shrink)
    kept = [(face, crop) for face, crop in zip(found, _crops(found)) if crop[2] >= smallest]
    if not kept:
        return None
    looks = embedder.embed(clip[middle], np.stack([face.landmarks for face, _ in kept]))
    seen = {
        place: _mask(hull, clip[place], found if place == middle else _faces(detector, clip[place], shrink))
        for place in {middle, *range(0, len(clip), every)}
    }
    masks = [seen[min(seen, key=lambda other: abs(other - place))] for place in range(len(clip))]
    return [crop for _, crop in kept], looks, torch.stack(masks)


def _faces(detector: FaceDetector, frame: Tensor, shrink: int) -> list[FaceDetection]:
    small = F.avg_pool2d(frame[None], shrink)
    return [
        replace(face, box=face.box * shrink, landmarks=face.landmarks * shrink)
        for face in detector.detect(small)[0]
        if face.score > SCORE
    ]


def _crops(found: list[FaceDetection]) -> list[list[float]]:
    if not found:
        return []
    crops = square_crop(np.stack([f.box for f in found]), np.stack([f.landmarks for f in found]))
    return [[round(float(value), 1) for value in crop] for crop in crops]


def _mask(hull: FaceParser, frame: Tensor, found: list[FaceDetection]) -> Tensor:
    """``[H / 4, W / 4]`` uint8: the union of the faces."""
    height, width = frame.shape[1:]
    square = torch.zeros(1, 1, max(height, width), max(height, width))
    for face in found:
        square = torch.maximum(square, hull.parse(square, face.landmarks[None]))
    small = F.interpolate(square[..., :height, :width], (height // MASK_SCALE, width // MASK_SCALE), mode="area")
    return (small[0, 0] > 0.5).to(torch.uint8)


if __name__ == "__main__":
    main()
