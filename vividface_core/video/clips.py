"""Which files and folders are clips."""

from __future__ import annotations

from pathlib import Path

from vividface_core.errors import UnreadableVideo
from vividface_core.io.file_names import VIDEO_SUFFIXES
from vividface_core.io.folders import entries
from vividface_core.video.images import list_images
from vividface_core.video.picture_kinds import IMAGE_SUFFIXES


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
