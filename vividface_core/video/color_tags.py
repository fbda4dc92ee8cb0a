"""Colour tags and rotation: ffmpeg's numbers and names, and what an untagged file means."""

from __future__ import annotations

import math

import av

from vividface_core.video.info import ColorInfo

UNSPECIFIED = 2
MATRICES = {
    0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
    10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc", 13: "chroma-derived-c", 14: "ictcp",
}  # fmt: skip
PRIMARIES = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020", 10: "smpte428",
    11: "smpte431", 12: "smpte432", 22: "ebu3213",
}  # fmt: skip
TRANSFERS = {
    1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100", 10: "log316",
    11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084",
    17: "smpte428", 18: "arib-std-b67",
}  # fmt: skip
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


def display_matrix_of(decoded: av.VideoFrame) -> tuple[int, ...] | None:
    """The nine fixed-point numbers of the frame's rotation, or ``None`` where there is none.

    Made from the angle: the binding's own list of side data ends the process when it meets a kind that it has no
    name for (EXIF, say). A mirrored picture is thus read as not mirrored.
    """
    angle = round(decoded.rotation / 90) * 90 % 360
    return turned(angle, decoded.width, decoded.height) if angle else None


def turned(degrees: int, width: int, height: int) -> tuple[int, ...]:
    """The display matrix of a rotation by a multiple of 90 degrees, counter-clockwise, of a picture of this size."""
    one = 1 << 16
    a, b = {0: (one, 0), 90: (0, -one), 180: (-one, 0), 270: (0, one)}[degrees % 360]
    x = width * one if degrees % 360 == 180 else height * one if degrees % 360 == 270 else 0
    y = height * one if degrees % 360 == 180 else width * one if degrees % 360 == 90 else 0
    return a, b, 0, -b, a, 0, x, y, 1 << 30


def rotation_of(matrix: tuple[int, ...] | None) -> int:
    """Degrees, counter-clockwise, to the nearest multiple of 90."""
    if matrix is None:
        return 0
    return round(-math.degrees(math.atan2(matrix[1], matrix[0])) / 90) * 90 % 360
