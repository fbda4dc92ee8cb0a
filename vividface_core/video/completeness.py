"""Is a file all there? Told by its own structure: sizes that boxes, chunks and packets announce, against its length.

Neither the number of packets nor the length in seconds tells it: an edit list hides packets of a whole file, and a cut
by copying leaves times that don't begin at 0.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_TAIL = 8 << 20
"""Bytes at the end of a stream without an index that are looked through."""
_UNKNOWN_32 = (0, 0xFFFFFFFF)


def is_cut(path: Path, format: str) -> bool:
    """Whether the file ends before its structure does.

    Args:
        format: ffmpeg's name of the container.

    Returns:
        False also for containers that announce nothing (raw streams, say).
    """
    judge = next((_JUDGES[name] for name in format.split(",") if name in _JUDGES), None)
    if judge is None or not path.is_file():
        return False
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            return judge(file, size)
        except (struct.error, IndexError):  # in the middle of a header
            return True


def _boxes(file: BinaryIO, size: int) -> bool:
    """mp4, mov, where their table of samples can't be read: any box."""
    return _iso(file, size, only_fragments=False)


def _iso(file: BinaryIO, size: int, *, only_fragments: bool = True) -> bool:
    """mp4, mov: boxes. Only for fragments: other files are judged by their table of samples."""
    at, fragments = 0, not only_fragments
    while at + 8 <= size:
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8))
        if length == 1:
            length = struct.unpack(">Q", file.read(8))[0]
        elif length == 0:
            length = size - at
        if length < 8:
            return False  # no box: something was appended
        fragments = fragments or name == b"moof"
        if fragments and at + length > size:
            return True
        at += length
    return False


def _ebml(file: BinaryIO, size: int) -> bool:
    """Matroska, WebM: the segment's size, or its elements where that is open."""
    at, segment = 0, 0x18538067
    masters = {segment, 0x1F43B675}  # of unknown size: the segment and its clusters
    while at < size:
        file.seek(at)
        number, marker = _vint(file, keep_marker=True)
        length, known = _vint(file)
        begin = file.tell()
        if length == known:  # all bits set: unknown
            if number not in masters:
                return False
            at = begin
            continue
        if begin + length > size:
            return True
        at = begin + length
        if number == segment:
            return False  # it is all there; what follows isn't part of it
    return False


def _vint(file: BinaryIO, *, keep_marker: bool = False) -> tuple[int, int]:
    """A number of variable length, and the number that means "unknown" in this length."""
    first = file.read(1)[0]
    width = 9 - first.bit_length()
    if width > 8:
        raise IndexError("no number")
    rest = file.read(width - 1)
    if len(rest) < width - 1:
        raise IndexError("cut in a number")
    unknown = (1 << 7 * width) - 1
    whole = int.from_bytes(bytes([first]) + rest, "big")
    return (whole if keep_marker else whole & unknown), unknown


def _riff(file: BinaryIO, size: int) -> bool:
    at = 0
    while at + 12 <= size:
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        if name != b"RIFF" or length in _UNKNOWN_32:
            return False
        if at + 8 + length > size + 1:  # the last byte may be padding that wasn't written
            return True
        at += 8 + length + length % 2
    return False


def _flv(file: BinaryIO, size: int) -> bool:
    head = file.read(1 << 16)
    mark = head.find(b"\x00\x08filesize\x00")
    if mark >= 0 and struct.unpack(">d", head[mark + 11 : mark + 19])[0] > size:
        return True
    at = struct.unpack(">I", head[5:9])[0]
    while at + 4 < size:
        file.seek(at + 4)
        tag = file.read(11)
        at += 4 + 11 + int.from_bytes(tag[1:4], "big")
        if len(tag) < 11 or at > size:
            return True
    return False


def _asf(file: BinaryIO, size: int) -> bool:
    at = 0
    while at + 24 <= size:
        file.seek(at + 16)
        length = struct.unpack("<Q", file.read(8))[0]
        if length < 24:
            return False  # a broadcast's data object has no size
        if at + length > size:
            return True
        at += length
    return False


def _transport(file: BinaryIO, size: int) -> bool:
    head = file.read(4096)
    step, first = next(
        (
            (step, first)
            for step in (188, 192, 204)
            for first in range(step)
            if len(head) > first + 3 * step and all(head[first + k * step] == 0x47 for k in range(4))
        ),
        (0, 0),
    )
    if not step:
        return False
    lead = 4 if step == 192 else 0  # a time before each packet
    if (size - first + lead) % step:
        return True
    begin = first + max(0, size - first - _TAIL) // step * step
    file.seek(begin)
    return _open_pes(_packets(file.read(), step))


