"""A clip as one small picture: frames to be flipped through, and three larger ones to judge sharpness by.

The upper row has :data:`TILES` frames evenly over the clip, the row below its first, middle and last frame. It is made
once a clip, where its frames are in memory anyway, and lies in ``work/previews/``.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from training.curation.dataset import candidate_path
from vividface_core.errors import UnreadableVideo, UnwritableVideo, VividFaceError
from vividface_core.faces.crop import crop_clip
from vividface_core.io.pictures import bytes_of, pillow
from vividface_core.metrics.reports.worst_frames import encoded
from vividface_core.video.reader import VideoReader

TILES, TILE = 8, 128
"""Frames of the upper row, and their side in pixels. Multiples of 16: no JPEG block lies across two of them."""
STILLS, STILL = 3, 320
"""Frames of the lower row and their side."""
SIZE = (max(TILES * TILE, STILLS * STILL), TILE + STILL)
"""Width and height of the whole."""
QUALITY = 78
FOLDER = "previews"
Chosen = tuple[list[Tensor], list[Tensor]]
"""Frames of the upper and of the lower row, each ``[3, S, S]`` RGB 0…1."""


def preview_path(work: Path, key: str) -> Path:
    """Where a clip's preview lies."""
    return Path(work) / FOLDER / f"{key}.jpg"


def save_preview(work: Path, key: str, frames: Tensor) -> Path:
    """Make a clip's preview unless it is there; safe to call from several processes.

    Args:
        work: folder of the records.
        frames: ``[T, 3, S, S]`` RGB 0…1, T ≥ 1.

    Raises:
        UnwritableVideo: it can't be written.
        MissingDependency: Pillow is absent.
    """
    path = preview_path(work, key)
    if not path.exists():
        _write(path, _chosen(dict(enumerate(frames)), len(frames)))
    return path


def preview(tiles: list[Tensor], stills: list[Tensor]) -> bytes:
    """The picture as a JPEG file; frames ``[3, S, S]`` RGB 0…1 of any side."""
    sheet = torch.zeros(3, SIZE[1], SIZE[0])
    for row, top, side in ((tiles, 0, TILE), (stills, TILE, STILL)):
        for place, frame in enumerate(row):
            sheet[:, top : top + side, place * side : (place + 1) * side] = _resized(frame, side)
    return encoded(pillow().fromarray(bytes_of(sheet)), QUALITY).data


def find_preview(row: Mapping[str, Any], out: Path, source: Path | None = None) -> Path | None:
    """A manifest row's preview; if it is missing it is made from the kept clip, or else from the source video.

    Args:
        out: the data set's folder.
        source: the folder of videos that ``row["video"]`` is relative to.

    Returns:
        ``None``: the clip can't be seen any more: neither file is there, or it can't be read.

    Raises:
        UnwritableVideo: see :func:`save_preview`.
        MissingDependency: Pillow is absent.
    """
    path = preview_path(out / "work", row["key"])
    if path.exists():
        return path
    chosen = _read(row, out, source)
    if chosen is None:
        return None
    _write(path, chosen)
    return path


def open_preview(path: Path) -> Any:
    """A preview as a Pillow picture.

    Raises:
        UnreadableVideo: it is damaged.
    """
    image = pillow()
    try:
        picture = image.open(io.BytesIO(path.read_bytes())).convert("RGB")
    except (OSError, ValueError) as error:
        raise UnreadableVideo(f"The preview {path} is damaged ({error}). Remove it; it will be made again.") from error
    if picture.size != SIZE:
        raise UnreadableVideo(f"{path} is no preview of this version. Remove it; it will be made again.")
    return picture


def stills_of(picture: Any) -> list[Any]:
    """First, middle and last frame out of a preview, :data:`STILL` pixels wide."""
    return [picture.crop((place * STILL, TILE, (place + 1) * STILL, TILE + STILL)) for place in range(STILLS)]


def _read(row: Mapping[str, Any], out: Path, source: Path | None) -> Chosen | None:
    """Out of whichever file there is; ``None``: out of none."""
    clips = [candidate_path(out / "work", row["key"]), *([out / row["clip"]] if row["clip"] else [])]
    clip = next((clip for clip in clips if clip.exists()), None)
    video = source / row["video"] if source is not None and row["crop"] else None
    try:
        if clip is not None:
            return _decode(clip, 0, row["frames"], None)
        if video is not None and video.exists():
            return _decode(video, row["first"], row["frames"], row["crop"])
    except VividFaceError:
        pass
    return None


def _decode(video: Path, first: int, count: int, crop: Sequence[float] | None) -> Chosen | None:
    wanted, taken = {*_places(count, TILES), *_places(count, STILLS)}, {}
    with VideoReader(video, start_frame=first, end_frame=first + count) as reader:
        for number, frame in enumerate(reader):
            if number in wanted:
                taken[number] = frame.rgb() if crop is None else crop_clip(frame.rgb(), crop, STILL)
    return _chosen(taken, count) if taken else None


def _chosen(frames: Mapping[int, Tensor], count: int) -> Chosen:
    """Frames by number → those of both rows; where one is missing, the nearest."""

    def nearest(wanted: int) -> Tensor:
        return frames[min(frames, key=lambda number: abs(number - wanted))]

    return [nearest(place) for place in _places(count, TILES)], [nearest(place) for place in _places(count, STILLS)]


def _write(path: Path, chosen: Chosen) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    data = preview(*chosen)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        os.replace(partial, path)
    except OSError as error:
        raise UnwritableVideo(f"The preview can't be written to {path}: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)


def _places(count: int, wanted: int) -> list[int]:
    """Evenly from the first frame to the last; fewer frames are shown more than once."""
    return [round(step * (count - 1) / (wanted - 1)) for step in range(wanted)]


def _resized(frame: Tensor, side: int) -> Tensor:
    if frame.shape[1:] == (side, side):
        return frame
    return F.interpolate(frame[None].float(), size=(side, side), mode="bilinear", antialias=True)[0]
