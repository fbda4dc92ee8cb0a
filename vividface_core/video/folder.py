"""Folders of videos, and what their results are called."""

from __future__ import annotations

from pathlib import Path

from vividface_core.errors import InvalidOption
from vividface_core.io.file_names import VIDEO_SUFFIXES, distinct_stems, natural_key
from vividface_core.io.folders import entries
from vividface_core.video.images import list_images, unread_pictures
from vividface_core.video.presets import load_preset


def videos_in(folder: Path) -> list[Path]:
    """The videos of a folder in natural order; hidden files are left out. Empty if it holds pictures only.

    Raises:
        InvalidOption: pictures and videos are mixed, so it isn't clear what is meant.
    """
    videos = _videos(folder)
    if videos and list_images(folder):
        raise InvalidOption(f"{folder} holds both videos and pictures. Put one of them elsewhere.")
    return videos


def holds_films(path: Path) -> bool:
    """Whether it is a folder of videos, rather than of the pictures of one. Animated pictures beside others are no
    films: a sequence is read without them.

    Raises:
        InvalidOption: pictures and videos are mixed.
    """
    if not path.is_dir():
        return False
    pictures = list_images(path)
    return not (pictures and set(_videos(path)) <= set(unread_pictures(path))) and bool(videos_in(path))


def folder_targets(folder: Path, output: Path, preset: str) -> dict[Path, Path]:
    """Where each video of a folder goes, in natural order: the same name, with the preset's usual suffix where it
    can't keep its own.

    Raises:
        InvalidOption: see :func:`videos_in`; there is no such preset.
    """
    videos, coding, targets = videos_in(folder), load_preset(preset), {}
    for video, stem in zip(videos, distinct_stems(videos)):
        keeps = video.suffix.lower() in coding.suffixes
        targets[video] = output / (stem + (video.suffix if keeps else coding.suffixes[0]))
    return targets


def _videos(folder: Path) -> list[Path]:
    files = [file for file in entries(folder) if file.suffix.lower() in VIDEO_SUFFIXES and file.name[0] != "."]
    return sorted((file for file in files if file.is_file()), key=lambda file: natural_key(file.name))
