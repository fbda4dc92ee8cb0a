"""What can't be set through the muxing library: a stream's rotation, fields and static HDR metadata."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av

from vividface_core.video.opening import media_name

_AFTER_MATRIX = 8
"""Bytes of a track header behind its matrix: width and height."""

_CODES = {"h264": b"avc1", "hevc": b"hvc1", "prores": b"apch", "ffv1": b"FFV1"}
"""Codec names in a QuickTime header."""


def field_box(order: str) -> bytes:
    """The box of a sample entry that says how frames are interlaced: ``tff`` or ``bff``."""
    return struct.pack(">I4s2B", 10, b"fiel", 2, {"tff": 1, "bff": 6}[order])


def set_display_matrix(path: Path, matrix: tuple[int, ...]) -> None:
    """Write the nine numbers of a display matrix into the header of a file's first track, in place."""
    with path.open("r+b") as file:
        _, end = _find(file, "moov", "trak", "tkhd")
        file.seek(end - _AFTER_MATRIX - 36)
        file.write(struct.pack(">9i", *matrix))


def _rename_codec(path: Path, code: bytes) -> None:
    with path.open("r+b") as file:
        begin, _ = _find(file, "moov", "trak", "mdia", "minf", "stbl", "stsd")
        file.seek(begin + 12)  # version, number of entries, size of the first entry; then its codec
        file.write(code)


def _find(file: BinaryIO, *names: str) -> tuple[int, int]:
    """Start and end of the content of a box, by the names of the boxes around it."""
    file.seek(0, 2)
    span = (0, file.tell())
    for name in names:
        span = next((begin, end) for found, begin, end in _boxes(file, *span) if found == name)
    return span


def _boxes(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Name, start of content and end of each box between two places."""
    while begin + 8 <= end:
        file.seek(begin)
        size, name = struct.unpack(">I4s", file.read(8))
        header = 8
        if size == 1:
            size, header = struct.unpack(">Q", file.read(8))[0], 16
        elif size == 0:
            size = end - begin
        yield name.decode("latin-1"), begin + header, begin + size
        begin += size


def _add_to_sample_entry(path: Path, boxes: bytes) -> None:
    """Append boxes to the first track's sample entry; the index lies at the file's end, so no data moves."""
    names = ("moov", "trak", "mdia", "minf", "stbl", "stsd")
    data = bytearray(path.read_bytes())
    with path.open("rb") as file:
        begins = [_find(file, *names[: depth + 1])[0] for depth in range(len(names))]
    entry = begins[-1] + 8  # version and number of entries
    end = entry + struct.unpack(">I", data[entry : entry + 4])[0]
    for begin in (*(begin - 8 for begin in begins), entry):
        size = struct.unpack(">I", data[begin : begin + 4])[0]
        data[begin : begin + 4] = struct.pack(">I", size + len(boxes))
    data[end:end] = boxes
    path.write_bytes(bytes(data))


@contextmanager
def described_stream(
    template: av.VideoStream, matrix: tuple[int, ...] | None, boxes: bytes, folder: Path
) -> Iterator[av.VideoStream]:
    """A stream like ``template`` that carries a rotation and HDR metadata, to be the template of an output stream.

    The library can't attach them to a stream, but reads them from a file; so a file with one black picture is made,
    they and the codec's name are written into its header, and it is read again. Only the header counts.
    """
    path = folder / "described.mov"
    with av.open(media_name(path), "w", format="mov") as container:
        stream = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = template.width, template.height, "rgb24"
        frame = av.VideoFrame(template.width, template.height, "rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if matrix is not None:
        set_display_matrix(path, matrix)
    _rename_codec(path, _CODES[template.codec_context.name])
    if boxes:
        _add_to_sample_entry(path, boxes)
    with av.open(media_name(path)) as container:
        yield container.streams.video[0]
