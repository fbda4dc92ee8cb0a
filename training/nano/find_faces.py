"""Note where faces are in the prepared material: ``python -m training.nano.find_faces data/nano``.

Writes ``faces.json``: for each clip with a face the crops (centre x, centre y, side; pixels) of its middle frame,
framed as the pipeline frames them; and ``masks.safetensors``: the faces' masks in every frame, at a quarter of the
size. Crops narrower than ``--smallest`` pixels are left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from training.data.random_clips import FACES, MASK_SCALE, MASKS, Material
from vividface_core.faces.crop import square_crop
from vividface_core.faces.detect import FaceDetection, load_detector
from vividface_core.faces.parse import load_parser
from vividface_core.io.atomic import write_json
from vividface_core.io.tensors import write_tensors

SCORE = 0.95


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--smallest", type=float, default=100)
    args = parser.parse_args()
    for file in (FACES, MASKS):
        (args.data / file).unlink(missing_ok=True)
    material, detector, hull = Material(args.data), load_detector("mtcnn"), load_parser("landmark-hull")
    crops, masks = {}, {}
    for key in tqdm(material.keys, unit="clip"):
        clip = material.clip(key).permute(0, 3, 1, 2).float() / 255
        middle = len(clip) // 2
        kept = [crop for crop in _crops(_faces(detector, clip[middle])) if crop[2] >= args.smallest]
        if kept:
            crops[key] = kept
            masks[key] = torch.stack([_mask(hull, frame, _faces(detector, frame)) for frame in clip])
    write_tensors(args.data / MASKS, masks)
    write_json(args.data / FACES, crops)
    print(f"{len(crops)} of {len(material.keys)} clips show {sum(map(len, crops.values()))} faces")


def _faces(detector, frame: Tensor) -> list[FaceDetection]:
    return [face for face in detector.detect(frame[None])[0] if face.score > SCORE]


def _crops(found: list[FaceDetection]) -> list[list[float]]:
    if not found:
        return []
    crops = square_crop(np.stack([f.box for f in found]), np.stack([f.landmarks for f in found]))
    return [[round(float(value), 1) for value in crop] for crop in crops]


def _mask(hull, frame: Tensor, found: list[FaceDetection]) -> Tensor:
    """``[H / 4, W / 4]`` uint8: the union of the faces."""
    height, width = frame.shape[1:]
    square = torch.zeros(1, 1, max(height, width), max(height, width))
    for face in found:
        square = torch.maximum(square, hull.parse(square, face.landmarks[None]))
    small = F.interpolate(square[..., :height, :width], (height // MASK_SCALE, width // MASK_SCALE), mode="area")
    return (small[0, 0] > 0.5).to(torch.uint8)


if __name__ == "__main__":
    main()
