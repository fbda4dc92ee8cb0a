"""Open media files by their paths, and nothing else: no address, no list of other files, no text drawn as a picture."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer

from vividface_core.errors import UnreadableVideo

_LISTS = {"concat", "concatf", "hls", "dash", "imf", "rtsp", "sdp", "sap"}
"""Demuxers that open what a file names: other files of the machine, or addresses."""
_TEXTS = {"tty", "bin", "xbin", "adf", "idf"}
"""Demuxers that draw text as the terminals of 1990 did."""
_LOOK = 4096
"""Bytes from which a list or a text is recognised."""


def media_name(path: str | Path) -> str:
    """What ffmpeg is told so that it takes a path for a path: ``20:15:03.mp4`` alone would be an address."""
    return os.path.abspath(path)


def open_media(path: str | Path, *, playlist: bool = False) -> InputContainer:
    """Open a file to read it.

    Args:
        playlist: a list of other files (ffconcat, M3U8, DASH) may be followed. Otherwise it is refused: such a list
            can name any file that this user can read, and looks like a video on the outside.

    Raises:
        UnreadableVideo: a list, or a text.
        av.FFmpegError, OSError, ValueError: whatever else is wrong with it.
    """
    try:
        return av.open(media_name(path), metadata_errors="replace", container_options=_only(playlist))
    except (av.FFmpegError, ValueError):
        refuse_lists_and_texts(Path(path))
        raise


def open_stream(file: Any) -> InputContainer:
    """Like :func:`open_media`, for an open binary file."""
    return av.open(file, metadata_errors="replace", container_options=_only(False))


def open_output(path: str | Path, format: str, options: dict[str, str] | None = None) -> OutputContainer:
    """Open a file to write it."""
    return av.open(media_name(path), "w", format=format, container_options=options or {})


def refuse_lists_and_texts(path: Path) -> None:
    """Say what a file is that is no media file at all.

    Raises:
        UnreadableVideo: a list of other files, or a text.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_LOOK)
    except OSError:
        return
    text = _as_text(head)
    if text is None:
        return
    begin = text.lstrip("\ufeff \t\r\n")
    if begin.startswith(("ffconcat", "#EXTM3U")) or "<MPD" in begin or "<playlist" in begin.lower():
        raise UnreadableVideo(
            f"{path} is a list of other files, which isn't followed unasked: it could name any file of this machine. "
            "Give the video itself, or allow the list with --allow-playlist."
        )
    raise UnreadableVideo(f"{path} is a text and no media file. Choose a video, a picture or a folder of pictures.")


def _as_text(head: bytes) -> str | None:
    """The beginning of a file as text, or ``None`` where it is none."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = head.decode("utf-16", "ignore")
    else:
        if b"\0" in head or not head:
            return None
        text = head.decode("utf-8", "replace")
        if text[:-1].count("\ufffd") > len(text) // 10:  # texts of the older one-byte codes have some; the end is cut
            return None
    strange = sum(ord(sign) < 32 and sign not in "\t\n\r\f\x1b" for sign in text)
    return text if strange <= len(text) // 100 else None


@lru_cache(maxsize=2)
def _only(playlist: bool) -> dict[str, str]:
    """Options by which ffmpeg opens none but the allowed kinds."""
    refused = _TEXTS if playlist else _TEXTS | _LISTS
    known = [name for name in av.formats_available if not refused & set(name.split(","))]
    return {"format_whitelist": ",".join(sorted(known))}
