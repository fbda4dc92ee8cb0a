"""Faces as ComfyUI's own nodes tell them: MediaPipe's ``FACE_LANDMARKS``, ``BOUNDING_BOX`` and a person's MASK."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from comfy_api.latest import io
from torch import Tensor

from vividface_core.errors import InvalidOption
from vividface_core.faces.detect import FaceDetection, FaceDetector
from vividface_core.faces.face_mesh import FaceMesher
from vividface_core.faces.people import Person
from vividface_core.faces.second_look import square_of
from vividface_core.faces.track import FaceTrack, Tracker
from vividface_core.pipeline.analysis import choose_faces, find_faces, find_shots
from vividface_core.pipeline.options import RestoreOptions
from vividface_core.runtime.callbacks import Callbacks
from vividface_core.video.shots import Shot
from vividface_core.video.source import FrameSource

from .face_topology import connection_sets

Landmarks, Boxes = io.Custom("FACE_LANDMARKS"), io.Custom("BOUNDING_BOX")

EYES = ((33, 133), (362, 263))
"""Corners of the eyes in the mesh, the one on the picture's left first."""
NOSE, MOUTH = (1,), ((61,), (291,))
INSIDE = 0.5
"""Part of its frames in which a face must lie where it is looked for."""


def face_inputs() -> list[io.Input]:
    """Optional inputs for faces from elsewhere; appended, as older prompts lack them."""
    return [
        Landmarks.Input(
            "landmarks",
            optional=True,
            tooltip="Faces of the core's Detect Face Landmarks (MediaPipe): these are followed, others not looked for.",
        ),
        Boxes.Input(
            "boxes",
            optional=True,
            tooltip="Only faces whose middle lies in one of these boxes, of any of the core's detectors.",
            # The page would give it a widget whose box is always there.
            extra_dict={"forceInput": True},
        ),
        io.Mask.Input(
            "person",
            optional=True,
            tooltip="Only faces inside this mask, as SAM3 makes it of one person: one mask, or one a frame.",
        ),
    ]


def people_input() -> io.Input:
    """Which people, by number; appended, as older prompts lack it."""
    return io.String.Input(
        "people",
        default="",
        optional=True,
        tooltip="Only people with these numbers, over all cuts, as Face Mask's sheet shows them: 1,2. Empty: as "
        "'faces' says.",
    )


@dataclass(frozen=True)
class ToldFaces:
    """What other nodes tell of the faces; each may be ``None``.

    Attributes:
        landmarks: ``{"frames": [[{"landmarks_xy": [478, 2], "bbox_xyxy": [4], "score": …}]], "image_size": (H, W)}``.
        boxes: ``{"x", "y", "width", "height"}``, a list of them, or a list a frame.
        person: MASK ``[1 or T, H, W]``.
    """

    landmarks: dict[str, Any] | None = None
    boxes: Any = None
    person: Tensor | None = None

    def __bool__(self) -> bool:
        return any(told is not None for told in (self.landmarks, self.boxes, self.person))


@dataclass(frozen=True)
class FoundFaces:
    """The faces of a video.

    Attributes:
        tracks: of all shots, those that are wanted.
        people: all that there are, wanted or not.
    """

    tracks: list[FaceTrack]
    people: list[Person]
    shots: list[Shot]

    @property
    def frames(self) -> int:
        """Number of frames of the video."""
        return self.shots[-1].end


def find_tracks(
    frames: FrameSource,
    told: ToldFaces,
    detector: FaceDetector,
    options: RestoreOptions,
    callbacks: Callbacks,
) -> FoundFaces:
    """Look for the faces of all shots, and choose.

    Args:
        options: which of them; places and people are counted among those that ``told`` leaves.

    Raises:
        InvalidOption: what is told belongs to other frames.
        NoFaceFound: nobody has a number that is asked for.
    """
    shots = find_shots(frames, callbacks.progress)
    total = shots[-1].end
    where = _Where(told, total, frames.size)
    found: list[list[FaceTrack]] = []
    for shot in shots:
        if told.landmarks is None:
            seen = find_faces(frames, shot, detector, callbacks.progress, total=total, notice=callbacks.notice)
        else:
            seen = _followed(told.landmarks, shot, total, frames.size)
        found.append([track for track in seen if where.holds(track)])
    chosen, people = choose_faces(
        found,
        options.faces,
        options.min_face,
        detector,
        same_person=options.same_person,
        named=options.named_people,
    )
    return FoundFaces([track for tracks in chosen for track in tracks], people, shots)


