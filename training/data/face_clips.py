"""Training clips out of raw videos: whole shots cut to length, the face region of each person, what was left out.

As in VividFace the crop doesn't move: it is the square around the union of the person's face boxes over the clip.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vividface_core.analysis import Report, find_faces, find_shots
from vividface_core.errors import InvalidOption
from vividface_core.faces.crop import crop_clip, crop_points
from vividface_core.faces.detect import FaceDetector
from vividface_core.faces.track import FaceTrack
from vividface_core.video.info import VideoInfo
from vividface_core.video.reader import VideoReader, probe
from vividface_core.video.source import VideoFrames


@dataclass(frozen=True)
class ClipRules:
    """What becomes a clip.

    Attributes:
        frames: length of a clip, 4k + 1.
        size: side of the crop in pixels after resizing.
        margin: side of the square over the longer side of the united boxes.
        smallest: shortest face box side (pixels, median over the clip) that is kept.
        score: mean detector score that is kept.
        stride: frames between the beginnings of two clips; ``None``: they follow one another.
    """

    frames: int = 81
    size: int = 512
    margin: float = 1.5
    smallest: float = 64.0
    score: float = 0.9
    stride: int | None = None

    def __post_init__(self) -> None:
        if self.frames < 1 or self.frames % 4 != 1:
            raise InvalidOption(f"frames is {self.frames}; a clip has 4k + 1 frames: 5, 9, 13 … 81.")
        if self.size < 32 or self.size % 16:
            raise InvalidOption(f"size is {self.size}; it must be a multiple of 16, at least 32.")


@dataclass(frozen=True)
class FaceClip:
    """A place in a video that may become a clip.

    Attributes:
        key: unique and stable: video, first frame and track.
        first: absolute index of the first frame.
        track: the person's number in the shot.
        crop: centre x, centre y, side in pixels of the video.
        landmarks: ``[T, 5, 2]`` in pixels of the resized crop.
        dropped: why it is left out; empty: it is kept.
    """

    key: str
    video: Path
    first: int
    track: int
    crop: tuple[float, float, float]
    landmarks: np.ndarray
    dropped: str = ""


def united_square(
    boxes: np.ndarray, margin: float, width: float = math.inf, height: float = math.inf
) -> tuple[float, float, float]:
    """The square around all ``boxes [N, 4]``: centre x, centre y, side.

    It is moved into a picture of ``width`` × ``height`` as far as it fits: mirrored borders teach nothing.
    """
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    side = float((high - low).max() * margin)
    centre = [
        min(max(float(middle), side / 2), length - side / 2) if side <= length else float(middle)
        for middle, length in zip((low + high) / 2, (width, height))
    ]
    return *centre, side


def find_clips(video: Path, rules: ClipRules, detector: FaceDetector, report: Report) -> Iterator[FaceClip]:
    """Every candidate of a video, shot by shot and person by person, also those that the rules leave out."""
    info = probe(video)
    source = VideoFrames(video)
    for shot in find_shots(source, report):
        for track in find_faces(source, shot, detector, report):
            yield from _cut(info, track, rules)


def _cut(info: VideoInfo, track: FaceTrack, rules: ClipRules) -> Iterator[FaceClip]:
    length = track.last - track.first
    starts = range(0, length - rules.frames + 1, rules.stride or rules.frames) if length >= rules.frames else [0]
    for start in starts:
        part = slice(start, start + rules.frames)
        crop = united_square(track.boxes[part], rules.margin, *info.upright_size)
        points = track.landmarks[part]
        landmarks = crop_points(points, np.tile(crop, (len(points), 1)), rules.size)
        first = track.first + start
        key, fault = _key(info.path, first, track.id), _fault(track, part, rules)
        yield FaceClip(key, info.path, first, track.id, crop, landmarks, fault)


def _key(video: Path, first: int, track: int) -> str:
    mark = hashlib.sha256(str(video.resolve()).encode()).hexdigest()[:8]
    return f"{video.stem}-{mark}-{first:06d}-{track}"


def _fault(track: FaceTrack, part: slice, rules: ClipRules) -> str:
    boxes = track.boxes[part]
    if len(boxes) < rules.frames:
        return f"only {len(boxes)} frames"
    side = float(np.median((boxes[:, 2:] - boxes[:, :2]).min(axis=1)))
    if side < rules.smallest:
        return f"face of {side:.0f} pixels"
    seen = float(track.scores[part].mean())
    return f"score {seen:.2f}" if seen < rules.score else ""


def read_clip(clip: FaceClip, rules: ClipRules) -> Tensor:
    """The clip's frames ``[T, 3, size, size]``, RGB, 0…1."""
    with VideoReader(clip.video, start_frame=clip.first, end_frame=clip.first + rules.frames) as reader:
        return torch.stack([crop_clip(frame.rgb(), clip.crop, rules.size) for frame in reader])
