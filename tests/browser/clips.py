"""Clips of real people for runs and pictures."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch

from tests.assets import clip, ffmpeg
from vividface_core.degrade import Degradation

HARD = Degradation(sigma=4.0, scale=4.0, noise=8.0, crf=25)
SPOILT = {
    "a_sharp": None,
    "b_soft": Degradation(sigma=1.5, scale=1.0, noise=0.0, crf=18),
    "c_noisy": Degradation(sigma=0.3, scale=1.0, noise=12.0, crf=18),
    "d_hard": HARD,
}
"""Videos for a judge: how one clip is spoilt, by name."""
HEIGHT = 400
"""Of the clips for pictures."""


@dataclass(frozen=True)
class Person:
    """A real clip from a frame on, and what part of its width is taken."""

    name: str
    first: int
    left: float = 0.0
    right: float = 1.0


WOMAN = Person("wolfgang", 370, 0.4375)
MAN, SHORT_HAIR, FRINGE = Person("single_face", 5, 0.17, 0.7325), Person("cap12", 100, 0.1, 0.9), Person("franck", 100)


def people(shown: Sequence[Person], height: int, frames: int) -> torch.Tensor:
    """Frames ``[T, 3, H, W]``, 0…1, of real clips side by side."""
    return torch.cat([_frames(person, height, frames) for person in shown], dim=3)


def _frames(person: Person, height: int, count: int) -> torch.Tensor:
    taken = []
    with av.open(str(clip(person.name))) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index < person.first:
                continue
            width = 2 * round(frame.width * height / frame.height / 2)
            left, right = (2 * round(width * share / 2) for share in (person.left, person.right))
            taken.append(frame.reformat(width, height, "rgb24", interpolation="LANCZOS").to_ndarray()[:, left:right])
            if len(taken) == count:
                break
    return torch.from_numpy(np.stack(taken)).permute(0, 3, 1, 2).float() / 255


def write_clip(path: Path, frames: torch.Tensor, fps: int = 24) -> Path:
    """H.264 at a high quality, with a real voice as AAC."""
    raw = (frames * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    height, width = raw.shape[1:3]
    command = [
        ffmpeg(),
        "-hide_banner",
        "-loglevel",
        "error",
        "-y",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        f"{width}x{height}",
        "-r",
        str(fps),
        "-i",
        "pipe:0",
        "-i",
        str(clip("single_face")),
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-t",
        f"{len(raw) / fps:.6f}",
        "-c:v",
        "libx264",
        "-crf",
        "10",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
        str(path),
    ]
    subprocess.run(command, input=raw.tobytes(), check=True)
    return path


def read_clip(path: Path) -> np.ndarray:
    """All frames of a file, ``[T, H, W, 3]``."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def write_spoilt(folder: Path, frames: torch.Tensor) -> list[Path]:
    """One clip for each of :data:`SPOILT`."""
    return [write_clip(folder / f"{name}.mp4", spoil(frames) if spoil else frames) for name, spoil in SPOILT.items()]
