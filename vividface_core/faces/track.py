"""Follow faces through a shot: one path of boxes and crops a face, the same person recognised again.

Detections are joined by where a face should be now (constant velocity); vectors of the faces' looks decide only where
places can't: when two faces meet, and when a face that was lost may have come back. So most frames need no embedding.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from vividface_core.errors import MissingDependency
from vividface_core.faces.crop import smooth_crops, square_crop
from vividface_core.faces.detect import FaceDetection
from vividface_core.faces.second_look import SecondLook, confirmed

MAX_GAP = 12
"""Missing frames that are bridged; after more a returning face is a new track of the same person."""

SAME_PERSON = 0.3
"""Cosine similarity from which two tracks are one person's."""

STRANGER = 0.12
"""A lost track isn't continued by a face that looks less alike than this."""

CHANGED = 0.25
"""A followed face that looks less like itself than this, in ``DOUBTS`` looks on end, has become someone else (a
dissolve, or one person stepping in front of another)."""

DOUBTS = 3
EMBED_EVERY = 6
EMBED_FIRST = 3
LOST_AFTER = 2
MIN_DETECTIONS = 3
SHORT_SHOT = 5
SECOND_LOOKS = 3
"""Detections of a track that are looked at twice, its first ones."""
MIN_SCORE = 0.7


