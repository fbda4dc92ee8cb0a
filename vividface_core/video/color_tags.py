"""Colour tags and rotation: ffmpeg's numbers and names, and what an untagged file means."""

from __future__ import annotations

import struct

import av

from vividface_core.video.info import ColorInfo
from vividface_core.video.orientation import is_mirrored, matrix_of, rotation_of

UNSPECIFIED = 2
MATRICES = {
    0: "gbr",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    11: "smpte2085",
    12: "chroma-derived-nc",
    13: "chroma-derived-c",
    14: "ictcp",
    15: "ipt-c2",
    16: "ycgco-re",
    17: "ycgco-ro",
}
PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
TRANSFERS = {
    1: "bt709",
    4: "gamma22",
    5: "gamma28",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
RANGES = {1: "tv", 2: "pc"}

_CENTERED_CODECS = {"mjpeg", "mjpegb", "ljpeg", "webp", "mpeg1video"}


def number_of(names: dict[int, str], name: str | None) -> int:
    """ffmpeg's number of a tag's name."""
    return next((number for number, known in names.items() if known == name), UNSPECIFIED)


def color_of(decoded: av.VideoFrame, codec: str, context: av.VideoCodecContext | None = None) -> ColorInfo:
    """What the samples mean: the frame's own tags, and the usual reading of missing ones.

    Args:
        decoded: the frame as the decoder gave it (before :func:`~vividface_core.video.pixel_formats.canonical`, which
            drops the full range that ``yuvj420p`` implies).
        context: the decoder; asked for primaries and transfer where PyAV (up to 16) keeps them from its frames.
    """
    name = decoded.format.name
    if decoded.format.is_rgb or name.startswith(("pal8", "ya")):
        matrix, range_ = 0, 2
    else:
        matrix, range_ = int(decoded.colorspace), int(decoded.color_range)
        matrix = matrix or UNSPECIFIED  # a grey picture may be tagged as RGB
        if name.startswith("yuvj") or (name.startswith(("gray", "mono")) and range_ not in RANGES):
            range_ = 2
    tagged = decoded if hasattr(decoded, "color_primaries") else context
    assumed = "bt709" if decoded.height >= 720 else "smpte170m"
    return ColorInfo(
        matrix=MATRICES.get(matrix, assumed),
        range=RANGES.get(range_, "tv"),
        primaries=PRIMARIES.get(int(tagged.color_primaries)) if tagged else None,
        transfer=TRANSFERS.get(int(tagged.color_trc)) if tagged else None,
        matrix_tagged=matrix in MATRICES,
        range_tagged=range_ in RANGES,
        siting="center" if codec in _CENTERED_CODECS else "left",
    )


def display_matrix_of(decoded: av.VideoFrame, side_data: dict[str, bytes] | None = None) -> tuple[int, ...] | None:
    """The nine fixed-point numbers that bring the frame upright, or ``None`` where there are none.

    Args:
        side_data: of the frame, see :func:`vividface_core.video.hdr.side_data_of`; without the matrix in it, it is made
            from the angle.
    """
    whole = (side_data or {}).get("DISPLAYMATRIX")
    if whole is not None and len(whole) >= 36:
        matrix = struct.unpack("=9i", whole[:36])
        return matrix if is_mirrored(matrix) or rotation_of(matrix) else None
    return matrix_of(False, round(decoded.rotation / 90) * 90, decoded.width, decoded.height)
