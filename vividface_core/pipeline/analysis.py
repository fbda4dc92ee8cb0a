"""The first look at a video: where its shots begin, and which faces move through each of them.

Only small numbers are kept (boxes, landmarks, crops), one record a shot, in the run's work folder. So the restoring
pass knows every track's whole path, and with it smooth crops and all windows, before it restores the first frame.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

from torch import Tensor

from vividface_core.errors import NoFaceFound
from vividface_core.faces.detect import FaceDetector
from vividface_core.faces.people import SAME_OVER_CUTS, Person, find_people
from vividface_core.faces.second_look import SecondLook
from vividface_core.faces.select import select
from vividface_core.faces.track import FaceTrack, Tracker
from vividface_core.pipeline.copies import PROBES, Copy, choose_copy, is_sure, turned_back
from vividface_core.runtime.allocator import trim_memory
from vividface_core.runtime.prefetch import prefetch
from vividface_core.video.frame import Frame, iter_chunks, stack_rgb
from vividface_core.video.shots import Shot, detect_shots
from vividface_core.video.source import FrameSource, VideoFrames

CHUNK_BYTES = 48 << 20
"""Decoded pixels that are looked at together."""
PREFETCH_FRAMES = 16
"""Frames that are read before they are looked at."""

Report = Callable[[str, int, int | None], None]
"""``report(stage, done, total)``; may raise to stop the run."""


def find_shots(source: FrameSource, report: Report) -> list[Shot]:
    """Cut the video at its shots; a video without a cut is one shot."""
    with closing(_counted(source, report)) as frames:
        return list(detect_shots(frames))


def one_shot(source: FrameSource, report: Report) -> list[Shot]:
    """All frames that decode, as one shot; none: an empty list."""
    with closing(_counted(source, report)) as frames:
        numbers = [frame.index for frame in frames]
    return [Shot(numbers[0], numbers[-1] + 1)] if numbers else []


def _counted(source: FrameSource, report: Report) -> Generator[Frame, None, None]:
    total = expected_frames(source)
    with closing(prefetch(source.read(), Frame.nbytes, max_items=PREFETCH_FRAMES)) as frames:
        for number, frame in enumerate(frames):
            report("shots", number + 1, total)
            yield frame


def expected_frames(source: FrameSource) -> int | None:
    """How many frames there are, or should be by length and rate where the file doesn't tell; ``None``: not known."""
    if source.count is not None or not isinstance(source, VideoFrames):
        return source.count
    file = source.file
    if file.duration is None or not file.fps:
        return None
    last = round(file.duration * file.fps)
    last = last if source.end is None else min(source.end, last)
    return max(1, -(-(last - source.first) // source.step))


def find_faces(
    source: FrameSource,
    shot: Shot,
    detector: FaceDetector,
    report: Report,
    *,
    total: int | None = None,
    notice: Callable[[str], None] | None = None,
) -> list[FaceTrack]:
    """Follow every face of one shot. Memory: one chunk of frames and the tracks' own numbers.

    Args:
        notice: where nothing is found, or nothing sure, turned and brightened copies are tried, and this is told what
            came of it; ``None``: upright faces in the pictures as they are, no others.
    """
    look = SecondLook()
    tracks = _follow(source, shot, detector, report, Tracker(look=look), Copy(), total)
    if notice is None or is_sure(tracks):
        return tracks
    copy = choose_copy(list(_probes(source, shot)), detector, look, found=bool(tracks))
    if copy == Copy():
        return tracks
    found = _follow(source, shot, detector, report, Tracker(look=look, strict=True), copy, total)
    if not found:
        return tracks
    notice(
        f"In frames {shot.start} to {shot.end - 1} faces were found in copies that are {copy}, not in the pictures "
        "as they are. They are taken where they are."
    )
    back = [turned_back(track, copy.turn, source.size) for track in found]
    back.sort(key=lambda track: float(track.boxes[0, [0, 2]].sum()))  # from the left, as the picture shows them
    return [replace(track, id=number) for number, track in enumerate(back)]


def _follow(
    source: FrameSource,
    shot: Shot,
    detector: FaceDetector,
    report: Report,
    tracker: Tracker,
    copy: Copy,
    total: int | None,
) -> list[FaceTrack]:
    width, height = source.size
    size = max(1, CHUNK_BYTES // (width * height * 12))
    with closing(prefetch(source.read(shot.start, shot.end), Frame.nbytes, max_items=PREFETCH_FRAMES)) as frames:
        for chunk in iter_chunks(frames, size):
            _look(chunk, detector, tracker, copy)
            report("faces", chunk[-1].index + 1, total)
            trim_memory()
    return tracker.finish()


def _probes(source: FrameSource, shot: Shot) -> Iterator[Tensor]:
    """Some frames ``[3, H, W]``, spread over a shot."""
    length = shot.end - shot.start
    places = {shot.start + length * (2 * number + 1) // (2 * PROBES) for number in range(PROBES)}
    for place in sorted(places):
        for frame in source.read(place, place + 1):
            yield frame.rgb()


def _look(chunk: list[Frame], detector: FaceDetector, tracker: Tracker, copy: Copy) -> None:
    pictures = copy.of(stack_rgb(chunk))
    for frame, rgb, detections in zip(chunk, pictures, detector.detect(pictures)):
        tracker.update(frame.index, detections, rgb)


def choose_faces(
    shots: Sequence[Sequence[FaceTrack]],
    faces: str,
    min_face: float,
    detector: FaceDetector | None,
    *,
    same_person: float = SAME_OVER_CUTS,
    named: Collection[int] = (),
) -> tuple[list[list[FaceTrack]], list[Person]]:
    """Of each shot's tracks those that the user wants restored, with the numbers of the film's people; and all people.

    Args:
        shots: all tracks that were found.
        faces, min_face, detector: see :func:`vividface_core.faces.select.select`.
        same_person: see :func:`vividface_core.faces.people.find_people`.
        named: numbers of people that the user speaks of.

    Raises:
        NoFaceFound: nobody in the film has one of these numbers.
    """
    numbered, people = find_people(shots, same_person)
    if named and max(named) > len(people):
        counts = {0: "nobody was", 1: "one person was"}.get(len(people), f"{len(people)} people were")
        raise NoFaceFound(
            f"There is no person {max(named)}: {counts} found. 'vividface faces', or the sheet of Face Mask, shows who "
            "has which number."
        )
    return [select(tracks, faces, min_size=min_face, detector=detector) for tracks in numbered], people