@dataclass
class FaceTrack:
    """One face's way through consecutive frames.

    Attributes:
        id: place in the shot's list, from 0.
        person: tracks of a shot that show the same person share it; in a film's tracks that were gathered into people
            (:mod:`vividface_core.faces.people`) it is the person's number, from 1.
        first: absolute index of the first frame.
        boxes: float32 ``[N, 4]`` x0, y0, x1, y1 in pixels, one a frame; bridged gaps are interpolated.
        landmarks: float32 ``[N, 5, 2]`` pixels.
        scores: float32 ``[N]``, 0 where interpolated.
        crops: float32 ``[N, 3]`` smooth square crops: centre x, centre y, side in pixels.
        embedding: float32 ``[512]`` unit vector of the person's looks, or ``None``.
        turn: quarter turns counter-clockwise that bring the face upright.
    """

    id: int
    person: int
    first: int
    boxes: np.ndarray
    landmarks: np.ndarray
    scores: np.ndarray
    crops: np.ndarray
    embedding: np.ndarray | None = None
    turn: int = 0

    @property
    def last(self) -> int:
        """Absolute index after the last frame."""
        return self.first + len(self.boxes)

    @property
    def sizes(self) -> np.ndarray:
        """Shorter side of each box in pixels, ``[N]``."""
        return (self.boxes[:, 2:] - self.boxes[:, :2]).min(axis=1)

    @classmethod
    def whole_frame(cls, start: int, stop: int) -> FaceTrack:
        """A track over frames ``start`` … ``stop`` that stands for no face: all its geometry is empty (zero)."""
        count = stop - start
        boxes, landmarks = np.zeros((count, 4), np.float32), np.zeros((count, 5, 2), np.float32)
        return cls(0, 0, start, boxes, landmarks, np.zeros(count, np.float32), np.zeros((count, 3), np.float32))

    def between(self, start: int, stop: int) -> FaceTrack | None:
        """The part of the track in frames ``start`` … ``stop`` − 1; ``None`` if it isn't there then."""
        first, last = max(start, self.first), min(stop, self.last)
        if first >= last:
            return None
        part = slice(first - self.first, last - self.first)
        arrays = {name: getattr(self, name)[part] for name in ("boxes", "landmarks", "scores", "crops")}
        return replace(self, first=first, **arrays)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists; :meth:`from_json` gives back the same float32 values."""
        return {
            "id": self.id,
            "person": self.person,
            "first": self.first,
            **{name: getattr(self, name).tolist() for name in ("boxes", "landmarks", "scores", "crops")},
            "embedding": None if self.embedding is None else self.embedding.tolist(),
            **({"turn": self.turn} if self.turn else {}),
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> FaceTrack:
        """Read what :meth:`to_json` made."""
        shapes = {"boxes": (-1, 4), "landmarks": (-1, 5, 2), "scores": (-1,), "crops": (-1, 3)}
        arrays = {name: np.array(stored[name], np.float32).reshape(shape) for name, shape in shapes.items()}
        embedding = stored["embedding"]
        return cls(
            stored["id"],
            stored["person"],
            stored["first"],
            embedding=None if embedding is None else np.array(embedding, np.float32),
            turn=stored.get("turn", 0),
            **arrays,
        )


@dataclass(eq=False)
class _Path:
    """A track that is still growing: its detections, and where it is heading."""

    frames: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    landmarks: list[np.ndarray] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    looks: np.ndarray | None = None
    embedded: int = 0
    embedded_at: int = -1
    doubtful: list[int] = field(default_factory=list)
    presences: list[float] = field(default_factory=list)

    def add(self, frame: int, detection: FaceDetection) -> None:
        box = np.asarray(detection.box, np.float32)
        if self.frames:
            step = (_centre(box) - _centre(self.boxes[-1])) / (frame - self.frames[-1])
            # The second detection sets the velocity, later ones steady it.
            self.velocity = step if len(self.frames) == 1 else 0.6 * self.velocity + 0.4 * step
        self.frames.append(frame)
        self.boxes.append(box)
        self.landmarks.append(np.asarray(detection.landmarks, np.float32))
        self.scores.append(float(detection.score))

    def predict(self, frame: int) -> np.ndarray:
        return self.boxes[-1] + np.tile(self.velocity * (frame - self.frames[-1]), 2)

    def learn(self, frame: int, vector: np.ndarray) -> None:
        self.looks = vector.copy() if self.looks is None else self.looks + vector
        self.embedded, self.embedded_at = self.embedded + 1, frame

    @property
    def embedding(self) -> np.ndarray | None:
        if self.looks is None:
            return None
        return (self.looks / max(np.linalg.norm(self.looks), 1e-9)).astype(np.float32)

    def wants_embedding(self, frame: int) -> bool:
        return bool(self.doubtful) or self.embedded < EMBED_FIRST or frame - self.embedded_at >= EMBED_EVERY

    def recognises(self, frame: int, vector: np.ndarray) -> bool:
        """Whether this is still the same face; learns from it if so. Frames in doubt are remembered."""
        alike = self.embedded < EMBED_FIRST or float(self.embedding @ vector) >= CHANGED
        if alike:
            self.doubtful.clear()
            self.learn(frame, vector)
        else:
            self.doubtful.append(frame)
        return alike

    def split(self) -> _Path:
        """Give the frames from the first doubtful one on to a new path."""
        at, other = self.frames.index(self.doubtful[0]), _Path()
        for frame, box, points, score in zip(self.frames[at:], self.boxes[at:], self.landmarks[at:], self.scores[at:]):
            other.add(frame, FaceDetection(box, points, score))
        for kept in (self.frames, self.boxes, self.landmarks, self.scores):
            del kept[at:]
        self.doubtful.clear()
        return other


class Tracker:
    """Joins the detections of one shot, frame by frame, into tracks.

    Holds a few numbers per face and frame, never a picture.

    Args:
        embedder: has ``embed(frame [3, H, W], landmarks [N, 5, 2]) -> [N, D]`` unit vectors; ``None``: the package's
            own, loaded when the first face is seen.
        look: says of a detection whether it is a face (see :class:`~vividface_core.faces.second_look.SecondLook`);
            asked where the track is too short to vote. ``None``: nobody is asked.
        strict: ask of every track, not of short ones alone.
    """

    def __init__(self, embedder: Any = None, look: SecondLook | None = None, *, strict: bool = False) -> None:
        self._embedder, self._look, self._strict = embedder, look, strict
        self._live: list[_Path] = []
        self._ended: list[_Path] = []
        self._span: tuple[int, int] | None = None

    def update(self, frame_index: int, detections: list[FaceDetection], rgb: Tensor | None = None) -> None:
        """Take in the next frame.

        Args:
            frame_index: absolute; must grow from call to call.
            detections: of this frame, in any order.
            rgb: the frame ``[3, H, W]`` in 0…1; without it faces are told apart by their places alone.
        """
        self._span = (self._span[0] if self._span else frame_index, frame_index)
        self._end_lost(frame_index)
        looks = _Looks(self, detections, rgb)
        near = _plausible(self._live, detections, frame_index)
        matches = self._match(near, detections, frame_index, looks)
        for row, column in matches:
            path = self._live[row]
            alone = near[row].sum() == 1 and near[:, column].sum() == 1
            path.add(frame_index, detections[column])
            self._look_again(path, rgb)
            # A face that is half behind another would spoil the memory of what its person looks like.
            if alone and path.wants_embedding(frame_index):
                self._check(path, frame_index, looks[column])
        self._begin(frame_index, detections, {column for _, column in matches}, looks)

    def finish(self) -> list[FaceTrack]:
        """The shot's tracks, sorted from left to right by where they first appear."""
        paths = self._ended + self._live
        length = self._span[1] - self._span[0] + 1 if self._span else 0
        kept = [path for path in paths if not _is_spurious(path, length) and self._is_confirmed(path)]
        persons = _recognise(kept)
        order = sorted(range(len(kept)), key=lambda at: (float(_centre(kept[at].boxes[0])[0]), kept[at].frames[0]))
        numbers: dict[int, int] = {}
        for at in order:
            numbers.setdefault(persons[at], len(numbers))
        return [_as_track(place, numbers[persons[at]], kept[at]) for place, at in enumerate(order)]

    def _look_again(self, path: _Path, rgb: Tensor | None) -> None:
        if self._look is not None and rgb is not None and len(path.frames) <= SECOND_LOOKS:
            path.presences.append(self._look.presence(rgb, path.landmarks[-1]))

    def _is_confirmed(self, path: _Path) -> bool:
        votes = len(path.frames) > SHORT_SHOT and not self._strict
        return votes or confirmed(path.presences)

    def _end_lost(self, frame: int) -> None:
        lost = [path for path in self._live if frame - path.frames[-1] > MAX_GAP + 1]
        self._ended += lost
        self._live = [path for path in self._live if frame - path.frames[-1] <= MAX_GAP + 1]

    def _match(
        self, near: np.ndarray, detections: list[FaceDetection], frame: int, looks: _Looks
    ) -> list[tuple[int, int]]:
        """Pairs (place among the live paths, place among the detections) of least total cost."""
        if not near.any():
            return []
        cost = np.full(near.shape, _FORBIDDEN)
        for row, column in np.argwhere(near):
            path, box = self._live[row], np.asarray(detections[column].box)
            away = frame - path.frames[-1]
            place = 0.5 * (1 - _iou(path.predict(frame), box)) + 0.5 * _distance(path.predict(frame), box)
            contested = near[row].sum() > 1 or near[:, column].sum() > 1
            alike = looks.similarity(path, column) if contested or away > LOST_AFTER else None
            if alike is None:
                cost[row, column] = place
            elif away <= LOST_AFTER or alike >= STRANGER:
                cost[row, column] = place + 1.5 * (1 - alike)
        allowed = cost < _FORBIDDEN
        if max(allowed.sum(0).max(), allowed.sum(1).max()) > 1:
            rows, columns = _assign(cost)
        else:  # nothing to choose between
            rows, columns = np.nonzero(allowed)
        return [(row, column) for row, column in zip(rows, columns) if allowed[row, column]]

    def _begin(self, frame: int, detections: list[FaceDetection], taken: set[int], looks: _Looks) -> None:
        followed = [np.asarray(detections[column].box) for column in taken]
        for column, detection in enumerate(detections):
            # A second box on a face that is followed already is the detector's echo, not a second face.
            if column in taken or any(_iou(np.asarray(detection.box), box) > 0.5 for box in followed):
                continue
            path = _Path()
            path.add(frame, detection)
            self._look_again(path, looks.rgb)
            vector = looks[column]
            if vector is not None:
                path.learn(frame, vector)
            self._live.append(path)
            followed.append(path.boxes[-1])

    def _check(self, path: _Path, frame: int, vector: np.ndarray | None) -> None:
        """Learn what the face looks like; end the path where it has become someone else's."""
        if vector is None or path.recognises(frame, vector) or len(path.doubtful) < DOUBTS:
            return
        other = path.split()
        other.learn(frame, vector)
        self._live[self._live.index(path)] = other
        self._ended.append(path)

    def embed(self, rgb: Tensor, landmarks: np.ndarray) -> np.ndarray:
        """The unit vector ``[D]`` of the one face with ``landmarks`` ``[5, 2]``."""
        if self._embedder is None:
            from vividface_core.faces.embed import load_embedder

            self._embedder = load_embedder()
        return np.asarray(self._embedder.embed(rgb, landmarks[None]), np.float32)[0]


