"""A look at a VIDEO before all of it is restored."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from comfy_api.latest import InputImpl, io, ui

from vividface_core.errors import InvalidOption
from vividface_core.pipeline.options import Resources, RestoreOptions
from vividface_core.pipeline.preview import make_preview
from vividface_core.pipeline.preview_sheet import draw_preview
from vividface_core.restorers.base import Restorer
from vividface_core.video.proxy import write_proxy
from vividface_core.video.source import VideoFrames

from .images import image_of
from .progress import NodeCallbacks
from .restore_run import SUFFIXES
from .temp_files import TempFile
from .video import source_of


def preview_input() -> io.Input:
    """Whether only a part is restored; appended, as older prompts lack it."""
    return io.Boolean.Input(
        "preview",
        default=False,
        optional=True,
        tooltip="Restores a second of the video, and its smallest, largest and most turned face, and the report tells "
        "time, memory and faces of the whole run. Switch it off for that run.",
    )


def refuse_with_preview(**connected: Any) -> None:
    """
    Raises:
        InvalidOption: something that speaks of all frames is connected.
    """
    if named := [name for name, value in connected.items() if value is not None]:
        raise InvalidOption(
            f"preview looks at a part of the video, {', '.join(named)} belongs to all of it: disconnect."
        )


def run_preview(
    video: Any, engine: Restorer, options: RestoreOptions, callbacks: NodeCallbacks, resources: Resources, cls: Any
) -> io.NodeOutput:
    """The restored second, what the whole takes, and that second of the source; the sheet is shown in the node.

    Raises:
        InvalidOption: people are chosen by number.
    """
    if options.named_people:
        raise InvalidOption(
            "People are numbered over the whole video, of which preview sees a part: empty people and "
            "person_strengths, or switch preview off."
        )
    before, after, both = TempFile(".mp4"), TempFile(SUFFIXES[options.preset]), TempFile(".mp4")

    def keep(passage: VideoFrames, restored: Path) -> None:
        write_proxy(passage, Path(before), lambda *_: None)
        shutil.copyfile(restored, after)

    with source_of(video) as source:
        preview = make_preview(
            source,
            engine,
            replace(options, scale=1.0),
            Path(both),
            resources=resources,
            callbacks=callbacks,
            keep=keep,
        )
    sheet = draw_preview(preview, "preview")
    shown = image_of(sheet)
    report = "\n".join(["A preview; switch it off for the whole video.", *preview.estimate.lines()])
    videos = (InputImpl.VideoFromFile(after), InputImpl.VideoFromFile(before))
    return io.NodeOutput(videos[0], report, videos[1], ui=ui.PreviewImage(shown, cls=cls))
