"""The clips of ``nodes/assets``: two people, sharp and degraded, for a first run on an empty ComfyUI.

``python -m training.assets.make_example_clips`` writes both. It takes the picture of :data:`PREVIEWS`, two previews
of one scene with another person in each, side by side.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from training.assets.fetch import fetch
from vividface_core.degrade import Degradation

FOLDER = Path(__file__).parents[2] / "nodes" / "assets"
PACKAGE = "comfyui-workflow-templates-media-api"
PREVIEWS = ("api_happyhorse1_0_video_edit-1.webp", "api_happyhorse1_0_video_edit-2.webp")
BOX = (66, 0, 346, 240)
"""Of each preview: left, top, right, bottom."""
SIZE = (420, 360)
"""Of each half of the clip: one and a half times the box."""
FRAMES, STEP, FPS = 17, 2, 12
LOW_QUALITY = Degradation(sigma=2.0, scale=3.0, noise=5.0, crf=26, seed=8)


def read() -> Tensor:
    """Frames ``[T, 3, H, W]``, 0…1."""
    halves = []
    for name in PREVIEWS:
        with Image.open(next(fetch(PACKAGE).rglob(name))) as preview:
            taken = [
                np.asarray(frame.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS, box=BOX))
                for frame in islice(ImageSequence.Iterator(preview), 0, FRAMES * STEP, STEP)
            ]
        halves.append(np.stack(taken))
    return torch.from_numpy(np.concatenate(halves, axis=2)).permute(0, 3, 1, 2).float() / 255


def write(path: Path, frames: Tensor, crf: int) -> None:
    """H.264, without sound."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": str(crf), "preset": "veryslow"})
        stream.height, stream.width = frames.shape[2:]
        stream.pix_fmt = "yuv420p"
        for picture in (frames * 255).round().byte().permute(0, 2, 3, 1).numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")))
        container.mux(stream.encode())


def main() -> None:
    frames = read()
    FOLDER.mkdir(exist_ok=True)
    write(FOLDER / "vividface_example.mp4", LOW_QUALITY(frames), 24)
    write(FOLDER / "vividface_example_sharp.mp4", frames, 26)
    for path in sorted(FOLDER.glob("*.mp4")):
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