class _Looks:
    """The embeddings of one frame's detections, made only when somebody asks."""

    def __init__(self, tracker: Tracker, detections: list[FaceDetection], rgb: Tensor | None) -> None:
        self._tracker, self._detections, self.rgb = tracker, detections, rgb
        self._vectors: dict[int, np.ndarray] = {}

    def __getitem__(self, column: int) -> np.ndarray | None:
        if self.rgb is None:
            return None
        if column not in self._vectors:
            landmarks = np.asarray(self._detections[column].landmarks, np.float32)
            self._vectors[column] = self._tracker.embed(self.rgb, landmarks)
        return self._vectors[column]

    def similarity(self, path: _Path, column: int) -> float | None:
        """Cosine between a path and a detection; ``None`` if the path's looks aren't known."""
        known = path.embedding
        if known is None or self.rgb is None:
            return None
        return float(known @ self[column])


_FORBIDDEN = 1e6


def _assign(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise MissingDependency(f"Following faces needs scipy ({error}); run `pip install scipy`.") from error
    return linear_sum_assignment(cost)


def _plausible(paths: list[_Path], detections: list[FaceDetection], frame: int) -> np.ndarray:
    """``[paths, detections]`` bool: could this be that face, by place and size alone?"""
    near = np.zeros((len(paths), len(detections)), bool)
    for row, path in enumerate(paths):
        predicted, away = path.predict(frame), frame - path.frames[-1]
        # The prediction gets worse the longer a face was out of sight.
        reach = min(0.7 + 0.08 * (away - 1), 1.3)
        for column, detection in enumerate(detections):
            box = np.asarray(detection.box)
            near[row, column] = _distance(predicted, box) <= reach and 0.5 <= _size(box) / _size(predicted) <= 2
    return near


def _is_spurious(path: _Path, shot_length: int) -> bool:
    few = len(path.frames) < MIN_DETECTIONS and shot_length > SHORT_SHOT
    return few or float(np.mean(path.scores)) < MIN_SCORE


def _recognise(paths: list[_Path]) -> list[int]:
    """One number per path, equal for the same person: each path joins the most alike person seen at other times."""
    persons: list[list[int]] = []
    for at in sorted(range(len(paths)), key=lambda number: paths[number].frames[0]):
        best, most = None, SAME_PERSON
        for person in persons:
            if any(_overlap(paths[at], paths[other]) for other in person):
                continue
            alike = max(_similarity(paths[at], paths[other]) for other in person)
            if alike >= most:
                best, most = person, alike
        if best is None:
            persons.append([at])
        else:
            best.append(at)
    return [next(number for number, person in enumerate(persons) if at in person) for at in range(len(paths))]


def _overlap(one: _Path, other: _Path) -> bool:
    return one.frames[0] <= other.frames[-1] and other.frames[0] <= one.frames[-1]


def _similarity(one: _Path, other: _Path) -> float:
    first, second = one.embedding, other.embedding
    if first is None or second is None:
        return -1.0
    return float(first @ second)


def _as_track(number: int, person: int, path: _Path) -> FaceTrack:
    known = np.array(path.frames)
    frames = np.arange(known[0], known[-1] + 1)

    def fill(values: list[np.ndarray]) -> np.ndarray:
        flat = np.stack(values).reshape(len(known), -1)
        full = np.stack([np.interp(frames, known, column) for column in flat.T], axis=1)
        return full.reshape(len(frames), *values[0].shape).astype(np.float32)

    boxes, landmarks = fill(path.boxes), fill(path.landmarks)
    scores = np.zeros(len(frames), np.float32)
    scores[known - known[0]] = path.scores
    crops = smooth_crops(square_crop(boxes, landmarks)).astype(np.float32)
    return FaceTrack(number, person, int(known[0]), boxes, landmarks, scores, crops, path.embedding)


def _centre(box: np.ndarray) -> np.ndarray:
    return (np.asarray(box[:2], np.float64) + box[2:]) / 2


def _size(box: np.ndarray) -> float:
    return float(np.sqrt(max((box[2] - box[0]) * (box[3] - box[1]), 1e-6)))


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """Between centres, in face sizes."""
    return float(np.linalg.norm(_centre(one) - _centre(other))) / (0.5 * (_size(one) + _size(other)))


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    width, height = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    if width <= 0 or height <= 0:
        return 0.0
    shared = float(width * height)
    return shared / (_size(one) ** 2 + _size(other) ** 2 - shared)
