"""Input and output next to each other in one video."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vividface_core.errors import InvalidOption, MissingDependency
from vividface_core.io.file_names import scratch_prefix
from vividface_core.runtime.prefetch import prefetch
from vividface_core.video.frame import Frame, from_tensor
from vividface_core.video.info import ColorInfo, VideoInfo
from vividface_core.video.mux import MuxReport, check_output, mux
from vividface_core.video.presets import load_preset
from vividface_core.video.source import VideoFrames
from vividface_core.video.writer import VideoWriter, part_suffix

_DIVIDER = 4  # pixels
_PRESET = "h264"
SUFFIXES = tuple(suffix for suffix in load_preset(_PRESET).suffixes if suffix)
"""Of the files that :func:`side_by_side` writes."""


def side_by_side(
    left: str | Path | VideoFrames,
    right: str | Path | VideoFrames,
    output: str | Path,
    labels: tuple[str, str] = ("input", "restored"),
    *,
    slower: int = 1,
) -> MuxReport:
    """Write two videos, or parts of them, of one size next to each other, with a thin white line between and a label on
    each.

    Streaming. Times and audio are those of ``left``; the shorter video decides where it ends.

    Args:
        slower: the pictures last so many times as long; then there is no sound.

    Raises:
        InvalidOption: the sizes differ, or the output's suffix is no H.264 container.
        UnreadableVideo, UnwritableVideo: as reader and writer.
        MissingDependency: labels are wanted and Pillow is missing; ``labels=("", "")`` does without.
    """
    output = Path(output)
    first, second = (one if isinstance(one, VideoFrames) else VideoFrames(one) for one in (left, right))
    if first.size != second.size:
        sizes = [f"{width}x{height}" for width, height in (first.size, second.size)]
        raise InvalidOption(
            f"{first.name} is {sizes[0]}, {second.name} is {sizes[1]}; only videos of one size can be put side by side."
        )
    check_output(output, _PRESET)
    info = first.info
    canvas = _canvas_info(info)
    begin = round((info.span[0] if info.span else info.origin) / info.time_base)
    if slower != 1:
        span = info.span and (info.span[0], info.span[0] + slower * (info.span[1] - info.span[0]))
        canvas = replace(canvas, streams=(), fps=canvas.fps / slower, span=span)
    stamps = [_label(text, first.size[1]) for text in labels]
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=scratch_prefix(output)) as folder:
        part = Path(folder) / f"both{part_suffix(_PRESET)}"

        def pairs() -> Iterator[Frame]:
            for one, other in zip_longest(first.read(), second.read()):
                if one is None or other is None:
                    break
                both = _join(_stamped(one.rgb(), stamps[0]), _stamped(other.rgb(), stamps[1]), canvas)
                pts = begin + slower * (one.pts - begin)
                yield from_tensor(both, index=one.index, pts=pts, duration=slower * one.duration)

        with VideoWriter(part, canvas, _PRESET) as writer, closing(prefetch(pairs(), Frame.nbytes)) as frames:
            for frame in frames:
                writer.write(frame)
        # A folder has no sound that could come along.
        kind = info.kind if slower == 1 else "folder"
        return mux([part], replace(canvas, path=info.path, kind=kind), output, _PRESET)


def _canvas_info(info: VideoInfo) -> VideoInfo:
    """H.264 in 4:2:0 wants even sizes: an odd height gets one black line."""
    width, height = info.upright_size
    aspect = info.sample_aspect_ratio
    return replace(
        info,
        width=2 * width + _DIVIDER,
        height=height + height % 2,
        rotation=0,
        mirrored=False,
        display_matrix=None,
        fields=None,
        combed=False,
        hdr=None,
        unwritten=(),
        names=(),
        sample_aspect_ratio=1 / aspect if aspect and info.rotation % 180 else aspect,
        bit_depth=8,
        pix_fmt="gbrp",
        has_alpha=False,
        color=ColorInfo("gbr", "pc"),
    )


def _join(left: Tensor, right: Tensor, canvas: VideoInfo) -> Tensor:
    both = torch.zeros(3, canvas.height, canvas.width)
    height, width = left.shape[1:]
    both[:, :height, :width] = left
    both[:, :height, width : width + _DIVIDER] = 1
    both[:, :height, width + _DIVIDER :] = right
    return both


def _label(text: str, height: int) -> Tensor | None:
    """``[2, h, w]``: brightness and opacity of a label, black on a white plate; ``None`` for an empty one."""
    if not text:
        return None
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise MissingDependency("Labels need Pillow: pip install pillow, or leave the labels empty.") from error
    try:
        font = ImageFont.load_default(size=max(10, height // 24))
    except TypeError:  # Pillow before 10.1 has its small font only
        font = ImageFont.load_default()
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    margin = max(2, (bottom - top) // 3)
    plate = Image.new("L", (round(right - left) + 2 * margin, round(bottom - top) + 2 * margin), 255)
    ImageDraw.Draw(plate).text((margin - left, margin - top), text, fill=0, font=font)
    brightness = torch.from_numpy(np.asarray(plate, dtype=np.float32) / 255)
    return torch.stack((brightness, torch.full_like(brightness, 0.75)))


def _stamped(rgb: Tensor, label: Tensor | None) -> Tensor:
    if label is None:
        return rgb
    height, width = min(label.shape[1], rgb.shape[1]), min(label.shape[2], rgb.shape[2])
    brightness, opacity = label[:, :height, :width]
    corner = rgb[:, :height, :width]
    corner.mul_(1 - opacity).add_(brightness * opacity)
    return rgb
