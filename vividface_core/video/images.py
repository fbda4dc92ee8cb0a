"""Single pictures and folders of pictures, read as if they were a video."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av

from vividface_core.errors import UnreadableVideo
from vividface_core.video.color_tags import color_of, display_matrix_of, rotation_of
from vividface_core.video.colorspace import convert
from vividface_core.video.frame import Frame
from vividface_core.video.info import ColorInfo, VideoInfo
from vividface_core.video.pixel_formats import canonical, layout, planes, with_planes

IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".jxl"))
FOLDER_FPS = Fraction(24)
"""Frame rate of a folder of pictures, which has none of its own."""


def list_images(folder: Path) -> list[Path]:
    """The pictures of a folder in natural order (``2.png`` before ``10.png``); hidden files are left out."""
    files = [file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != "."]
    return sorted(files, key=_natural_key)


def _natural_key(file: Path) -> list[tuple[int, int, str]]:
    pieces = re.findall(r"\d+|\D+", file.name)
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece.lower()) for piece in pieces]


def decode_image(path: Path) -> tuple[av.VideoFrame, av.VideoFrame, str]:
    """Decode one picture.

    Returns:
        The frame in a planar format, the frame as decoded, and the codec's name.

    Raises:
        UnreadableVideo: no picture, or one that can't be decoded.
    """
    try:
        # An open file rather than a name: the content decides the format, and a % in the name is no pattern.
        with path.open("rb") as file, av.open(file) as container:
            decoded = next(container.decode(video=0), None)
            codec = container.streams.video[0].codec_context.name
    except (av.FFmpegError, OSError, IndexError, ValueError) as error:
        raise UnreadableVideo(f"{path} can't be read as a picture ({error}). Check the file.") from error
    if decoded is None:
        raise UnreadableVideo(f"{path} holds no picture that can be decoded. Check the file.")
    planar = canonical(decoded)
    if planar is None:
        # Float pictures: 16 bits hold what the engine's 0…1 can show of them.
        planar = decoded.reformat(format="gbrp16le")
    return _without_idle_alpha(planar, decoded.format.name), decoded, codec


def _without_idle_alpha(frame: av.VideoFrame, decoded_format: str) -> av.VideoFrame:
    # A palette is unpacked with an alpha plane whether or not any of its colours is transparent.
    if decoded_format != "pal8" or planes(frame)[3].min() < 255:
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
        first, decoded, codec = decode_image(self.files[0])
        shape, matrix = layout(first.format.name), display_matrix_of(decoded)
        self.warnings: list[str] = []
        self.info = VideoInfo(
            path=path, width=first.width, height=first.height, fps=FOLDER_FPS, time_base=1 / FOLDER_FPS,
            frame_count=len(self.files), duration=len(self.files) / FOLDER_FPS, rotation=rotation_of(matrix),
            bit_depth=shape.depth, pix_fmt=shape.name, codec=codec, has_alpha=shape.alpha,
            color=color_of(decoded, codec), kind="folder" if path.is_dir() else "image", display_matrix=matrix,
        )  # fmt: skip

    def frames(self, start: int, end: int | None) -> Iterator[Frame]:
        """Frames ``start`` to ``end`` (exclusive)."""
        for index, file in list(enumerate(self.files))[start:end]:
            native, decoded, codec = decode_image(file)
            native = self._fit(native, color_of(decoded, codec), file)
            yield Frame(index, index, 1, native, self.info.color, self.info.rotation)

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
        self.warnings.append(f"{file.name} is {native.format.name}; read as {info.pix_fmt} like the first picture.")
        return convert(native, color, info.pix_fmt, info.color)
