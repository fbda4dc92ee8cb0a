"""A look before the whole is paid for: some faces and a passage of a video restored, and what the rest will take.

A few keyframes, found without decoding what lies between them, tell how many faces there are and how large they are.
The passage is restored by the run's own steps, which are timed; frames and faces of the whole then tell its time.
Nothing of it is kept for the run: its windows go by cuts and tracks that only the whole video tells.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vividface_core.errors import InvalidOption, UnreadableVideo
from vividface_core.faces.crop import crop_clip, square_crop
from vividface_core.faces.detect import FaceDetection, FaceDetector, load_detector
from vividface_core.faces.embed import FaceEmbedder, load_embedder
from vividface_core.faces.pose import nose_symmetry
from vividface_core.faces.select import select
from vividface_core.faces.track import MIN_SCORE, FaceTrack
from vividface_core.pipeline.analysis import expected_frames, find_faces
from vividface_core.pipeline.options import Given, Resources, RestoreOptions, Resuming
from vividface_core.pipeline.preview_time import Estimate, StageClock
from vividface_core.pipeline.restore import restore_frames, restore_video
from vividface_core.restorers.base import Restorer
from vividface_core.runtime.callbacks import Callbacks
from vividface_core.video.compare import side_by_side
from vividface_core.video.frame import stack_rgb
from vividface_core.video.presets import load_preset
from vividface_core.video.shots import Shot
from vividface_core.video.source import ClipFrames, VideoFrames

LOOKS = 24
"""Places of the video that are looked at."""
SECONDS, SLOWER = 1, 2
"""Length of the passage, and by how much longer its comparison plays."""
AROUND = 5
"""Frames that are restored around a face, at least: a restorer wants neighbours in time."""
SMALLEST, LARGEST, TURNED = "smallest face", "largest face", "most turned face"


@dataclass(frozen=True)
class Look:
    """One frame that was looked at.

    Attributes:
        second: of the file's own clock.
        faces: those that would be restored, as tracks of one frame.
    """

    second: Fraction
    faces: list[FaceTrack]


@dataclass(frozen=True)
class Sample:
    """A face, or a whole frame, before and after.

    Attributes:
        title: which one it is.
        second: where it is.
        size: of the face in pixels; ``None``: a whole frame.
        before, after: ``[3, H, W]``, 0…1, of one size.
    """

    title: str
    second: float
    size: float | None
    before: Tensor
    after: Tensor


@dataclass(frozen=True)
class Preview:
    """What was seen, and what the whole run will take."""

    samples: list[Sample]
    estimate: Estimate


def make_preview(
    source: VideoFrames,
    restorer: Restorer,
    options: RestoreOptions,
    comparison: Path,
    *,
    at: float | None = None,
    resources: Resources | None = None,
    callbacks: Callbacks | None = None,
    keep: Callable[[VideoFrames, Path], None] | None = None,
) -> Preview:
    """Restore a passage of a video and some of its faces.

    Args:
        source: a file or a folder, or a part of one, which the preview keeps to.
        comparison: H.264 file to write: the passage before and after, next to each other, at half the speed.
        at: second of the video at which the passage begins, from its beginning; ``None``: where a face of middle size
            is, and beside it the smallest, the largest and the most turned face that was seen are restored.
        keep: is handed the passage and its restoration, a file that is removed afterwards.

    Raises:
        InvalidOption: people are chosen by number, or ``at`` lies outside the video.
        VividFaceError: see :func:`vividface_core.pipeline.restore.restore_video`.
    """
    check_preview(source, options, at)
    callbacks, resources = callbacks or Callbacks(), resources or Resources()
    detector = resources.detector or load_detector(options.detector, device=restorer.device)
    resources = replace(resources, detector=detector, timing=False)
    frames = expected_frames(source)
    bounds = _bounds(source)
    looks = list(look_around(source, bounds[0], detector, options, callbacks))
    samples: list[Sample] = []
    if at is None and not options.whole_frame:
        made = (
            _sample(source, bounds[1], restorer, options, resources, title, *one) for title, one in pick(looks).items()
        )
        samples = [sample for sample in made if sample is not None]
    begin = _middle(looks) if at is None else _origin(source) + Fraction(at)
    passage = _passage(source, begin, max(AROUND, round(SECONDS * source.fps)), bounds[1])
    clock = StageClock(callbacks)
    with tempfile.TemporaryDirectory(prefix="vividface-preview-") as folder:
        suffixes = load_preset(options.preset).suffixes
        restored = Path(folder) / f"restored{next(iter(suffixes), '')}"
        restore_video(
            passage,
            restored,
            restorer,
            options,
            callbacks=clock,
            resources=resources,
            resuming=Resuming(keep_unfinished=False),
        )
        side_by_side(passage, restored, comparison, slower=SLOWER)
        if keep is not None:
            keep(passage, restored)
        if not samples:
            samples = list(_of_passage(passage, VideoFrames(restored), float(begin)))
    sizes = [[float(face.sizes[0]) for face in look.faces] for look in looks]
    return Preview(samples, clock.estimate(frames, sizes))


def check_preview(source: VideoFrames, options: RestoreOptions, at: float | None) -> None:
    """
    Raises:
        InvalidOption: people are chosen by number, or ``at`` lies outside the video.
    """
    if options.named_people:
        raise InvalidOption(
            "People are numbered over the whole video, of which a preview sees a part; take --faces all, largest or "
            "ref:PICTURE, and one strength."
        )
    length = None if source.file.duration is None else float(source.file.duration)
    if at is not None and (at < 0 or (length is not None and at >= length)):
        told = "" if length is None else f", whose length is {length:.1f}"
        raise InvalidOption(f"There is no second {at:g} in {source.name}{told}.")


def look_around(
    source: VideoFrames, begin: Fraction, detector: FaceDetector, options: RestoreOptions, callbacks: Callbacks
) -> Iterator[Look]:
    """Look at frames that are spread over a video: of each place the first keyframe before it, or the first frame.

    Places whose keyframe is one are looked at once.

    Args:
        begin: second of the first frame, of the file's own clock.
    """
    embedder = load_embedder() if options.faces.startswith("ref:") else None
    seen: set[Fraction] = set()
    seconds = _seconds(source, begin)
    for number, second in enumerate(seconds):
        callbacks.progress("looks", number + 1, len(seconds))
        found = source.keyframe(second)
        if found is None or found < begin:  # the frame before which a part begins may be far from its keyframe
            found = begin
        if found in seen:
            continue
        seen.add(found)
        try:
            frame = next(source.passage(found, 1).read(), None)
        except UnreadableVideo:  # damage there is told by the run
            continue
        if frame is None:
            continue
        rgb = frame.rgb()
        faces = [face for face in detector.detect(rgb[None])[0] if face.score >= MIN_SCORE]
        tracks = [_track(number, face, rgb, embedder) for number, face in enumerate(_from_left(faces))]
        yield Look(found, select(tracks, options.faces, min_size=options.min_face, detector=detector))


def _seconds(source: VideoFrames, begin: Fraction) -> list[Fraction]:
    frames, fps = expected_frames(source), source.file.fps
    if not frames:
        return [begin]
    count = min(LOOKS, frames)
    places = [frames * source.step * (2 * at + 1) // (2 * count) for at in range(count)]
    return [begin + place / fps for place in places]


def _bounds(source: VideoFrames) -> tuple[Fraction, Fraction | None]:
    """Seconds of the file's own clock at which a part's first frame is shown, and at which the part ends by its count
    and rate; ``None``: with the file."""
    begin = _origin(source)
    if source.first and source.file.kind != "video":
        begin = source.first / source.file.fps
    elif source.first and (frame := next(iter(source.read(0, 1)), None)) is not None:
        begin = frame.pts * source.file.time_base
    frames = expected_frames(source)
    ends = source.end is not None and frames is not None
    return begin, begin + frames * source.step / source.file.fps if ends and frames else None


def _passage(source: VideoFrames, begin: Fraction, frames: int, end: Fraction | None) -> VideoFrames:
    """Up to so many frames from a second on, none of them after the part's end."""
    if end is not None:
        frames = max(1, min(frames, round((end - begin) * source.fps)))
    return source.passage(begin, frames)


