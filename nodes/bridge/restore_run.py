"""A VIDEO through the engine: from file to file where it has one, else in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy_api.latest import InputImpl, Types

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

from .images import to_frames, to_images
from .paths import temp_path
from .progress import NodeCallbacks
from .video import in_memory, source_of

SUFFIXES = {"h264": ".mp4", "h265": ".mp4", "ffv1": ".mkv"}
"""Of the temporary result, by encoding. The core's Save Video puts each of them into mp4 as it is."""


def run_on_video(
    video: Any,
    engine: Restorer,
    options: RestoreOptions,
    callbacks: NodeCallbacks,
    resources: Resources,
    given: Callable[[tuple[int, int], int | None], Given] = lambda size, frames: Given(),
) -> tuple[Any, Result]:
    """The new VIDEO, and what was done.

    Args:
        given: what is known of the faces beforehand, by width and height and number of frames (``None``: not known).
    """
    if in_memory(video):
        parts = video.get_components()
        frames = to_frames(parts.images)
        if parts.images.shape[-1] == 4:
            callbacks.notice("The frames' transparency is left out: a VIDEO made of frames has none.")
        known = given((frames.shape[3], frames.shape[2]), len(frames))
        restored, result = restore_frames(
            frames, engine, options, callbacks=callbacks, given=known, resources=resources
        )
        made = Types.VideoComponents(images=to_images(restored), audio=parts.audio, frame_rate=parts.frame_rate)
        return InputImpl.VideoFromComponents(made), result
    output = temp_path(SUFFIXES[options.preset])
    with source_of(video) as source:
        result = restore_video(
            source,
            output,
            engine,
            options,
            callbacks=callbacks,
            given=given(source.size, source.count),
            resources=resources,
            resuming=Resuming(keep_unfinished=False),
        )
    return InputImpl.VideoFromFile(str(output)), result
