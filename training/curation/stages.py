"""The work on one video, one candidate, one clip: what an engine hands to its workers.

Each finds its earlier records in the store first and writes a new one before it returns. A fault of a video or a clip
is a result; what every other one would fail of too is raised.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.curation import clip_stats, duplicates
from training.curation.clips import ENCODING, ClipRules, FaceClip, cut_track, iter_clip, rate_text, write_clip
from training.curation.dataset import candidate_path
from training.curation.record_store import RecordStore, content_at, digest_of
from training.curation.review.previews import save_preview
from vividface_core.errors import (
    Interrupted,
    MissingDependency,
    MissingWeights,
    UnreadableVideo,
    UnwritableVideo,
    VividFaceError,
)
from vividface_core.faces.detect import load_detector
from vividface_core.pipeline.analysis import find_faces, find_shots
from vividface_core.runtime.allocator import trim_memory
from vividface_core.runtime.devices import pick_device
from vividface_core.runtime.engines.base import Item, Result, Worker
from vividface_core.video.decoding import seek_table
from vividface_core.video.info import VideoInfo
from vividface_core.video.reader import VideoReader, probe
from vividface_core.video.shots import Shot
from vividface_core.video.source import VideoFrames

VERSION = 1
"""Of how candidates are cut."""
HOPELESS = (Interrupted, MissingDependency, MissingWeights, UnwritableVideo)
"""Errors that every other item would meet too."""


@dataclass(frozen=True)
class Recipe:
    """What decides candidates and their figures, and where they are found and put.

    Attributes:
        videos, work: folders.
        rules: ``smallest`` and ``score`` must be 0: what is too small or doubtful is decided later.
        detector: ``mtcnn`` or ``retinaface``.
        device: of all networks.
    """

    videos: Path
    work: Path
    rules: ClipRules
    detector: str
    device: str = "cpu"

    @property
    def mark(self) -> str:
        """Digest of what decides which candidates there are and what their files hold."""
        rules = {name: value for name, value in asdict(self.rules).items() if name not in ("smallest", "score")}
        return digest_of([VERSION, ENCODING, rules, self.detector])

    @property
    def shots_stage(self) -> str:
        return f"shots-{self.mark}"

    @property
    def cut_stage(self) -> str:
        return f"cut-{self.mark}"

    @property
    def figures_stage(self) -> str:
        names = [field.name for field in fields(clip_stats.ClipStats)]
        return f"figures-{digest_of([self.mark, clip_stats.VERSION, duplicates.VERSION, names])}"

    @property
    def store(self) -> RecordStore:
        return RecordStore(self.work)

    def video_id(self, video: str, content: str | None) -> str:
        """What the keys of a video's clips begin with: its name, and a digest of its place, its content and the
        recipe. So the same key is always the same clip."""
        stem = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in Path(video).stem)[:60]
        return f"{stem}-{digest_of([video, content, self.mark])}"


@dataclass(frozen=True)
class Cutting:
    """Finds the candidates of a video. Item: ``{"video"}``, relative to the recipe's folder.

    Result: ``{"content", "id", "record"}``, or ``{"content", "error"}``.
    """

    recipe: Recipe

    def __call__(self) -> Worker:
        recipe = self.recipe
        detector = load_detector(recipe.detector, pick_device(recipe.device))
        store = recipe.store

        def work(item: Item) -> Result:
            video, content = item["video"], None
            try:
                content = content_at(store, recipe.videos, video)
                name = recipe.video_id(video, content)
                record = store.get(recipe.cut_stage, name)
                if record is None:
                    record = _cut(recipe, store, video, content, name, detector)
                    store.put(recipe.cut_stage, name, record)
                return {"content": content, "id": name, "record": record}
            except Exception as error:
                return {"content": content, "error": fault_of(error, recipe.videos)}

        return work


def _cut(recipe: Recipe, store: RecordStore, video: str, content: str, name: str, detector: Any) -> dict[str, Any]:
    """A video's record: facts and candidates. Shot by shot, so that a long film goes on where it was."""
    path = recipe.videos / video
    info, source = probe(path), VideoFrames(path)
    known = store.get(recipe.shots_stage, name)
    if known is None:
        known = {"shots": [[shot.start, shot.end] for shot in find_shots(source, _quietly)]}
        store.put(recipe.shots_stage, name, known)
    clips = []
    for start, end in known["shots"]:
        key = shot_key(name, start)
        shot = store.get(recipe.shots_stage, key)
        if shot is None:
            tracks = find_faces(source, Shot(start, end), detector, _quietly)
            shot = {"clips": [_noted(clip) for track in tracks for clip in cut_track(info, track, recipe.rules, name)]}
            store.put(recipe.shots_stage, key, shot)
        clips += [{**{fact: clip[fact] for fact in _FACTS}, "shot": start} for clip in shot["clips"]]
    return {
        "video": video,
        "content": content,
        "fps": rate_text(info.fps),
        "size": list(info.upright_size),
        "frames": known["shots"][-1][1] if known["shots"] else 0,
        "clips": clips,
    }


_FACTS = ("key", "first", "frames", "track", "crop", "face_side", "seen", "detector_score")