def _origin(source: VideoFrames) -> Fraction:
    return source.file.origin


def _from_left(faces: list[FaceDetection]) -> list[FaceDetection]:
    return sorted(faces, key=lambda face: float(face.box[0] + face.box[2]))


def _track(number: int, face: FaceDetection, rgb: Tensor, embedder: FaceEmbedder | None) -> FaceTrack:
    boxes, points = np.asarray(face.box, np.float32)[None], np.asarray(face.landmarks, np.float32)[None]
    crops = square_crop(boxes, points).astype(np.float32)
    looks = None if embedder is None else embedder.embed(rgb, points)[0]
    return FaceTrack(number, number, 0, boxes, points, np.array([face.score], np.float32), crops, looks)


def pick(looks: list[Look]) -> dict[str, tuple[Look, FaceTrack]]:
    """The smallest, the largest and the most turned face of some looks; one that is two of them is named once."""
    seen = [(look, face) for look in looks for face in look.faces]
    if not seen:
        return {}
    sizes = [float(face.sizes[0]) for _, face in seen]
    turned = [float(nose_symmetry(face.landmarks)[0]) for _, face in seen]
    places = {SMALLEST: int(np.argmin(sizes)), LARGEST: int(np.argmax(sizes)), TURNED: int(np.argmin(turned))}
    named: dict[int, list[str]] = {}
    for title, place in places.items():
        named.setdefault(place, []).append(title)
    return {", ".join(titles): seen[place] for place, titles in named.items()}


