"""The pre-filter's clips as files, untouched and with faults, and the faces that are found in them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.prefilter_faults import FAULTS, TWINS, Copy, Scene
from training.curation.clips import united_square
from training.curation.reference_clips import CLIPS, FRAMES, RealClip
from vividface_core.faces.crop import crop_clip, crop_points
from vividface_core.faces.detect import FaceDetector
from vividface_core.faces.track import FaceTrack
from vividface_core.io.atomic import write_json
from vividface_core.pipeline.analysis import find_faces
from vividface_core.video.reader import VideoReader, probe
from vividface_core.video.shots import Shot
from vividface_core.video.source import VideoFrames

SIZE, MARGIN = 512, 1.5
UNTOUCHED, LATER = "untouched", "8 frames later"


@dataclass(frozen=True)
class Sample:
    """One file: a clip, what was done to it, and the check that should drop it (empty: none should)."""

    clip: RealClip
    change: str
    check: str = ""

    @property
    def name(self) -> str:
        return f"{self.clip.name} {self.change}"

    @property
    def fault(self) -> str:
        """What is wrong with it; empty: nothing."""
        return self.change if self.change in FAULTS else self.check


def samples() -> list[Sample]:
    """Every clip untouched; those without a fault of their own also with faults, and copied.

    In the reported half every clip gets every second fault, in turn: that half has nearly twice as many clips.
    """
    found = []
    for number, clip in enumerate(CLIPS):
        found.append(Sample(clip, UNTOUCHED, *clip.faults))
        if clip.faults:
            continue
        for place, (name, (check, _)) in enumerate(FAULTS.items()):
            if clip.half == "tune" or (number + place) % 2:
                found.append(Sample(clip, name, check))
        found += [Sample(clip, name) for name in (*TWINS, LATER)]
    return found


def write(path: Path, frames: Tensor, crf: int | None) -> None:
    """A video file at 25 frames a second: H.264 of that quality; ``None``: without loss."""
    import av

    codec, form = ("ffv1", "bgr0") if crf is None else ("libx264", "yuv420p")
    height, width = (side - side % 2 for side in frames.shape[-2:])
    scratch = path.with_name(f".{path.name}")
    with av.open(str(scratch), "w", format="matroska") as container:
        stream = container.add_stream(codec, Fraction(25))
        stream.width, stream.height, stream.pix_fmt = width, height, form
        stream.options = {} if crf is None else {"crf": str(crf), "preset": "medium", "threads": "1"}
        for picture in (frames[..., :height, :width] * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    scratch.replace(path)


def face_at(path: Path, place: np.ndarray, detector: FaceDetector) -> FaceTrack | None:
    """The track through the whole clip whose boxes hold ``place`` most nearly; ``None``: there's none."""
    source = VideoFrames(path)
    tracks = find_faces(source, Shot(0, FRAMES), detector, lambda *_: None)
    away = {}
    for number, track in enumerate(tracks):
        middle = np.median((track.boxes[:, :2] + track.boxes[:, 2:]) / 2, axis=0)
        side = np.median((track.boxes[:, 2:] - track.boxes[:, :2]).min(1))
        away[number] = float(np.linalg.norm(middle - place)) / max(float(side), 1.0)
    near = min(away, key=away.get, default=None)
    return None if near is None or away[near] > 1.5 else tracks[near]


@dataclass(frozen=True)
class FaceRegion:
    """What the pre-filter gets of a clip."""

    frames: Tensor
    landmarks: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    crop: tuple[float, float, float]
    picture: tuple[int, int]


def face_region(path: Path, track: FaceTrack) -> FaceRegion:
    """Cut as ``vividface curate`` does it."""
    width, height = probe(path).upright_size
    crop = united_square(track.boxes, MARGIN, width, height)
    points = crop_points(track.landmarks, np.tile(crop, (len(track.landmarks), 1)), SIZE)
    with VideoReader(path, start_frame=track.first, end_frame=track.last) as reader:
        frames = torch.stack([crop_clip(frame.rgb(), crop, SIZE) for frame in reader])
    return FaceRegion(frames, points, track.boxes, track.scores, crop, (width, height))


def make(sample: Sample, untouched: Path, track: FaceTrack, path: Path) -> np.ndarray:
    """Write the sample's file out of the untouched one's; where its face's centre is."""
    with VideoReader(untouched) as reader:
        frames = torch.stack([frame.rgb() for frame in reader])
    crf, change = TWINS.get(sample.change) or (20, FAULTS[sample.change][1])
    copy: Copy = change(_scene(sample, frames, track))
    write(path, copy.frames, crf)
    return copy.centre


def _scene(sample: Sample, frames: Tensor, track: FaceTrack) -> Scene:
    rng = np.random.default_rng(zlib.crc32(sample.name.encode()))
    others = [clip for clip in CLIPS if clip.half == sample.clip.half and clip.file != sample.clip.file]
    thing = others[int(rng.integers(len(others)))].read()[0]
    places = np.clip(np.arange(len(frames)) - track.first, 0, len(track.boxes) - 1)
    return Scene(frames, track.boxes[places], track.landmarks[places], thing, rng)


def prepare(folder: Path, share: tuple[int, int], report: Callable[[int, int, str], None]) -> None:
    """Write every sample's file and note its face beside it; what is there already stays.

    Args:
        share: of the clips only each ``share[1]``-th, beginning with number ``share[0]``: for several processes.
    """
    from vividface_core.faces.detect import load_detector

    detector = load_detector("mtcnn")
    todo = [sample for sample in samples() if CLIPS.index(sample.clip) % share[1] == share[0]]
    for number, sample in enumerate(todo):
        report(number, len(todo), sample.name)
        if record_of(folder, sample).exists():
            continue
        path, untouched = (folder / f"{name}.mkv" for name in (sample.name, f"{sample.clip.name} {UNTOUCHED}"))
        if sample.change in (UNTOUCHED, LATER):
            clip = sample.clip if sample.change == UNTOUCHED else replace(sample.clip, first=sample.clip.first + 8)
            frames = clip.read()
            write(path, frames, None)
            centre = np.array(clip.place) * (frames.shape[-1], frames.shape[-2])
        else:
            first = read_track(folder, Sample(sample.clip, UNTOUCHED))
            if first is None:
                raise RuntimeError(f"No face is found in {untouched}; take this clip out of the list.")
            centre = make(sample, untouched, first, path)
        track = face_at(path, centre, detector)
        write_json(record_of(folder, sample), None if track is None else track.to_json())


def record_of(folder: Path, sample: Sample) -> Path:
    return folder / f"{sample.name}.json"


def read_track(folder: Path, sample: Sample) -> FaceTrack | None:
    stored = json.loads(record_of(folder, sample).read_text(encoding="utf-8"))
    return None if stored is None else FaceTrack.from_json(stored)
