"""A clip as a small file: H.264, 4:4:4, 10 bits, near to lossless.

At 512 × 512 it is 51 dB away from the crop it was made of and about 10 kB a frame: as near as 8-bit lossless YUV, at a
seventh of its size. Chroma isn't subsampled, since a crop that was made smaller has more of it than its source's
4:2:0, and every library that reads H.264 through ffmpeg reads it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
from torch import Tensor

from vividface_core.errors import UnwritableVideo
from vividface_core.video.colorspace import from_rgb
from vividface_core.video.info import ColorInfo, VideoInfo
from vividface_core.video.pixel_formats import layout, with_planes
from vividface_core.video.writer import flush_to_disk, set_color_tags, unwritable
from vividface_core.video.x264 import deterministic_x264_params

ENCODING = 1
"""Of how clips are encoded; candidates of another one are cut anew."""
FORMAT = "yuv444p10le"
OPTIONS = {"crf": "8", "preset": "medium"}


def write_clip(path: Path, frames: Tensor, times: Iterable[int], info: VideoInfo) -> None:
    """Write a file at once or not at all; the same frames give the same bytes, whatever the number of cores.

    Args:
        path: its folder is made.
        frames: ``[T, 3, S, S]`` RGB 0…1.
        times: of each in the source's time base, rising; the clip begins at 0.
        info: of the source: rate, time base and what its colours mean.

    Raises:
        UnwritableVideo: the encoder or the disk refuses.
    """
    partial = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _encode(partial, frames, list(times), info)
        flush_to_disk(partial)
        os.replace(partial, path)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise unwritable(path, error, f"{frames.shape[-1]}x{frames.shape[-2]}, H.264 4:4:4") from error
    finally:
        partial.unlink(missing_ok=True)


def _encode(path: Path, frames: Tensor, times: list[int], info: VideoInfo) -> None:
    color = replace(_color(info.color), siting="left")
    options = {"video_track_timescale": str(info.time_base.denominator)}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        try:
            stream = container.add_stream("libx264", rate=info.fps)
        except av.codec.codec.UnknownCodecError as error:
            raise UnwritableVideo(
                "This installation of PyAV has no encoder libx264; install the wheel from PyPI."
            ) from error
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = frames.shape[-1], frames.shape[-2], FORMAT
        context.time_base, context.framerate = info.time_base, info.fps
        context.thread_count = 1  # the number of threads changes the bytes
        context.options = {**OPTIONS, "x264-params": ":".join(deterministic_x264_params())}
        set_color_tags(context, color)
        for rgb, time in zip(frames, times):
            picture = av.VideoFrame(context.width, context.height, FORMAT)
            picture = with_planes(picture, FORMAT, from_rgb(rgb.cpu(), layout(FORMAT), color))
            picture.pts, picture.time_base = time - times[0], info.time_base
            set_color_tags(picture, color)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _color(source: ColorInfo) -> ColorInfo:
    """The samples are new, so matrix and range are ours; what red, green and blue mean stays the source's."""
    return ColorInfo("bt709", "tv", source.primaries or "bt709", source.transfer or "bt709", True, True)


def rate_text(fps: Fraction) -> str:
    """``30000/1001``; always with both parts."""
    return f"{fps.numerator}/{fps.denominator}"
