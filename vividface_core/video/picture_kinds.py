"""What kind of picture file something is, by its content; and whether it is all there."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

IMAGE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".jxl", ".avif")
    + (".jp2", ".exr", ".dpx")
)
"""Of pictures that are read, alone and in folders."""
_HEAD = 4096
_PROFILE = 1 << 20
"""Bytes of a colour profile that are unpacked."""
_AVIF = (b"avif", b"avis", b"mif1", b"msf1")
_FILMS = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"OggS",
    b"GIF8",
    b"FLV\x01",
    b"RIFF",
    b"0&\xb2u",  # Windows Media
    b"\0\0\1\xba",  # MPEG program stream
    b"\x06\x0e\x2b\x34",  # MXF
    b"YUV4MPEG2",
    b"DKIF",
)
"""How files of films begin."""


def is_picture(path: Path) -> bool:
    """Whether a file is one picture, or several that ffmpeg doesn't read: by its content, whatever it is called."""
    head = _head(path)
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return not _is_animated_png(path)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP" or head[:4] in (b"II*\0", b"MM\0*"):
        return True
    if head[4:8] == b"ftyp" and head[8:12] in _AVIF:
        return path.suffix.lower() in IMAGE_SUFFIXES or _pages(path)[0] > 1
    return path.suffix.lower() in IMAGE_SUFFIXES and not _is_film(head)


def _is_film(head: bytes) -> bool:
    """Whether a file begins as containers of films do, whatever it is called."""
    return (
        head.startswith(_FILMS)
        or head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide")
        or head[0:1] + head[188:189] == b"GG"
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""


def _is_animated_png(path: Path) -> bool:
    """Whether a chunk of a PNG says that it has several frames; it comes before the first picture."""
    with path.open("rb") as file:
        file.seek(8)
        while len(chunk := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", chunk)
            if name == b"acTL":
                return struct.unpack(">I", file.read(4))[0] > 1
            if name in (b"IDAT", b"IEND"):
                return False
            file.seek(length + 4, 1)
    return False


def holds_several(path: Path) -> bool:
    """Whether a picture file holds more than one picture."""
    head = _head(path)
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return _is_animated_png(path)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return head[12:16] == b"VP8X" and bool(head[20] & 2)
    if head[:4] in (b"II*\0", b"MM\0*") or head[4:8] == b"ftyp":
        return _pages(path)[0] > 1
    return False


def is_for_pillow(path: Path) -> bool:
    """Whether ffmpeg doesn't show all of a picture file: several pictures, or the transparency of AVIF."""
    return holds_several(path) or (_head(path)[4:8] == b"ftyp" and _pages(path)[1])


def _pages(path: Path) -> tuple[int, bool]:
    """Pictures in a file, and whether they are transparent, by Pillow; ``1, False`` where it doesn't know the kind."""
    try:
        from PIL import Image

        with Image.open(path) as file:
            return getattr(file, "n_frames", 1), file.mode == "RGBA"
    except (ImportError, OSError, ValueError, SyntaxError):
        return 1, False


def is_cut_picture(data: bytes) -> bool:
    """Whether a picture file's bytes end before its structure does; decoders fill what is missing with grey."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return data.find(b"IEND", 8) < 0
    if data[:2] == b"\xff\xd8":
        return not _jpeg_ends(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return struct.unpack("<I", data[4:8])[0] + 8 > len(data) + 1
    if data[:2] == b"BM" and len(data) >= 6:
        return struct.unpack("<I", data[2:6])[0] > len(data)
    return False


def _jpeg_ends(data: bytes) -> bool:
    """Whether an end mark follows the picture itself: a thumbnail in the header has one too."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return data.find(b"\xff\xd9", at) >= 0


def png_profile(data: bytes) -> bytes | None:
    """A PNG's colour profile, after its name; ``None``: another kind of file, or no profile."""
    at = 8 if data[:8] == b"\x89PNG\r\n\x1a\n" else len(data)
    while at + 8 <= len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        if name == b"iCCP":
            called, _, packed = data[at + 8 : at + 8 + length].partition(b"\0")
            return called + _unpacked(packed[1:])
        if name in (b"IDAT", b"IEND"):
            return None
        at += 12 + length
    return None


def _unpacked(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, _PROFILE)
    except zlib.error:
        return b""
