"""A VIDEO through the engine: from file to file where it has one, else in memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from comfy_api.latest import InputImpl, io

from vividface_core.pipeline.restore import (
    Given,
    Resources,
    RestoreOptions,
    Result,
    Resuming,
    restore_frames,
    restore_video,
)
from vividface_core.restorers.base import Restorer
from vividface_core.video.source import ClipFrames, FrameSource

from .images import to_frames, to_images
from .progress import NodeCallbacks
from .schema import advanced
from .temp_files import TempFile
from .video import bit_depth_of, in_memory, is_opaque, source_of, video_of

SUFFIXES = {"h264": ".mp4", "h265": ".mp4", "ffv1": ".mkv"}
"""Of the temporary result, by encoding. The core's Save Video puts each of them into mp4 as it is."""


def encoding_input() -> io.Input:
    """How the temporary result is encoded."""
    return advanced(
        io.Combo.Input(
            "encoding",
            options=list(SUFFIXES),
            default="h264",
            tooltip="How the result is kept: h264 and h265 look lossless; ffv1 keeps every untouched pixel bit for "
            "bit, in large files.",
        )
    )


def run_on_video(
    video: Any,
    engine: Restorer,
    options: RestoreOptions,
    callbacks: NodeCallbacks,
    resources: Resources,
    given: Callable[[FrameSource], Given] = lambda source: Given(),
    background: Any = None,
) -> tuple[Any, Result]:
    """The new VIDEO, and what was done.

    Args:
        given: what is known of the faces beforehand, by the video's frames.
        background: a VIDEO that the restored faces are put into instead.
    """
    common: dict[str, Any] = {"callbacks": callbacks, "resources": resources}
    enlarges = background is not None or options.scale != 1
    if in_memory(video) and is_opaque(video) and not enlarges:
        parts = video.get_components()
        frames = to_frames(parts.images)
        restored, result = restore_frames(frames, engine, options, given=given(ClipFrames(frames)), **common)
        return video_of(to_images(restored), parts.audio, parts.frame_rate, bit_depth_of(video)), result
    output = TempFile(SUFFIXES[options.preset])
    with source_of(video) as source, nullcontext() if background is None else source_of(background) as below:
        result = restore_video(
            source,
            output,
            engine,
            options,
            given=given(source),
            resuming=Resuming(keep_unfinished=False),
            background=below,
            **common,
        )
    return InputImpl.VideoFromFile(output), result