def _middle(looks: list[Look]) -> Fraction:
    """Where a face of middle size is; without any face the middle of the video."""
    seen = sorted((float(face.sizes[0]), look.second) for look in looks for face in look.faces)
    return seen[len(seen) // 2][1] if seen else looks[len(looks) // 2].second


def _sample(
    source: VideoFrames,
    end: Fraction | None,
    restorer: Restorer,
    options: RestoreOptions,
    resources: Resources,
    title: str,
    look: Look,
    face: FaceTrack,
) -> Sample | None:
    """The face restored with some frames after it; ``None`` where it isn't followed through them."""
    length = restorer.valid_lengths.at_least(AROUND)
    clip = stack_rgb(_passage(source, look.second, length, end).read())
    frames, shot = ClipFrames(clip), Shot(0, len(clip))
    assert resources.detector is not None
    tracks = [one for one in find_faces(frames, shot, resources.detector, lambda *_: None) if one.first == 0]
    if not tracks:
        return None
    middle = face.crops[0, :2]
    track = min(tracks, key=lambda one: float(np.linalg.norm(one.crops[0, :2] - middle)))
    options = replace(options, window=None, overlap=None, identity_guard="off")
    restored, _ = restore_frames(clip, restorer, options, given=Given([track]), resources=resources)
    side = options.size or restorer.native_size
    before, after = (
        torch.rot90(crop_clip(pictures[0], track.crops[0], side), track.turn, (-2, -1)) for pictures in (clip, restored)
    )
    return Sample(title, float(look.second - _origin(source)), float(face.sizes[0]), before, after)


def _of_passage(before: VideoFrames, after: VideoFrames, second: float) -> Iterator[Sample]:
    """First, middle and last frame of the passage."""
    count = sum(1 for _ in after.read())
    for title, at in {"begin": 0, "middle": count // 2, "end": count - 1}.items():
        pair = [next(iter(source.read(at, at + 1))).rgb() for source in (before, after)]
        yield Sample(title, second + at / float(before.fps), None, *pair)
