"""Single pictures and folders of pictures, read as if they were a video."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vividface_core.errors import UnreadableVideo
from vividface_core.io.file_names import distinct_stems
from vividface_core.io.folders import entries
from vividface_core.runtime.wording import counted
from vividface_core.video.color_tags import color_of
from vividface_core.video.colorspace import convert
from vividface_core.video.frame import Frame
from vividface_core.video.hdr import side_data_of, unwritten_of
from vividface_core.video.info import ColorInfo, VideoInfo
from vividface_core.video.opening import open_stream
from vividface_core.video.orientation import exif_orientation, is_mirrored, matrix_of, rotation_of, upright
from vividface_core.video.picture_kinds import IMAGE_SUFFIXES, holds_several, is_cut_picture, png_profile
from vividface_core.video.pixel_formats import canonical, layout, planes, with_planes

_UNREAD = frozenset((".gif", ".heic", ".heif", ".tga", ".psd", ".svg", ".dng", ".cr2", ".nef", ".arw", ".apng"))
"""Of pictures that aren't read in a folder: a sequence would be short of them without a word."""
FOLDER_FPS = Fraction(24)
"""Frame rate of a folder of pictures, which has none of its own."""


def list_images(folder: Path) -> list[Path]:
    """The pictures of a folder in natural order (``2.png`` before ``10.png``); hidden files are left out."""
    return _those(folder, IMAGE_SUFFIXES)


def unread_pictures(folder: Path) -> list[Path]:
    """Pictures of a folder that aren't read as part of a sequence."""
    return _those(folder, _UNREAD)


def _those(folder: Path, suffixes: Collection[str]) -> list[Path]:
    files = [file for file in entries(folder) if file.suffix.lower() in suffixes and file.name[0] != "."]
    return sorted(files, key=_natural_key)


def _natural_key(file: Path) -> list[tuple[int, int, str]]:
    pieces = re.findall(r"\d+|\D+", file.name)
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece.lower()) for piece in pieces]


@dataclass(frozen=True)
class Decoded:
    """One picture.

    Attributes:
        native: in a planar format.
        color: what its samples mean.
        mirrored, rotation: what brings it upright, see :class:`~vividface_core.video.frame.Frame`.
        remarks: what is lost in reading it.
        unwritten: see :class:`~vividface_core.video.info.VideoInfo`.
    """

    native: av.VideoFrame
    color: ColorInfo
    codec: str
    mirrored: bool
    rotation: int
    remarks: tuple[str, ...] = ()
    unwritten: tuple[str, ...] = ()


def decode_image(path: Path) -> Decoded:
    """Decode one picture.

    Raises:
        UnreadableVideo: no picture, or one that can't be decoded.
    """
    try:
        if not path.is_file():
            raise ValueError("it is no ordinary file")
        # An open file rather than a name: the content decides the format, and a % in the name is no pattern.
        with path.open("rb") as file, open_stream(file) as container:
            decoded = next(container.decode(video=0), None)
            codec = container.streams.video[0].codec_context.name
        data = path.read_bytes()
    except (av.FFmpegError, OSError, IndexError, ValueError) as error:
        reason = "it is cut off" if _is_cut(path) else getattr(error, "strerror", None) or str(error)
        raise UnreadableVideo(f"{path} can't be read as a picture ({reason}). Check the file.") from error
    if decoded is None:
        raise UnreadableVideo(f"{path} holds no picture that can be decoded. Check the file.")
    planar, remarks = canonical(decoded), []
    if planar is None:
        planar = decoded.reformat(format="gbrp16le")
        remarks.append(f"{path.name} holds floating-point samples; 16 bits hold what is between 0 and 1 of them.")
    mirrored, rotation = exif_orientation(data)
    if not mirrored and not rotation:
        rotation = round(decoded.rotation / 90) * 90 % 360
    planar = _without_idle_alpha(planar, decoded.format.name)
    if is_cut_picture(data):
        remarks.append(f"{path.name} is cut off; what is missing of the picture is filled.")
    elif decoded.is_corrupt:
        remarks.append(f"{path.name} is damaged and only partly decoded.")
    profile = png_profile(data)
    unwritten = unwritten_of({"ICC_PROFILE": profile} if profile else side_data_of(decoded, codec))
    return Decoded(planar, color_of(decoded, codec), codec, mirrored, rotation, tuple(remarks), unwritten)


def _is_cut(path: Path) -> bool:
    try:
        return path.is_file() and is_cut_picture(path.read_bytes())
    except (OSError, struct.error):
        return False


