"""Metadata of frames: the mastering display and the content's light level, which are kept, and what isn't."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

_CHROMA = 50_000
_LIGHT = 10_000
_UNWRITTEN = {
    "DYNAMIC_HDR_PLUS": "HDR10+",
    "DOVI_METADATA": "Dolby Vision",
    "DOVI_RPU_BUFFER": "Dolby Vision",
    "DYNAMIC_HDR_VIVID": "HDR Vivid",
    "AMBIENT_VIEWING_ENVIRONMENT": "the ambient light that the colours are meant for",
    "A53_CC": "closed captions",
    "AFD": "the active part of the picture",
    "S12M_TIMECODE": "time codes",
    "SPHERICAL": "the projection of a 360° picture",
    "STEREO3D": "the arrangement of pictures for two eyes",
    "ICC_PROFILE": "the colour profile",
}
"""Kinds of side data of frames that no encoder here is given, in words."""
_NAMES_PROFILES = ("png", "apng")
_SRGB = (b"sRGB", b"s\0R\0G\0B")
"""In colour profiles of the colours that pictures without one have."""


@dataclass(frozen=True)
class StaticHdr:
    """What a display needs to know once.

    Attributes:
        primaries: x and y of green, blue, red and white in units of 1/50000; ``None``: not told.
        luminance: highest and lowest of the mastering display in units of 1/10000 cd/m²; ``None``: not told.
        light: the brightest pixel and the brightest frame's average in cd/m²; ``None``: not told.
    """

    primaries: tuple[int, ...] | None = None
    luminance: tuple[int, int] | None = None
    light: tuple[int, int] | None = None

    def boxes(self) -> bytes:
        """As boxes of a QuickTime sample entry."""
        made = b""
        if self.primaries and self.luminance:
            made += struct.pack(">I4s8H2I", 32, b"mdcv", *self.primaries, *self.luminance)
        if self.light:
            made += struct.pack(">I4s2H", 12, b"clli", *self.light)
        return made

    def encoder_parameters(self, codec: str) -> list[str]:
        """Entries of x264's or x265's parameters that put it into the stream."""
        names = {"libx264": ("mastering-display", "cll"), "libx265": ("master-display", "max-cll")}.get(codec)
        made = []
        if names and self.primaries and self.luminance:
            p, light = self.primaries, self.luminance
            made.append(
                f"{names[0]}=G({p[0]},{p[1]})B({p[2]},{p[3]})R({p[4]},{p[5]})WP({p[6]},{p[7]})L({light[0]},{light[1]})"
            )
        if names and self.light:
            made.append(f"{names[1]}={self.light[0]},{self.light[1]}")
        return made


def side_data_of(decoded: av.VideoFrame, codec: str) -> dict[str, bytes]:
    """The frame's side data by name; empty where the binding can't list it.

    Args:
        codec: of the file. PNG's decoder names a colour profile in the side data's own dictionary. PyAV (18) frees it,
            although it is the frame's, and the process ends.
    """
    if codec in _NAMES_PROFILES:
        return {}
    if int(av.__version__.split(".")[0]) < 18:
        return {}  # earlier ones may end the process at a kind that they have no name for
    try:
        kinds: Any = decoded.side_data  # PyAV's stubs call it a mapping of names; iterating gives the entries
        return {kind.type.name: bytes(kind) for kind in kinds}
    except ValueError:
        return {}


def static_hdr_of(side_data: dict[str, bytes]) -> StaticHdr | None:
    """What a frame's side data says, or ``None``."""
    primaries = luminance = light = None
    mastering = side_data.get("MASTERING_DISPLAY_METADATA")
    if mastering is not None and len(mastering) >= 88:
        numbers = struct.unpack("=22i", mastering[:88])
        values = [Fraction(numbers[2 * k], numbers[2 * k + 1] or 1) for k in range(10)]
        red, green, blue, white = (values[2 * k : 2 * k + 2] for k in range(4))
        if numbers[20]:
            primaries = tuple(round(v * _CHROMA) for pair in (green, blue, red, white) for v in pair)
        if numbers[21]:
            luminance = (round(values[9] * _LIGHT), round(values[8] * _LIGHT))
    level = side_data.get("CONTENT_LIGHT_LEVEL")
    if level is not None and len(level) >= 8 and any(level[:8]):
        light = struct.unpack("=2I", level[:8])
    # Values beyond what the standards' fields hold are damage.
    if primaries is not None and not all(0 <= value < 1 << 16 for value in primaries):
        primaries = None
    if luminance is not None and not all(0 <= value < 1 << 32 for value in luminance):
        luminance = None
    if light is not None and not all(value < 1 << 16 for value in light):
        light = None
    if primaries is None and light is None:
        return None
    return StaticHdr(primaries, luminance, light)


def unwritten_of(side_data: dict[str, bytes]) -> tuple[str, ...]:
    """Names of a frame's metadata that no encoder here writes."""
    usual = any(mark in side_data.get("ICC_PROFILE", b"") for mark in _SRGB)
    kinds = (kind for kind in _UNWRITTEN if kind in side_data and not (usual and kind == "ICC_PROFILE"))
    return tuple(dict.fromkeys(_UNWRITTEN[kind] for kind in kinds))