def _noted(clip: FaceClip) -> dict[str, Any]:
    """Rounded where it is found, so that whoever reads the manifest cuts the very same square."""
    return {
        "key": clip.key,
        "first": clip.first,
        "frames": len(clip.boxes),
        "track": clip.track,
        "crop": [round(value, 2) for value in clip.crop],
        "face_side": round(clip.face_side, 4),
        "seen": round(float((clip.scores > 0).mean()), 4),
        "detector_score": round(clip.score, 4),
        "landmarks": np.round(clip.landmarks.astype(float), 2).tolist(),
        "boxes": np.round(clip.boxes.astype(float), 2).tolist(),
        "scores": np.round(clip.scores.astype(float), 4).tolist(),
    }


def shot_key(name: str, start: int) -> str:
    """Of a shot's record."""
    return f"{name}-{start:06d}"


def _quietly(stage: str, done: int, total: int | None) -> None:
    """Nobody listens to a worker before its item is done."""


@dataclass(frozen=True)
class Measuring:
    """Measures candidates and writes their files. Item: ``{"video", "id", "clips": [[key, shot] …]}``, neighbours.

    Result: ``{"records": {key: record}, "errors": {key: error}}``.
    """

    recipe: Recipe

    def __call__(self) -> Worker:
        recipe, store = self.recipe, self.recipe.store
        tools = clip_stats.Tools.load(pick_device(recipe.device))

        def work(item: Item) -> Result:
            video, errors = recipe.videos / item["video"], {}
            records = {key: record for key, _ in item["clips"] if (record := measured(recipe, store, key))}
            try:
                info = probe(video)
                clips = [clip for clip in _clips(recipe, store, item) if clip.key not in records]
                _learn_places(video, max((clip.first for clip in clips), default=0))
            except Exception as error:
                fault = fault_of(error, recipe.videos)
                return {"records": {}, "errors": dict.fromkeys((key for key, _ in item["clips"]), fault)}
            for clip in clips:
                try:
                    records[clip.key] = _measure(recipe, clip, info, tools)
                    store.put(recipe.figures_stage, clip.key, records[clip.key])
                except Exception as error:
                    errors[clip.key] = fault_of(error, recipe.videos)
                trim_memory()
            return {"records": records, "errors": errors}

        return work


def measured(recipe: Recipe, store: RecordStore, key: str) -> dict[str, Any] | None:
    """A candidate's record, if its file is there too."""
    return store.get(recipe.figures_stage, key) if candidate_path(recipe.work, key).exists() else None


def _clips(recipe: Recipe, store: RecordStore, item: Item) -> list[FaceClip]:
    shots = {start: store.get(recipe.shots_stage, shot_key(item["id"], start)) for _, start in item["clips"]}
    noted = {clip["key"]: clip for shot in shots.values() if shot for clip in shot["clips"]}
    if lost := [key for key, _ in item["clips"] if key not in noted]:
        raise UnwritableVideo(f"{recipe.work} lacks the record of {lost[0]}. Run again with --restart-from cut.")
    return [_clip(recipe.videos / item["video"], noted[key]) for key, _ in item["clips"]]


def _clip(video: Path, noted: dict[str, Any]) -> FaceClip:
    landmarks, boxes, scores = (np.array(noted[name], np.float32) for name in ("landmarks", "boxes", "scores"))
    x, y, side = noted["crop"]
    return FaceClip(noted["key"], video, noted["first"], noted["track"], (x, y, side), landmarks, boxes, scores)


def _learn_places(video: Path, last: int) -> None:
    """Read a video once where this process doesn't know its frames' places, or every clip would be read from the
    start."""
    if len(seek_table(video).times) <= last:
        for _ in VideoReader(video, end_frame=last + 1):
            pass


def _measure(recipe: Recipe, clip: FaceClip, info: VideoInfo, tools: clip_stats.Tools) -> dict[str, Any]:
    frames, times = _read(clip, recipe.rules)
    write_clip(candidate_path(recipe.work, clip.key), frames, times, info)
    save_preview(recipe.work, clip.key, frames)
    found = clip_stats.measure_clip(
        frames, clip.landmarks, clip.boxes, clip.scores, tools, crop=clip.crop, picture=info.upright_size
    )
    return {"figures": found.to_json(), "hash": duplicates.clip_hash(frames)}


def _read(clip: FaceClip, rules: ClipRules) -> tuple[Tensor, list[int]]:
    """One clip's frames are all that is ever held of a video."""
    frames = torch.empty(len(clip.boxes), 3, rules.size, rules.size)
    times: list[int] = []
    for frame, crop in iter_clip(clip, rules):
        frames[len(times)] = crop
        times.append(frame.pts)
    if len(times) < len(frames):
        raise UnreadableVideo(
            f"{clip.video} gave {len(times)} of {len(frames)} frames from number {clip.first} on, which were there "
            "before. Was it replaced meanwhile? Run again."
        )
    return frames, times


def fault_of(error: Exception, folder: Path) -> str:
    """What a manifest tells of an error: the same sentence wherever the folder lies.

    Raises:
        VividFaceError: every other item would meet it too.
    """
    if isinstance(error, HOPELESS):
        raise error
    told = str(error) if isinstance(error, VividFaceError) else f"{type(error).__name__}: {error}"
    for place in (folder, folder.resolve()):
        inside = str(place / "x")[:-1]
        told = told.replace(inside, "") if inside else told
    return " ".join(told.split())
