"""What is known of a video before its pixels are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from vividface_core.video.hdr import StaticHdr


@dataclass(frozen=True)
class ColorInfo:
    """Colour tags as ffmpeg names them (``bt709``, ``smpte170m``, ``bt2020nc`` …); ``None`` where untagged.

    ``matrix`` and ``range`` are what conversion uses, so they are never ``None``: an untagged file gets what
    players assume (bt601 below 720 lines, bt709 from there on; limited range for YUV, full for RGB), and
    ``matrix_tagged`` / ``range_tagged`` keep whether the file said so itself.
    """

    matrix: str
    range: str  # "tv" (limited) or "pc" (full)
    primaries: str | None = None
    transfer: str | None = None
    matrix_tagged: bool = False
    range_tagged: bool = False
    siting: str = "left"  # horizontal place of chroma samples: "left" (MPEG-2 and later) or "center" (JPEG, MPEG-1)


@dataclass(frozen=True)
class StreamInfo:
    """An audio, subtitle or data stream that travels along untouched."""

    index: int
    kind: str  # "audio", "subtitle", "attachment", "data" or "picture" (cover art)
    codec: str
    language: str | None = None


@dataclass(frozen=True)
class VideoInfo:
    """Facts of one video source.

    ``width`` and ``height`` are those of the samples as stored: ``rotation`` (degrees, counter-clockwise, a multiple
    of 90) is carried as metadata, never burnt in. Pictures are handed out upright, see :attr:`upright_size`.
    """

    path: Path
    width: int
    height: int
    fps: Fraction
    time_base: Fraction
    frame_count: int | None = None  # None: the container does not say
    duration: Fraction | None = None  # seconds
    rotation: int = 0
    bit_depth: int = 8
    pix_fmt: str = "yuv420p"
    codec: str = ""
    has_alpha: bool = False
    sample_aspect_ratio: Fraction | None = None
    color: ColorInfo = field(default_factory=lambda: ColorInfo("bt709", "tv"))
    streams: tuple[StreamInfo, ...] = ()
    kind: str = "video"  # "video", "animation" (pictures of one file), "folder" (of images) or "image"
    display_matrix: tuple[int, ...] | None = None
    """The nine numbers behind ``rotation`` (16.16 and 2.30 fixed point, row by row)."""
    origin: Fraction = Fraction(0)
    """Seconds to take off every timestamp when writing: not 0 only where a container starts its clock anywhere,
    as MPEG transport streams do, and where a part of the source is taken."""
    span: tuple[Fraction, Fraction] | None = None
    """First and last second (exclusive) of the source that are taken; ``None``: all of it."""

    mirrored: bool = False
    """Samples are mirrored, left and right, before ``rotation`` brings them upright."""
    fields: str | None = None
    """Which field of interlaced frames comes first: ``tff`` or ``bff``; ``None``: whole frames."""
    combed: bool = False
    """The fields show different moments, so that frames have combs where something moves."""
    marked: bool = True
    """The fields are those that the file tells; false: they were found by looking at frames that nothing marks."""
    hdr: StaticHdr | None = None
    unwritten: tuple[str, ...] = ()
    """Names of the frames' metadata that is left out: HDR10+, closed captions and the like."""
    names: tuple[str, ...] = ()
    """Of the pictures of a folder, without their suffixes."""
    remarks: tuple[str, ...] = ()
    """What was lost in reading already."""
    playlist: bool = False
    """The file is a list of others, and may be followed."""

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height as a player shows them."""
        return (self.height, self.width) if self.rotation % 180 else (self.width, self.height)
