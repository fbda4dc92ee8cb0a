"""The one thing that can't be set through the muxing library: a stream's rotation."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av

_AFTER_MATRIX = 8
"""Bytes of a track header behind its matrix: width and height."""

_CODES = {"h264": b"avc1", "hevc": b"hvc1", "prores": b"apch", "ffv1": b"FFV1"}
"""Codec names in a QuickTime header."""


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


@contextmanager
def rotated_stream(template: av.VideoStream, matrix: tuple[int, ...], folder: Path) -> Iterator[av.VideoStream]:
    """A stream like ``template`` that carries a rotation, to be the template of an output stream.

    The library can't attach a rotation to a stream, but reads it from a file; so a file with one black picture is
    made, the rotation and the codec's name are written into its header, and it is read again. Only the header counts.
    """
    path = folder / "rotated.mov"
    with av.open(str(path), "w", format="mov") as container:
        stream = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = template.width, template.height, "rgb24"
        frame = av.VideoFrame(template.width, template.height, "rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    set_display_matrix(path, matrix)
    _rename_codec(path, _CODES[template.codec_context.name])
    with av.open(str(path)) as container:
        yield container.streams.video[0]