def _followed(landmarks: dict[str, Any], shot: Shot, total: int, size: tuple[int, int]) -> list[FaceTrack]:
    height, width = landmarks["image_size"]
    if (width, height) != size or len(landmarks["frames"]) != total:
        raise InvalidOption(
            f"'landmarks' are of {len(landmarks['frames'])} frames of {width}×{height}, these are {total} of "
            f"{size[0]}×{size[1]}: take the same video."
        )
    tracker = Tracker()
    for index in range(shot.start, shot.end):
        tracker.update(index, [_detection(face) for face in landmarks["frames"][index]])
    return tracker.finish()


def _detection(face: dict[str, Any]) -> FaceDetection:
    mesh = np.asarray(face["landmarks_xy"], np.float32)[:, :2]
    points = np.stack([mesh[list(group)].mean(0) for group in (*EYES, NOSE, *MOUTH)])
    return FaceDetection(np.asarray(face["bbox_xyxy"], np.float32), points, float(face.get("score", 1.0)))


class _Where:
    """Boxes and mask in which faces are wanted."""

    def __init__(self, told: ToldFaces, total: int, size: tuple[int, int]) -> None:
        self._boxes = None if told.boxes is None else _by_frame(told.boxes, total)
        self._mask, self._size = None, size
        if told.person is not None:
            self._mask = told.person.reshape(-1, *told.person.shape[-2:])
            if len(self._mask) not in (1, total):
                raise InvalidOption(
                    f"'person' holds {len(self._mask)} masks for {total} frames; give one, or one each."
                )

    def holds(self, track: FaceTrack) -> bool:
        """Whether the middle of the face is inside, in most of its frames."""
        middles = track.landmarks.mean(1)
        inside = [self._inside(index, middle) for index, middle in enumerate(middles, track.first)]
        return float(np.mean(inside)) >= INSIDE

    def _inside(self, index: int, middle: np.ndarray) -> bool:
        x, y = (float(value) for value in middle)
        if self._boxes is not None and not any(
            box["x"] <= x <= box["x"] + box["width"] and box["y"] <= y <= box["y"] + box["height"]
            for box in self._boxes[index]
        ):
            return False
        if self._mask is None:
            return True
        mask = self._mask[0 if len(self._mask) == 1 else index]
        height, width = mask.shape
        column, row = int(x * width / self._size[0]), int(y * height / self._size[1])
        return 0 <= column < width and 0 <= row < height and float(mask[row, column]) > 0.5


def _by_frame(boxes: Any, total: int) -> list[list[dict[str, float]]]:
    if isinstance(boxes, dict):
        boxes = [boxes]
    if not boxes or isinstance(boxes[0], dict):
        return [list(boxes)] * total
    if len(boxes) != total:
        raise InvalidOption(f"'boxes' are of {len(boxes)} frames, these are {total}: take the same video.")
    return [[box] if isinstance(box, dict) else list(box) for box in boxes]


def boxes_of(tracks: Sequence[FaceTrack], total: int) -> list[list[dict[str, Any]]]:
    """BOUNDING_BOX: a list a frame, as the core's detectors give it."""
    frames: list[list[dict[str, Any]]] = [[] for _ in range(total)]
    for track in tracks:
        for index, (box, score) in enumerate(zip(track.boxes, track.scores), track.first):
            left, top, right, bottom = (float(value) for value in box)
            place = {"x": left, "y": top, "width": right - left, "height": bottom - top}
            frames[index].append({**place, "label": "face", "score": float(score)})
    return frames


class LandmarksMaker:
    """FACE_LANDMARKS out of tracks, frame by frame, with the mesh's network."""

    def __init__(self, mesher: FaceMesher, tracks: Sequence[FaceTrack], size: tuple[int, int]) -> None:
        self._mesher, self._tracks, self._size = mesher, tracks, size
        self._frames: list[list[dict[str, Any]]] = []

    def add(self, index: int, rgb: Tensor) -> None:
        """The next frame ``[3, H, W]``."""
        faces = []
        for track in self._tracks:
            if track.first <= index < track.last:
                at = index - track.first
                faces.append(self._face(rgb, track.landmarks[at], float(track.scores[at])))
        self._frames.append(faces)

    def _face(self, rgb: Tensor, landmarks: np.ndarray, score: float) -> dict[str, Any]:
        assert self._mesher is not None  # prepared with it
        points, presence = self._mesher.in_squares(rgb[None], square_of(landmarks)[None])
        flat = points[0, :, :2]
        return {
            "bbox_xyxy": np.concatenate([flat.min(0), flat.max(0)]),
            "landmarks_xy": flat,
            "landmarks_3d": points[0],
            "presence": float(presence[0]),
            "score": score,
            "blendshapes": {},
        }

    def result(self) -> dict[str, Any]:
        """As ComfyUI's MediaPipe nodes take it."""
        width, height = self._size
        return {"frames": self._frames, "image_size": (height, width), "connection_sets": connection_sets()}
