"""Material for networks that see small pictures: ``python -m training.nano.shrink data/nano data/nano-small``.

Every clip is scaled once so that its short side is ``--side`` pixels. Cutting 32×32 pixels out of full-sized frames
takes many times as long as training on them. Faces and masks don't come along.

``--faces`` makes a clip of every face instead (after :mod:`training.nano.find_faces`): a square around it, at
``--side`` pixels, wide enough for a crop that moves. Faces, masks and people come along, so that validation stays on
other people than training.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from training.data.random_clips import CLIPS, FACES, MASK_SCALE, MASKS, ORIGINS, PEOPLE, Material
from vividface_core.errors import InvalidOption
from vividface_core.io.atomic import write_json
from vividface_core.io.tensors import write_tensors

FRAMES = 4
"""Frames that are scaled at a time."""
MARGIN = 1.35
"""Side of the square around a face over that of its crop."""


def shrunk(clip: Tensor, side: int) -> Tensor:
    """``[T, H, W, 3]`` uint8 with a short side of at most ``side``."""
    height, width = clip.shape[1:3]
    factor = side / min(height, width)
    if factor >= 1:
        return clip
    return _scaled(clip, (max(1, round(height * factor)), max(1, round(width * factor))))


def _scaled(clip: Tensor, size: tuple[int, int]) -> Tensor:
    parts = [F.interpolate(x.permute(0, 3, 1, 2).float(), size=size, mode="area") for x in clip.split(FRAMES)]
    return torch.cat(parts).round().byte().permute(0, 2, 3, 1).contiguous()


def face_square(picture: tuple[int, int], crop: list[float]) -> tuple[int, int, int]:
    """Left, top and side of the square around a face crop (centre x, centre y, side), moved into the picture.

    Args:
        picture: height, width.
    """
    height, width = picture
    x, y, side = crop
    wide = min(round(side * MARGIN), height, width)
    left, top = (round(min(max(c - wide / 2, 0), end - wide)) for c, end in ((x, width), (y, height)))
    return left, top, wide


def cut_face(clip: Tensor, crop: list[float], side: int) -> tuple[Tensor, list[float]]:
    """The square around a face as a clip ``[T, side, side, 3]`` (smaller where the face is), and the crop in it."""
    left, top, wide = face_square((clip.shape[1], clip.shape[2]), crop)
    out = min(side, wide) // MASK_SCALE * MASK_SCALE
    square = _scaled(clip[:, top : top + wide, left : left + wide], (out, out))
    x, y, whole = crop
    return square, [round(value * out / wide, 1) for value in (x - left, y - top, whole)]


def _cut_mask(mask: Tensor, picture: tuple[int, int], crop: list[float], out: int) -> Tensor:
    """``[T, H / 4, W / 4]`` to the mask of the square, ``[T, out / 4, out / 4]``."""
    left, top, wide = (round(value / MASK_SCALE) for value in face_square(picture, crop))
    part = mask[:, top : top + max(wide, 1), left : left + max(wide, 1)][:, None].float()
    return F.interpolate(part, size=(out // MASK_SCALE,) * 2, mode="nearest")[:, 0].to(torch.uint8)


def shrink_faces(material: Material, output: Path, side: int) -> None:
    """Write the faces of ``material`` as material of their own.

    Raises:
        InvalidOption: its faces aren't known.
    """
    if not material.faces:
        raise InvalidOption(
            f"{material.folder} has no {FACES}; make it with: python -m training.nano.find_faces {material.folder}"
        )
    clips, masks, faces, groups, origin = {}, {}, {}, {}, {}
    for key in tqdm(sorted(material.faces), unit="clip"):
        clip, mask = material.clip(key), material.mask(key)
        assert mask is not None  # every clip with faces has masks
        picture = (clip.shape[1], clip.shape[2])
        for number, crop in enumerate(material.faces[key]):
            name = f"{key}.{number}"
            clips[name], inside = cut_face(clip, crop, side)
            masks[name] = _cut_mask(mask, picture, crop, clips[name].shape[1])
            faces[name], groups[name], origin[name] = [inside], material.groups[key], material.origin[key]
    write_tensors(output / MASKS, masks)
    write_json(output / FACES, faces)
    write_json(output / PEOPLE, groups)
    write_tensors(output / CLIPS, clips)
    (output / ORIGINS).write_text(json.dumps(origin, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("material", type=Path, help="a folder of training.nano.prepare")
    parser.add_argument("output", type=Path)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--faces", action="store_true", help="a clip of every face instead of every whole clip")
    args = parser.parse_args()
    material = Material(args.material)
    args.output.mkdir(parents=True, exist_ok=True)
    if args.faces:
        shrink_faces(material, args.output, args.side)
        return
    clips = {key: shrunk(material.clip(key), args.side) for key in tqdm(material.keys, unit="clip")}
    write_tensors(args.output / CLIPS, clips)
    (args.output / ORIGINS).write_text(json.dumps(material.origin, indent=1))


if __name__ == "__main__":
    main()
