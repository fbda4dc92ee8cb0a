"""Faces that a detector misses in the pictures as they are: turned on their side or upside down, or in the dark.

Only where nothing was found, or nothing but what a detector is unsure of, a few frames of the shot are looked at in
turned and, if they are dark, brightened copies. What is found there has to pass a second look: detectors take some
faces that stand on their head for upright ones, with eyes and mouth in wrong places. The copies serve to find faces;
what is restored are the source's own pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vividface_core.faces.detect import FaceDetector
from vividface_core.faces.second_look import SecondLook
from vividface_core.faces.track import FaceTrack

PROBES = 5
"""Frames of a shot that are looked at."""
DARK = 0.15
"""Mean brightness below which a frame is looked at in a brighter copy."""
BRIGHT = 0.4
"""Mean brightness of that copy."""
SURE = 0.85
"""Least score of a face in a copy."""
UPRIGHT = 0.997
"""Mean score from which a track is of an upright face. Turned ones, if they are seen at all, have less."""
BETTER = 1.1
"""How much better a face has to be known in a copy than in the picture, where it was found too."""


@dataclass(frozen=True)
class Copy:
    """How a copy differs from the picture.

    Attributes:
        turn: quarter turns counter-clockwise.
        brightened: whether dark pictures are made brighter.
    """

    turn: int = 0
    brightened: bool = False

    def of(self, frames: Tensor) -> Tensor:
        """The copies of frames ``[T, 3, H, W]``, turned and brighter."""
        frames = torch.rot90(frames, self.turn, (-2, -1))
        return torch.stack([brighter(frame) for frame in frames]) if self.brightened else frames

    def __str__(self) -> str:
        turned = {0: "", 1: "turned by 90°", 2: "turned by 180°", 3: "turned by 90°"}[self.turn]
        return " and ".join(word for word in (turned, "brightened" if self.brightened else "") if word)


TURNS = (1, 3, 2)


def brighter(frame: Tensor) -> Tensor:
    """A dark frame ``[3, H, W]`` with its brightest pixels at 1 and its mean near :data:`BRIGHT`."""
    white = float(torch.quantile(frame.amax(0).flatten()[::7], 0.995))
    if white <= 0:
        return frame
    stretched = (frame / white).clamp(0, 1)
    mean = min(max(float(stretched.mean()), 1e-3), BRIGHT)
    return stretched ** (np.log(BRIGHT) / np.log(mean))


def choose_copy(frames: Sequence[Tensor], detector: FaceDetector, look: SecondLook, *, found: bool = False) -> Copy:
    """The copy in which faces are best known, by frames ``[3, H, W]``; the picture itself, ``Copy()``, if no copy is
    clearly better.

    Args:
        found: there are faces in the picture itself, if doubtful ones: then it isn't made brighter.
    """
    dark = not found and any(float(frame.mean()) < DARK for frame in frames)
    best, most = Copy(), BETTER * _known(Copy(), frames, detector, look)
    for copy in _copies(dark):
        known = _known(copy, frames, detector, look)
        if known > most:
            best, most = copy, known
    return best


def _copies(dark: bool) -> Iterator[Copy]:
    if dark:
        yield Copy(0, True)
    for turn in TURNS:
        yield Copy(turn, dark)


def _known(copy: Copy, frames: Sequence[Tensor], detector: FaceDetector, look: SecondLook) -> float:
    """Mean over frames of how well the best known face of each is known."""
    best = []
    for frame in frames:
        pictures = copy.of(frame[None])
        (faces,) = detector.detect(pictures)
        known = (look.strength(pictures[0], face.landmarks) for face in faces if face.score >= SURE)
        best.append(max(known, default=0.0))
    return sum(best) / max(1, len(best))


def is_sure(tracks: Sequence[FaceTrack]) -> bool:
    """Whether a face was found as the detector finds upright ones."""
    return any(float(track.scores[track.scores > 0].mean()) >= UPRIGHT for track in tracks)


def turned_back(track: FaceTrack, turn: int, size: tuple[int, int]) -> FaceTrack:
    """A track of turned copies in the pictures' own coordinates; ``turn`` notes which way its face is upright.

    Args:
        size: width and height of the pictures.
    """
    if turn % 4 == 0:
        return track
    corners = points_back(track.boxes.reshape(-1, 2, 2), turn, size)
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
    crops = np.concatenate([points_back(track.crops[:, :2], turn, size), track.crops[:, 2:]], 1)
    return replace(
        track,
        boxes=boxes.astype(np.float32),
        crops=crops.astype(np.float32),
        turn=turn % 4,
        landmarks=points_back(track.landmarks, turn, size).astype(np.float32),
    )


def points_back(points: np.ndarray, turn: int, size: tuple[int, int]) -> np.ndarray:
    """Points ``[…, 2]`` of pictures turned by ``turn`` quarters counter-clockwise, where they were before."""
    (width, height), (x, y) = size, np.moveaxis(np.asarray(points, np.float64), -1, 0)
    back = {0: (x, y), 1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[turn % 4]
    return np.stack(back, -1)
