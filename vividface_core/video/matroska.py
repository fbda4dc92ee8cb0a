"""What can't be set through the muxing library: the shape of pixels in a Matroska header.

The muxer writes a display size only for a stream that it knows a shape of, or for stereoscopic ones. So the stream is
called stereoscopic, and the three elements that the muxer writes for that are replaced in place by the display size
that is wanted. No data moves.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av

_SEGMENT, _TRACKS, _ENTRY, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0xE0
_CRC, _VOID, _STEREO, _WIDTH, _HEIGHT = 0xBF, 0xEC, 0x53B8, 0x54B0, 0x54BA
_STEREO_TAG = "stereo_mode"


def reserve_aspect(stream: av.VideoStream) -> None:
    """Before the header is written: have the muxer leave the elements that :func:`set_aspect` replaces."""
    stream.metadata[_STEREO_TAG] = "left_right"


def set_aspect(path: Path, width: int, height: int, aspect: Fraction) -> None:
    """Write the display size of pictures of ``width`` by ``height`` samples of this shape into a file's header.

    Raises:
        ValueError: the header isn't as :func:`reserve_aspect` has the muxer make it.
    """
    try:
        _replace(path, _display(width, height, aspect))
    except (KeyError, IndexError, StopIteration) as error:
        raise ValueError("the header of this file has no place for the pixels' shape") from error


def _replace(path: Path, size: tuple[int, int]) -> None:
    with path.open("r+b") as file:
        head = bytearray(file.read(1 << 20))
        tracks = _find(head, _SEGMENT, _TRACKS)
        begin, end = _find(head, _SEGMENT, _TRACKS, _ENTRY, _VIDEO)
        places = {number: (first, last) for number, first, _, last in _elements(head, begin, end)}
        first = places[_STEREO][0]
        last = max(places[_WIDTH][1], places[_HEIGHT][1])
        new = _element(_WIDTH, size[0]) + _element(_HEIGHT, size[1])
        new += bytes([_VOID, 0x80 | (last - first - len(new) - 2)]).ljust(last - first - len(new), b"\0")
        head[first:last] = new
        _seal(head, *tracks)
        file.seek(0)
        file.write(head)


def _display(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """The size in pixels as players show it: whichever side stays, the other one grows."""
    if (width * aspect).denominator != 1 and (height / aspect).denominator == 1:
        return width, int(height / aspect)
    return max(1, round(width * aspect)), height


def _element(number: int, value: int) -> bytes:
    data = value.to_bytes(2 if value < 1 << 16 else 3, "big")
    return struct.pack(">H", number) + bytes([0x80 | len(data)]) + data


def _find(head: bytes | bytearray, *numbers: int) -> tuple[int, int]:
    """Begin and end of the content of an element, by the elements around it."""
    begin, end = 0, len(head)
    for number in numbers:
        begin, end = next((content, last) for found, _, content, last in _elements(head, begin, end) if found == number)
    return begin, end


def _elements(head: bytes | bytearray, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, begin, begin of the content and end of each element."""
    while at < min(end, len(head)) - 2:
        first = at
        width = 9 - head[at].bit_length()
        number = int.from_bytes(head[at : at + width], "big")
        at += width
        width = 9 - head[at].bit_length()
        length = int.from_bytes(head[at : at + width], "big") & ((1 << 7 * width) - 1)
        at += width
        yield number, first, at, at + length
        at += length


def _seal(head: bytearray, begin: int, end: int) -> None:
    """Renew the checksum that an element begins with, if it has one."""
    if head[begin] == _CRC:
        head[begin + 2 : begin + 6] = struct.pack("<I", zlib.crc32(bytes(head[begin + 6 : end])))
