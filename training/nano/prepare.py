"""Gather the training material of vividface-nano: short clips out of openly licensed previews.

``python -m training.nano.prepare data/nano`` fetches the packages whose role is ``train``, decodes every animated
preview into clips of 17 frames and every still into one frame, shrinks the short side to at most 320 pixels and
stores them as ``clips.safetensors`` (``<number>`` → uint8 ``[T, H, W, 3]``) with ``clips.json`` beside it, which
names each clip's origin. Pictures of scenes teach structure and deblurring; faces are found later, by the trainer.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageSequence
from safetensors.torch import save_file

from training.assets.packages import PACKAGES, fetch

CLIP_FRAMES = 17
SHORT_SIDE = 320
LONG_SIDE = 480
SUFFIXES = {".webp", ".gif", ".jpg", ".jpeg", ".png"}


def clips_of(path: Path, most: int = 2) -> Iterator[np.ndarray]:
    """Yield up to ``most`` clips ``[T, H, W, 3]`` of one preview, spread over its length."""
    with Image.open(path) as picture:
        count = getattr(picture, "n_frames", 1)
        if min(picture.size) < 160:
            return
        if count < CLIP_FRAMES:
            yield _rgb(picture)[None]
            return
        pieces = min(most, count // CLIP_FRAMES)
        starts = np.linspace(0, count - CLIP_FRAMES, pieces + 2)[1:-1].astype(int) if pieces else []
        frames = [_rgb(frame) for frame in ImageSequence.Iterator(picture)]
    for start in starts:
        yield np.stack(frames[start : start + CLIP_FRAMES])


def _rgb(picture: Image.Image) -> np.ndarray:
    picture = picture.convert("RGB")
    factor = min(1.0, max(SHORT_SIDE / min(picture.size), 1e-6))
    size = tuple(min(LONG_SIDE, round(side * factor)) for side in picture.size)
    left, top = ((round(full * factor) - side) // 2 for full, side in zip(picture.size, size))
    whole = tuple(round(side * factor) for side in picture.size)
    picture = picture.resize(whole, Image.LANCZOS) if whole != picture.size else picture
    return np.asarray(picture.crop((left, top, left + size[0], top + size[1])))


def training_files() -> Iterator[tuple[str, Path]]:
    """Every picture of every package that may be trained on, with the package's name."""
    for package in PACKAGES.values():
        if package.role == "train":
            for path in sorted(fetch(package.name).rglob("*")):
                if path.suffix.lower() in SUFFIXES and "logo" not in path.parts:
                    yield package.name, path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, torch.Tensor] = {}
    origin: dict[str, dict[str, str]] = {}
    for package, path in training_files():
        for clip in clips_of(path):
            key = f"{len(tensors):05d}"
            tensors[key] = torch.from_numpy(np.ascontiguousarray(clip))
            origin[key] = {"package": package, "file": path.name}
        print(f"\r{len(tensors)} clips", end="", flush=True)
    save_file(tensors, output / "clips.safetensors")
    (output / "clips.json").write_text(json.dumps(origin, indent=1))
    moving = sum(t.shape[0] > 1 for t in tensors.values())
    print(f"\n{moving} moving clips and {len(tensors) - moving} stills written to {output}")


if __name__ == "__main__":
    main()
