"""Which output belongs to which reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vividface_core.errors import InvalidOption, UnreadableVideo
from vividface_core.io.folders import entries
from vividface_core.video.images import IMAGE_SUFFIXES, list_images

VIDEO_SUFFIXES = frozenset((".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".mxf", ".gif"))


@dataclass(frozen=True)
class Pair:
    """A clip to judge, its truth, and the degraded input that it was made of; each a video or a folder of pictures."""

    name: str
    output: Path
    reference: Path | None = None
    source: Path | None = None


def clips_in(path: Path) -> list[Path]:
    """The clips that a path stands for: itself, or those of a folder (videos, and folders of pictures), by name.

    Raises:
        UnreadableVideo: nothing there.
    """
    if not path.exists():
        raise UnreadableVideo(f"{path} does not exist. Check the name and the folder.")
    if not path.is_dir() or list_images(path):
        return [path]
    found = [entry for entry in entries(path) if entry.name[0] != "." and _is_clip(entry)]
    if not found:
        raise UnreadableVideo(f"The folder {path} holds no video and no pictures.")
    return found


def _is_clip(entry: Path) -> bool:
    return bool(list_images(entry)) if entry.is_dir() else entry.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES


def pair_up(outputs: Sequence[Path], reference: Path | None = None, source: Path | None = None) -> list[Pair]:
    """Each clip of ``outputs`` with the clip of the same name (without suffix) among ``reference`` and ``source``.

    A single clip goes with a single one, whatever their names.

    Raises:
        UnreadableVideo: a path holds no clip.
        InvalidOption: an output has no partner, or two outputs have one name.
    """
    clips = [clip for path in outputs for clip in clips_in(path)]
    names = _names(clips)
    truths, sources = _partners(names, reference, "reference"), _partners(names, source, "input")
    return [Pair(name, clip, truths.get(name), sources.get(name)) for name, clip in names.items()]


def _names(clips: list[Path]) -> dict[str, Path]:
    names: dict[str, Path] = {}
    for clip in clips:
        name = _name(clip)
        if name in names:
            raise InvalidOption(f"{names[name]} and {clip} have one name; measure their folders one by one.")
        names[name] = clip
    return names


def _name(clip: Path) -> str:
    return clip.name if clip.is_dir() else clip.stem


def _partners(names: dict[str, Path], path: Path | None, what: str) -> dict[str, Path]:
    if path is None:
        return {}
    clips = clips_in(path)
    if len(names) == 1 and len(clips) == 1:
        return {next(iter(names)): clips[0]}
    there = _names(clips)
    if lost := [name for name in names if name not in there]:
        raise InvalidOption(
            f"{len(lost)} of {len(names)} clips have no {what} of the same name in {path}: {', '.join(lost[:5])}"
            f"{' …' if len(lost) > 5 else ''}. Names are compared without their suffix."
        )
    return {name: there[name] for name in names}