def _without_idle_alpha(frame: av.VideoFrame, decoded_format: str) -> av.VideoFrame:
    # A palette and the four inks of print are unpacked with an alpha plane whether or not anything is transparent.
    if frame.format.name != "gbrap" or decoded_format not in ("pal8", "gbrap") or planes(frame)[3].min() < 255:
        return frame
    return with_planes(frame, "gbrp", planes(frame)[:3])


class ImageSequence:
    """One picture, or the pictures of a folder, in order."""

    def __init__(self, path: Path) -> None:
        self.files = list_images(path) if path.is_dir() else [path]
        if not self.files:
            kinds = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
            raise UnreadableVideo(
                f"The folder {path} holds no picture ({kinds}). Choose a folder of numbered pictures."
            )
        self._whole = whole = path.is_dir()
        self.warnings: list[str] = []
        first = self._decoded(self.files[0])
        shape = layout(first.native.format.name)
        if whole and (others := unread_pictures(path)):
            named = ", ".join(file.name for file in others[:3]) + (" …" if len(others) > 3 else "")
            self._warn(
                f"{counted(len(others), 'other picture')} of the folder ({named}) of kinds that aren't read here "
                "are left out."
            )
        # A folder's pictures may lie in different ways, so each is brought upright by itself.
        native = _upright(first) if whole else first.native
        matrix = None if whole else matrix_of(first.mirrored, first.rotation, native.width, native.height)
        self.info = VideoInfo(
            path=path,
            width=native.width,
            height=native.height,
            fps=FOLDER_FPS,
            time_base=1 / FOLDER_FPS,
            frame_count=len(self.files),
            duration=len(self.files) / FOLDER_FPS,
            rotation=rotation_of(matrix),
            bit_depth=shape.depth,
            pix_fmt=native.format.name,
            codec=first.codec,
            has_alpha=shape.alpha,
            color=first.color,
            kind="folder" if whole else "image",
            display_matrix=matrix,
            mirrored=is_mirrored(matrix),
            unwritten=first.unwritten,
            names=tuple(distinct_stems(self.files)) if whole else (),
        )

    def frames(self, start: int, end: int | None) -> Iterator[Frame]:
        """Frames ``start`` to ``end`` (exclusive)."""
        info = self.info
        for index, file in list(enumerate(self.files))[start:end]:
            decoded = self._decoded(file)
            native = _upright(decoded) if info.kind == "folder" else decoded.native
            native = self._fit(native, decoded.color, file)
            yield Frame(index, index, 1, native, info.color, info.rotation, info.mirrored)

    def _decoded(self, file: Path) -> Decoded:
        if self._whole and file.is_file() and holds_several(file):
            raise UnreadableVideo(
                f"{file} holds several pictures (it is an animation, say), which is read by itself, but not in a "
                "folder. Move it away, or split it."
            )
        decoded = decode_image(file)
        for remark in decoded.remarks:
            self._warn(remark)
        return decoded

    def _warn(self, line: str) -> None:
        if line not in self.warnings:
            self.warnings.append(line)

    def _fit(self, native: av.VideoFrame, color: ColorInfo, file: Path) -> av.VideoFrame:
        info = self.info
        if (native.width, native.height) != (info.width, info.height):
            raise UnreadableVideo(
                f"{file} is {native.width}x{native.height}, but {self.files[0].name} is {info.width}x{info.height}; "
                "all pictures of a folder must have one size. Resize it, or move it away."
            )
        same_coding = (color.matrix, color.range) == (info.color.matrix, info.color.range)
        if native.format.name == info.pix_fmt and same_coding:
            return native
        self._warn(f"{file.name} is {native.format.name}; read as {info.pix_fmt} like the first picture.")
        return convert(native, color, info.pix_fmt, info.color)


def _upright(picture: Decoded) -> av.VideoFrame:
    """The samples of a picture, brought upright; without a loss, but for chroma of half width that is turned."""
    native = picture.native
    shape = layout(native.format.name)
    if picture.rotation % 180 and shape.log2_w != shape.log2_h:
        depth = "" if shape.depth == 8 else f"{shape.depth}le"
        native = convert(native, picture.color, f"yuv{'a' * shape.alpha}444p{depth}", picture.color)
    if not picture.mirrored and not picture.rotation:
        return native
    turned = [upright(plane, picture.mirrored, picture.rotation, np.flip, np.rot90) for plane in planes(native)]
    return with_planes(native, native.format.name, turned)
