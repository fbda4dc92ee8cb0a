"""Clips out of raw videos: whole shots cut to length, the face region of each person, what was left out.

As in VividFace the crop doesn't move: it is the square around the union of the person's face boxes over the clip.
"""

from __future__ import annotations

import hashlib
import math
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import InitVar, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor

from vividface_core.errors import InvalidOption, UnwritableVideo
from vividface_core.faces.crop import crop_clip, crop_points
from vividface_core.faces.detect import FaceDetector
from vividface_core.faces.track import FaceTrack
from vividface_core.pipeline.analysis import Report, find_faces, find_shots
from vividface_core.restorers.registry import System, default_system
from vividface_core.video.colorspace import from_rgb
from vividface_core.video.frame import Frame
from vividface_core.video.info import ColorInfo, VideoInfo
from vividface_core.video.pixel_formats import layout, with_planes
from vividface_core.video.presets import deterministic_x264_params
from vividface_core.video.reader import VideoReader, probe
from vividface_core.video.shots import Shot
from vividface_core.video.source import VideoFrames
from vividface_core.video.writer import flush_to_disk, set_color_tags, unwritable

ENCODING = 1
"""Of how clips are encoded; candidates of another one are cut anew."""
FORMAT = "yuv444p10le"
OPTIONS = {"crf": "8", "preset": "medium"}


@dataclass(frozen=True)
class ClipRules:
    """What becomes a clip.

    Attributes:
        frames: length of a clip, a native one of the system that is to be trained.
        size: side of the crop in pixels after resizing.
        margin: side of the square over the longer side of the united boxes.
        smallest: shortest face box side (pixels, median over the clip) that is kept.
        score: mean detector score that is kept.
        stride: frames between the beginnings of two clips; ``None``: they follow one another.
        system: whose native lengths and sizes are checked; ``None``: the default system's. Not kept.
    """

    frames: int = 81
    size: int = 512
    margin: float = 1.5
    smallest: float = 64.0
    score: float = 0.9
    stride: int | None = None
    system: InitVar[System | None] = None

    def __post_init__(self, system: System | None) -> None:
        system = system or default_system()
        if self.frames not in system.valid_lengths:
            raise InvalidOption(f"frames is {self.frames}; a clip of {system.id} has {system.valid_lengths}.")
        if self.size < 32 or self.size % system.size_multiple:
            raise InvalidOption(f"size is {self.size}; it must be a multiple of {system.size_multiple}, at least 32.")
        if not (math.isfinite(self.margin) and self.margin > 0):
            raise InvalidOption(f"margin is {self.margin}; it must be above 0, such as 1.5.")
        if self.stride is not None and self.stride < 1:
            raise InvalidOption(f"stride is {self.stride}; the next clip must begin 1 frame later or more.")


@dataclass(frozen=True)
class FaceClip:
    """A place in a video that may become a clip.

    Attributes:
        key: unique and stable: video, first frame and track.
        first: absolute index of the first frame.
        track: the person's number in the shot.
        crop: centre x, centre y, side in pixels of the video.
        landmarks: ``[T, 5, 2]`` in pixels of the resized crop.
        boxes: ``[T, 4]`` x0, y0, x1, y1 in pixels of the video.
        scores: ``[T]`` of the detector, 0 where the face wasn't found in a frame.
        dropped: why it is left out; empty: it is kept.
    """

    key: str
    video: Path
    first: int
    track: int
    crop: tuple[float, float, float]
    landmarks: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    dropped: str = ""

    @property
    def face_side(self) -> float:
        """Shorter side of the face's box in pixels of the video, median over the clip."""
        return float(np.median((self.boxes[:, 2:] - self.boxes[:, :2]).min(axis=1)))

    @property
    def score(self) -> float:
        """Mean score of the detector."""
        return float(self.scores.mean())


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
    return centre[0], centre[1], side


def find_clips(video: Path, rules: ClipRules, detector: FaceDetector, report: Report) -> Iterator[FaceClip]:
    """Every candidate of a video, shot by shot and person by person, also those that the rules leave out."""
    info = probe(video)
    source, name = VideoFrames(video), _name(info.path)
    for shot in find_shots(source, report):
        for track in find_faces(source, shot, detector, report):
            yield from cut_track(info, track, rules, name)


def whole_clips(video: Path, rules: ClipRules, detector: FaceDetector, report: Report) -> Iterator[FaceClip]:
    """Candidates out of a video that is one face's clip already, cut earlier: nothing is cropped a second time.

    Where the detector misses the face at either end, its place is that of the nearest frame.
    """
    source = VideoFrames(video)
    count = sum(1 for _ in source.read())
    width, height = source.size
    tracks = find_faces(source, Shot(0, count), detector, report)
    if not tracks:
        nothing = np.zeros((1, 5, 2)), np.zeros((1, 4)), np.zeros(1)
        yield FaceClip(
            f"{_name(video)}-000000-0",
            video,
            0,
            0,
            (width / 2, height / 2, max(width, height)),
            *nothing,
            dropped="no face",
        )
        return
    track = max(tracks, key=lambda track: len(track.boxes))
    ends = (track.first, count - track.last)
    filled: dict[str, Any] = {
        name: np.pad(values, [ends] + [(0, 0)] * (values.ndim - 1), mode="edge")
        for name in ("boxes", "landmarks", "scores", "crops")
        for values in [getattr(track, name)]
    }
    for clip in cut_track(source.file, replace(track, first=0, **filled), rules, _name(video)):
        crop = width / 2, height / 2, float(max(width, height))
        part = filled["landmarks"][clip.first : clip.first + len(clip.boxes)]
        yield replace(clip, crop=crop, landmarks=crop_points(part, np.tile(crop, (len(part), 1)), rules.size))


