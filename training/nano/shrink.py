"""Material for networks that see small whole frames: ``python -m training.nano.shrink data/nano data/nano-small``.

Every clip is scaled once so that its short side is ``--side`` pixels. Cutting 32×32 pixels out of full-sized frames
takes many times as long as training on them. Faces and masks don't come along.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from training.data.random_clips import CLIPS, ORIGINS, Material
from vividface_core.io.tensors import write_tensors

FRAMES = 4
"""Frames that are scaled at a time."""


def shrunk(clip: Tensor, side: int) -> Tensor:
    """``[T, H, W, 3]`` uint8 with a short side of at most ``side``."""
    height, width = clip.shape[1:3]
    factor = side / min(height, width)
    if factor >= 1:
        return clip
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    parts = [F.interpolate(x.permute(0, 3, 1, 2).float(), size=size, mode="area") for x in clip.split(FRAMES)]
    return torch.cat(parts).round().byte().permute(0, 2, 3, 1).contiguous()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("material", type=Path, help="a folder of training.nano.prepare")
    parser.add_argument("output", type=Path)
    parser.add_argument("--side", type=int, default=64)
    args = parser.parse_args()
    material = Material(args.material)
    clips = {key: shrunk(material.clip(key), args.side) for key in tqdm(material.keys, unit="clip")}
    args.output.mkdir(parents=True, exist_ok=True)
    write_tensors(args.output / CLIPS, clips)
    (args.output / ORIGINS).write_text(json.dumps(material.origin, indent=1))


if __name__ == "__main__":
    main()