def _packets(data: bytes, step: int) -> Iterator[bytes]:
    for at in range(0, len(data) - 187, step):
        if data[at] == 0x47:
            yield data[at : at + 188]


def _open_pes(packets: Iterator[bytes]) -> bool:
    """Whether the last PES packet of any stream of a transport stream isn't closed."""
    missing: dict[int, int | None] = {}  # bytes to come by stream; None: the length is open
    full: dict[int, bool] = {}
    for packet in packets:
        pid, control = int.from_bytes(packet[1:3], "big") & 0x1FFF, packet[3] >> 4 & 3
        if not control & 1:
            continue
        payload = packet[5 + packet[4] :] if control == 3 else packet[4:]
        if packet[1] & 0x40:
            missing.pop(pid, None)
            if payload[:3] == b"\0\0\1":
                length = int.from_bytes(payload[4:6], "big")
                missing[pid] = 6 + length if length else None
        if pid in missing:
            left = missing[pid]
            if left is not None:
                missing[pid] = left - len(payload)
            full[pid] = len(payload) == 184  # the last packet of a PES is stuffed, but for one in 184
    return any(full[pid] if left is None else left > 0 for pid, left in missing.items())


def _program(file: BinaryIO, size: int) -> bool:
    """MPEG program stream, VOB: from a pack near the end on, packet by packet."""
    begin = max(0, size - (1 << 18))
    file.seek(begin)
    data = file.read()
    at = data.find(b"\0\0\1\xba")
    while 0 <= at < len(data):
        code = data[at : at + 4]
        if len(code) < 4:
            return True
        if code[:3] != b"\0\0\1":
            return False
        if code[3] == 0xB9:
            at += 4
        elif code[3] == 0xBA:
            at += 14 + (data[at + 13] & 7) if data[at + 4] >> 6 == 1 else 12
        else:
            at += 6 + struct.unpack(">H", data[at + 4 : at + 6])[0]
        if at > len(data):
            return True
    return False


def _ogg(file: BinaryIO, size: int) -> bool:
    file.seek(max(0, size - (1 << 17)))
    data = file.read()
    at = data.rfind(b"OggS")
    if at < 0:
        return True
    segments = data[at + 27 : at + 27 + data[at + 26]]
    whole = len(segments) == data[at + 26] and at + 27 + len(segments) + sum(segments) <= len(data)
    return not whole or not data[at + 5] & 4


def _mxf(file: BinaryIO, size: int) -> bool:
    at = footer = 0
    while at + 17 <= size:
        file.seek(at)
        key, length = file.read(16), _ber(file)
        begin = file.tell()
        if key[:4] != b"\x06\x0e\x2b\x34":
            return False
        if key[13:14] == b"\x02" and not footer:
            footer = struct.unpack(">Q", file.read(32)[24:32])[0]
        if begin + length > size:
            return True
        at = begin + length
    return footer >= size


def _ber(file: BinaryIO) -> int:
    first = file.read(1)[0]
    return int.from_bytes(file.read(first & 0x7F), "big") if first & 0x80 else first


def _gif(file: BinaryIO, size: int) -> bool:
    file.seek(max(0, size - 512))
    return not file.read().rstrip(b"\0\r\n").endswith(b";")


def _ivf(file: BinaryIO, size: int) -> bool:
    head, at, count = file.read(32), 32, 0
    while at + 12 <= size:
        file.seek(at)
        at += 12 + struct.unpack("<I", file.read(4))[0]
        count += 1
    promised = struct.unpack("<I", head[24:28])[0]
    return at != size or (promised not in _UNKNOWN_32 and count < promised)


def _dv(file: BinaryIO, size: int) -> bool:
    head = file.read(4)
    return bool(size % (144_000 if head[3] & 0x80 else 120_000)) if head[:1] == b"\x1f" else False


_JUDGES: dict[str, Callable[[BinaryIO, int], bool]] = {
    "mov": _iso,
    "boxes": _boxes,
    "matroska": _ebml,
    "avi": _riff,
    "flv": _flv,
    "asf": _asf,
    "mpegts": _transport,
    "mpeg": _program,
    "ogg": _ogg,
    "mxf": _mxf,
    "gif": _gif,
    "ivf": _ivf,
    "dv": _dv,
}