def cut_track(info: VideoInfo, track: FaceTrack, rules: ClipRules, name: str) -> Iterator[FaceClip]:
    """The candidates along one track; one that is too short is a candidate of its own length.

    Args:
        name: what the clips' keys begin with.
    """
    length = track.last - track.first
    starts = range(0, length - rules.frames + 1, rules.stride or rules.frames) if length >= rules.frames else [0]
    for start in starts:
        part = slice(start, start + rules.frames)
        crop = united_square(track.boxes[part], rules.margin, *info.upright_size)
        points = track.landmarks[part]
        landmarks = crop_points(points, np.tile(crop, (len(points), 1)), rules.size)
        first = track.first + start
        clip = FaceClip(
            f"{name}-{first:06d}-{track.id}",
            info.path,
            first,
            track.id,
            crop,
            landmarks,
            track.boxes[part],
            track.scores[part],
        )
        yield replace(clip, dropped=_fault(clip, rules))


def _name(video: Path) -> str:
    return f"{video.stem}-{hashlib.sha256(str(video.resolve()).encode()).hexdigest()[:8]}"


def _fault(clip: FaceClip, rules: ClipRules) -> str:
    if len(clip.boxes) < rules.frames:
        return f"only {len(clip.boxes)} frames"
    if clip.face_side < rules.smallest:
        return f"face of {clip.face_side:.0f} pixels"
    return f"score {clip.score:.2f}" if clip.score < rules.score else ""


def iter_clip(clip: FaceClip, rules: ClipRules) -> Iterator[tuple[Frame, Tensor]]:
    """The video's frames, each with its crop ``[3, size, size]``, RGB, 0…1."""
    with VideoReader(clip.video, start_frame=clip.first, end_frame=clip.first + rules.frames) as reader:
        for frame in reader:
            yield frame, crop_clip(frame.rgb(), clip.crop, rules.size)


def read_clip(clip: FaceClip, rules: ClipRules) -> Tensor:
    """The clip's frames ``[T, 3, size, size]``, RGB, 0…1."""
    return torch.stack([crop for _, crop in iter_clip(clip, rules)])


def write_clip(path: Path, frames: Tensor, times: Iterable[int], info: VideoInfo) -> None:
    """Write a file at once or not at all; the same frames give the same bytes, whatever the number of cores.

    Args:
        path: its folder is made.
        frames: ``[T, 3, S, S]`` RGB 0…1.
        times: of each in the source's time base, rising; the clip begins at 0.
        info: of the source: rate, time base and what its colours mean.

    Raises:
        UnwritableVideo: the encoder or the disk refuses.
    """
    partial = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _encode(partial, frames, list(times), info)
        flush_to_disk(partial)
        os.replace(partial, path)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise unwritable(path, error, f"{frames.shape[-1]}x{frames.shape[-2]}, H.264 4:4:4") from error
    finally:
        partial.unlink(missing_ok=True)


def _encode(path: Path, frames: Tensor, times: list[int], info: VideoInfo) -> None:
    color = replace(_color(info.color), siting="left")
    options = {"video_track_timescale": str(info.time_base.denominator)}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        try:
            stream = container.add_stream("libx264", rate=info.fps)
        except av.codec.codec.UnknownCodecError as error:
            raise UnwritableVideo(
                "This installation of PyAV has no encoder libx264; install the wheel from PyPI."
            ) from error
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = frames.shape[-1], frames.shape[-2], FORMAT
        context.time_base, context.framerate = info.time_base, info.fps
        context.thread_count = 1  # the number of threads changes the bytes
        context.options = {**OPTIONS, "x264-params": ":".join(deterministic_x264_params())}
        set_color_tags(context, color)
        for rgb, time in zip(frames, times):
            picture = av.VideoFrame(context.width, context.height, FORMAT)
            picture = with_planes(picture, FORMAT, from_rgb(rgb.cpu(), layout(FORMAT), color))
            picture.pts, picture.time_base = time - times[0], info.time_base
            set_color_tags(picture, color)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _color(source: ColorInfo) -> ColorInfo:
    """The samples are new, so matrix and range are ours; what red, green and blue mean stays the source's."""
    return ColorInfo("bt709", "tv", source.primaries or "bt709", source.transfer or "bt709", True, True)


def rate_text(fps: Fraction) -> str:
    """``30000/1001``; always with both parts."""
    return f"{fps.numerator}/{fps.denominator}"
