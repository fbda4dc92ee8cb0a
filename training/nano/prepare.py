"""Gather the training material of vividface-nano: short clips out of openly licensed previews and portraits.

``python -m training.nano.prepare data/nano`` fetches the packages whose role is ``train``, decodes every animated
preview into clips of 17 frames and every still into one frame, shrinks what is larger than 512 pixels on its short
side, cuts the long side to at most 768, and leaves out what was there before: editions of one package share pictures.
``clips.safetensors`` holds the clips (``<number>`` → uint8 ``[T, H, W, 3]``), ``clips.json`` each one's origin.
Pictures of scenes teach structure and deblurring; faces are found by :mod:`training.nano.find_faces`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageSequence
from safetensors.torch import save_file
from tqdm import tqdm

from training.assets.fetch import fetch
from training.assets.packages import PACKAGES

CLIP_FRAMES = 17
SHORT_SIDE = 512
LONG_SIDE = 768
SMALLEST = 160
SUFFIXES = {".webp", ".gif", ".jpg", ".jpeg", ".png"}
GRAPHICS = {"logo", "favicon", "illustrations", "pages", "curved-images"}
"""Folders of the packages that hold no photographs."""
LOOK = 16
"""Side of the small grey picture that a duplicate is told by."""
SAME = 2.0
"""Mean difference of two such pictures, of 255, below which one is left out."""


def clips_of(path: Path, most: int = 2) -> list[np.ndarray]:
    """Up to ``most`` clips ``[T, H, W, 3]`` of one preview, spread over its length."""
    with Image.open(path) as picture:
        count = getattr(picture, "n_frames", 1)
        if min(picture.size) < SMALLEST:
            return []
        if count < CLIP_FRAMES:
            return [_rgb(picture)[None]]
        pieces = min(most, count // CLIP_FRAMES)
        starts = np.linspace(0, count - CLIP_FRAMES, pieces + 2)[1:-1].astype(int)
        wanted = {frame for start in starts for frame in range(start, start + CLIP_FRAMES)}
        frames = {n: _rgb(frame) for n, frame in enumerate(ImageSequence.Iterator(picture)) if n in wanted}
    return [np.stack([frames[start + n] for n in range(CLIP_FRAMES)]) for start in starts]


def _rgb(picture: Image.Image) -> np.ndarray:
    picture = picture.convert("RGB")
    factor = min(1.0, SHORT_SIDE / min(picture.size))
    width, height = (round(side * factor) for side in picture.size)
    whole = (width, height)
    picture = picture.resize(whole, Image.Resampling.LANCZOS) if whole != picture.size else picture
    size = tuple(min(LONG_SIDE, side) for side in whole)
    left, top = ((full - side) // 2 for full, side in zip(whole, size))
    return np.asarray(picture.crop((left, top, left + size[0], top + size[1])))


def look_of(clip: np.ndarray) -> np.ndarray:
    """What a clip is recognised by: its first and last frame, small and grey, ``[2, 16, 16]``."""
    ends = (Image.fromarray(clip[place]).convert("L").resize((LOOK, LOOK), Image.Resampling.BOX) for place in (0, -1))
    return np.stack([np.asarray(end, np.float32) for end in ends])


class Seen:
    """The looks of the clips that were kept."""

    def __init__(self) -> None:
        self._looks: dict[bool, list[np.ndarray]] = {True: [], False: []}

    def add(self, clip: np.ndarray) -> bool:
        """Whether ``clip`` is new; stills and moving clips are not compared with each other."""
        look, known = look_of(clip), self._looks[len(clip) > 1]
        if known and np.abs(np.stack(known) - look).mean((1, 2, 3)).min() < SAME:
            return False
        known.append(look)
        return True


def training_files() -> Iterator[tuple[str, Path]]:
    """Every photograph or preview of every package that may be trained on, with the package's key."""
    for key, package in PACKAGES.items():
        if package.role == "train":
            folder = fetch(key)
            for path in sorted(folder.rglob("*")):
                graphic = GRAPHICS & set(path.relative_to(folder).parts) or path.stem.startswith("mockup")
                if path.suffix.lower() in SUFFIXES and not graphic:
                    yield key, path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--workers", type=int, default=1, help="processes that decode")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    files = list(training_files())
    tensors: dict[str, torch.Tensor] = {}
    origin: dict[str, dict[str, str]] = {}
    seen, repeated = Seen(), 0
    with get_context("spawn").Pool(args.workers) as pool:
        decoded = pool.imap(clips_of, [path for _, path in files])
        for (package, path), clips in zip(files, tqdm(decoded, total=len(files), unit="file")):
            for clip in clips:
                if not seen.add(clip):
                    repeated += 1
                    continue
                key = f"{len(tensors):05d}"
                tensors[key] = torch.from_numpy(np.ascontiguousarray(clip))
                origin[key] = {"package": package, "file": path.name}
    save_file(tensors, args.output / "clips.safetensors")
    (args.output / "clips.json").write_text(json.dumps(origin, indent=1))
    moving = sum(t.shape[0] > 1 for t in tensors.values())
    print(
        f"{moving} moving clips and {len(tensors) - moving} stills written to {args.output}; "
        f"{repeated} repetitions left out"
    )


if __name__ == "__main__":
    main()
