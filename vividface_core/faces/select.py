"""Which of the faces in a shot are restored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from vividface_core.errors import InvalidOption, NoFaceFound, UnreadableVideo
from vividface_core.faces.detect import FaceDetection, FaceDetector
from vividface_core.faces.embed import FaceEmbedder
from vividface_core.faces.track import FaceTrack
from vividface_core.video.frame import Frame
from vividface_core.video.images import decode_image

SAME_PERSON = 0.28
"""Cosine similarity from which a track shows the person of the reference picture. A little below the tracker's own
threshold: the picture comes from elsewhere."""

CHOICES = "all, largest, person:1,2 (numbers of 'vividface faces'), index:0,2 (counted from the left) or ref:PICTURE"


def check_spec(spec: str) -> None:
    """Refuse a face choice that no video could satisfy.

    Raises:
        InvalidOption: names the choice and what is possible; also when the reference picture is missing.
    """
    kind, _, value = spec.partition(":")
    if spec in ("all", "largest"):
        return
    if kind == "index":
        _numbers(spec, value, 0)
    elif kind == "person":
        _numbers(spec, value, 1)
    elif kind == "ref" and value:
        if not Path(value).is_file():
            raise InvalidOption(f"The reference picture {value} of faces={spec!r} doesn't exist; check its path.")
    else:
        raise InvalidOption(f"faces is {spec!r}; choose {CHOICES}.")


def _numbers(spec: str, value: str, least: int) -> set[int]:
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) >= least for part in parts):
        raise InvalidOption(f"faces is {spec!r}, which isn't a list of numbers from {least}; choose {CHOICES}.")
    return {int(part) for part in parts}


def people_of(spec: str) -> set[int]:
    """The numbers of a choice ``person:…``; of any other choice none.

    Raises:
        InvalidOption: they are no numbers.
    """
    kind, _, value = spec.partition(":")
    return _numbers(spec, value, 1) if kind == "person" else set()


def select(
    tracks: list[FaceTrack],
    spec: str,
    *,
    min_size: float = 0.0,
    detector: FaceDetector | None = None,
    embedder: FaceEmbedder | None = None,
) -> list[FaceTrack]:
    """The tracks of one shot that shall be restored, in the given order.

    Args:
        tracks: of one shot, as :meth:`vividface_core.faces.track.Tracker.finish` sorts them.
        spec: ``all``; ``largest``: the person of the track with the largest face, with all tracks of that person;
            ``index:0,2``: positions in ``tracks`` (those that a shot doesn't have are passed over); ``person:1,2``:
            people by the numbers that :func:`vividface_core.faces.people.find_people` gave to the tracks;
            ``ref:PICTURE``: those who look like the largest face of a picture.
        min_size: tracks whose median shorter box side (pixels) is below are left out.
        detector, embedder: for ``ref:``; loaded when they are needed and not given.

    Raises:
        InvalidOption: ``spec`` is unknown or its file missing or no picture; also when there are no tracks.
        NoFaceFound: the reference picture shows no face.
    """
    check_spec(spec)
    kind, _, value = spec.partition(":")
    if not tracks:
        return []
    if kind == "largest":
        person = max(tracks, key=_median_size).person
        tracks = [track for track in tracks if track.person == person]
    elif kind == "index":
        wanted = _numbers(spec, value, 0)
        tracks = [track for place, track in enumerate(tracks) if place in wanted]
    elif kind == "person":
        wanted = people_of(spec)
        tracks = [track for track in tracks if track.person in wanted]
    elif kind == "ref":
        looks = _embed_reference(Path(value), detector, embedder)
        tracks = [track for track in tracks if _similarity(track, looks) >= SAME_PERSON]
    return [track for track in tracks if _median_size(track) >= min_size]


def check_reference(path: Path, detector: FaceDetector) -> None:
    """Find out before the work whether a reference picture can serve.

    Raises:
        InvalidOption: it is no picture.
        NoFaceFound: it shows no face.
    """
    _largest_face(path, read_picture(path), detector)


def _median_size(track: FaceTrack) -> float:
    return float(np.median(track.sizes))


def _similarity(track: FaceTrack, wanted: np.ndarray) -> float:
    return -1.0 if track.embedding is None else float(track.embedding @ wanted)


def _embed_reference(path: Path, detector: FaceDetector | None, embedder: FaceEmbedder | None) -> np.ndarray:
    if detector is None:
        from vividface_core.faces.detect import load_detector

        detector = load_detector()
    if embedder is None:
        from vividface_core.faces.embed import load_embedder

        embedder = load_embedder()
    picture = read_picture(path)
    largest = _largest_face(path, picture, detector)
    return np.asarray(embedder.embed(picture, np.asarray(largest.landmarks, np.float32)[None]))[0]


def _largest_face(path: Path, picture: Tensor, detector: FaceDetector) -> FaceDetection:
    faces = detector.detect(picture[None])[0]
    if not faces:
        raise NoFaceFound(f"The reference picture {path} shows no face that can be found; choose a clearer one.")
    boxes = np.stack([np.asarray(face.box) for face in faces])
    return faces[int(np.argmax((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)))]


def read_picture(path: Path) -> Tensor:
    """A picture file as ``[3, H, W]`` in 0…1, turned upright as its own orientation tag says.

    Raises:
        InvalidOption: the file is no picture.
    """
    try:
        decoded = decode_image(path)
    except UnreadableVideo as error:
        raise InvalidOption(f"The reference {path} isn't a readable picture ({error}); give a JPEG or PNG.") from error
    return Frame(0, 0, 0, decoded.native, decoded.color, decoded.rotation, decoded.mirrored).rgb().contiguous()
