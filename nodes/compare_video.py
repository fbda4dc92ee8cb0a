"""Compare Video."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import InputImpl, Types, io

from vividface_core.errors import InvalidOption
from vividface_core.video.proxy import is_playable, write_proxy
from vividface_core.video.source import VideoFrames

from .bridge.paths import view_params
from .bridge.progress import NodeCallbacks
from .bridge.schema import advanced, schema
from .bridge.temp_files import TempFile, keep_shown
from .bridge.video import in_memory, source_of

SAME_SHAPE = 0.03
"""Aspect ratios may differ by this: sides are rounded to even numbers for the page."""


class CompareVideo(io.ComfyNode):
    """Two videos at one place, with a divider to drag."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="VividFaceCompareVideo",
            display_name="Compare Video",
            description="Plays two videos (or image batches) in step in the node: drag the divider, step by frames, "
            "zoom with the wheel. It writes nothing but playable copies into the temp folder.",
            search_aliases=["compare", "before after", "side by side", "slider", "split view", "wipe", "video compare"],
            inputs=[
                io.MultiType.Input("before", [io.Video, io.Image], tooltip="Left of the divider."),
                io.MultiType.Input("after", [io.Video, io.Image], tooltip="Right of the divider."),
                advanced(
                    io.Float.Input(
                        "fps",
                        default=24.0,
                        min=1.0,
                        max=240.0,
                        step=0.01,
                        tooltip="Frames a second of image batches; videos have their own.",
                    )
                ),
            ],
            outputs=[],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, before: Any, after: Any, fps: float) -> io.NodeOutput:
        callbacks = NodeCallbacks(cls.hidden.unique_id)
        files = {name: playable(given, fps, callbacks) for name, given in (("before", before), ("after", after))}
        keep_shown(files.values())
        shown = {name: _told(file) for name, file in files.items()}
        sizes = {name: (one["width"], one["height"]) for name, one in shown.items()}
        a, b = sizes.values()
        if abs(a[0] * b[1] / (a[1] * b[0]) - 1) > SAME_SHAPE:
            raise InvalidOption(
                f"before is {a[0]}×{a[1]}, after is {b[0]}×{b[1]}: the shapes differ, so they can't be "
                "laid over each other."
            )
        return io.NodeOutput(ui={"vividface_compare": [shown]})


def playable(given: Any, fps: float, callbacks: NodeCallbacks) -> str:
    """A file that the page can play and may ask for: the video's own where it is such a one, else a copy."""
    if isinstance(given, torch.Tensor) or in_memory(given):
        parts = (
            given.get_components()
            if not isinstance(given, torch.Tensor)
            else Types.VideoComponents(images=given, audio=None, frame_rate=Fraction(round(fps * 1000), 1000))
        )
        path = TempFile(".mp4")
        # 4:2:0 wants even sides.
        height, width = (side - side % 2 for side in parts.images.shape[1:3])
        even = Types.VideoComponents(
            images=parts.images[:, :height, :width, :3], audio=parts.audio, frame_rate=parts.frame_rate
        )
        InputImpl.VideoFromComponents(even).save_to(path)
        return path
    with source_of(given) as source:
        if source.is_whole and is_playable(source.info) and view_params(source.path) is not None:
            own = given.get_stream_source() if isinstance(given, InputImpl.VideoFromFile) else None
            return own if isinstance(own, TempFile) else str(source.path)
        path = TempFile(".mp4")
        write_proxy(source, Path(path), partial(callbacks.progress, "restore"))
        return path


def _told(path: str) -> dict[str, Any]:
    """Where the page finds a file (``filename``, ``subfolder``, ``type``), with ``fps``, ``frames``, ``width``,
    ``height``."""
    source = VideoFrames(path)
    (width, height), count = source.size, source.count
    if count is None:
        count = sum(1 for _ in source.read())
    return {
        **(view_params(path) or {}),
        "fps": float(source.info.fps),
        "frames": count,
        "width": width,
        "height": height,
    }
