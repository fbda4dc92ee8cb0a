"""How stored samples are brought upright: turned by quarters, mirrored or not."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

Matrix = tuple[int, ...]
"""A display matrix: nine numbers row by row, 16.16 fixed point but for the third of each row (2.30)."""

_ONE = 1 << 16
_EXIF = {
    1: (False, 0),
    2: (True, 0),
    3: (False, 180),
    4: (True, 180),
    5: (True, 90),
    6: (False, 270),
    7: (True, 270),
    8: (False, 90),
}
"""EXIF's orientations: mirrored first (left and right), then turned counter-clockwise."""


def is_mirrored(matrix: Matrix | None) -> bool:
    """Whether the picture is shown as in a mirror."""
    return matrix is not None and matrix[0] * matrix[4] - matrix[1] * matrix[3] < 0


def rotation_of(matrix: Matrix | None) -> int:
    """Degrees, counter-clockwise, to the nearest multiple of 90; to be applied after mirroring left and right."""
    if matrix is None:
        return 0
    a, b = (-matrix[0], -matrix[1]) if is_mirrored(matrix) else (matrix[0], matrix[1])
    return round(-math.degrees(math.atan2(b, a)) / 90) * 90 % 360


def matrix_of(mirrored: bool, degrees: int, width: int, height: int) -> Matrix | None:
    """The display matrix that mirrors a picture of this size left and right, or not, and then turns it by a multiple
    of 90 degrees counter-clockwise; ``None`` for the identity."""
    degrees %= 360
    if not mirrored and not degrees:
        return None
    a, b = {0: (_ONE, 0), 90: (0, -_ONE), 180: (-_ONE, 0), 270: (0, _ONE)}[degrees]
    c, d = -b, a
    if mirrored:
        a, b = -a, -b
    # The corner that lies farthest left and farthest up comes to the origin.
    x = -min(0, a * width, c * height, a * width + c * height)
    y = -min(0, b * width, d * height, b * width + d * height)
    return a, b, 0, c, d, 0, x, y, 1 << 30


def upright(picture: Any, mirrored: bool, degrees: int, flip: Callable, turn: Callable) -> Any:
    """Mirror and turn with the functions of the array's own library: ``flip(x, axis)``, ``turn(x, quarters)``."""
    if mirrored:
        picture = flip(picture, -1)
    return turn(picture, degrees // 90 % 4) if degrees % 360 else picture


def stored(picture: Any, mirrored: bool, degrees: int, flip: Callable, turn: Callable) -> Any:
    """The way back from :func:`upright`."""
    picture = turn(picture, -degrees // 90 % 4) if degrees % 360 else picture
    return flip(picture, -1) if mirrored else picture


def exif_orientation(data: bytes) -> tuple[bool, int]:
    """Whether EXIF in a picture file's bytes says mirrored, and the degrees counter-clockwise."""
    block = _exif_block(data)
    try:
        way = _tag(block, 0x0112) if block else None
        return (False, 0) if way is None else _EXIF.get(way, (False, 0))
    except (struct.error, IndexError):
        return False, 0


def _exif_block(data: bytes) -> bytes | None:
    """The TIFF structure of the EXIF data in a JPEG, PNG, WebP or TIFF."""
    if data[:4] in (b"II*\0", b"MM\0*"):
        return data
    if data[:2] == b"\xff\xd8":
        return _in_jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _in_chunks(data, 8, ">I4s", b"eXIf", 4, False)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _in_chunks(data, 12, "<4sI", b"EXIF", 0, True)
    return None


def _in_jpeg(data: bytes) -> bytes | None:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in (0xDA, 0xD9):
        length = struct.unpack(">H", data[at + 2 : at + 4])[0]
        if data[at + 1] == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            return data[at + 10 : at + 2 + length]
        at += 2 + length
    return None


def _in_chunks(data: bytes, at: int, head: str, wanted: bytes, trailer: int, padded: bool) -> bytes | None:
    while at + 8 <= len(data):
        one, other = struct.unpack(head, data[at : at + 8])
        name, length = (one, other) if isinstance(one, bytes) else (other, one)
        if name == wanted:
            block = data[at + 8 : at + 8 + length]
            return block[6:] if block.startswith(b"Exif\0\0") else block
        at += 8 + length + trailer + (length % 2 if padded else 0)
    return None


def _tag(block: bytes, wanted: int) -> int | None:
    """The value of a short in a TIFF structure's first directory."""
    order = "<" if block[:2] == b"II" else ">"
    at = struct.unpack(f"{order}I", block[4:8])[0]
    for number in range(struct.unpack(f"{order}H", block[at : at + 2])[0]):
        entry: Sequence[int] = struct.unpack(f"{order}HHIH", block[at + 2 + 12 * number : at + 12 + 12 * number])
        if entry[0] == wanted:
            return entry[3]
    return None
