"""Copies of videos that any browser plays."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vividface_core.io.file_names import scratch_prefix
from vividface_core.video.info import VideoInfo
from vividface_core.video.mux import mux
from vividface_core.video.pixel_formats import layout
from vividface_core.video.presets import part_suffix
from vividface_core.video.source import VideoFrames
from vividface_core.video.writer import VideoWriter

_CODECS = {"h264": (".mp4", ".m4v", ".mov"), "vp8": (".webm",), "vp9": (".webm", ".mp4"), "av1": (".webm", ".mp4")}
_PRESET = "h264"


def is_playable(info: VideoInfo) -> bool:
    """Whether browsers play the file as it is."""
    return info.path.suffix.lower() in _CODECS.get(info.codec, ()) and info.pix_fmt in ("yuv420p", "yuvj420p")


def write_proxy(source: VideoFrames, output: Path, report: Callable[[int, int | None], None]) -> Path:
    """Write ``source`` as H.264 with 8 bits and 4:2:0 in mp4, with its sound and times; streaming.

    An odd side leaves no 4:2:0: then the chroma stays finer, which not every browser plays.

    Args:
        report: ``report(done, total)`` frames; may raise to stop.

    Raises:
        UnreadableVideo, UnwritableVideo: as reader and writer.
    """
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=scratch_prefix(output)) as folder:
        part = Path(folder) / f"part{part_suffix(_PRESET)}"
        # The writer itself makes 4:2:0 of RGB, whose matrix no YUV has.
        kind = "gbrp" if layout(source.file.pix_fmt).family == "rgb" else "yuv420p"
        plain = replace(source.info, pix_fmt=kind, bit_depth=8, has_alpha=False)
        with VideoWriter(part, plain, _PRESET) as writer:
            for frame in source.read():
                writer.write(frame)
                report(frame.index + 1, source.count)
        mux([part], source.info, output, _PRESET)
    return output
