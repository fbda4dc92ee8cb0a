"""VividFace's engine: restores, degrades and measures face videos, without ComfyUI.

The public API. Names are imported when they are first used, so importing the package takes no time and no torch::

    from vividface_core import RestoreOptions, load_restorer, restore_video

    restorer = load_restorer("vividface-nano")
    result = restore_video("in.mp4", "out.mp4", restorer, RestoreOptions(faces="largest"))

- Restoring: :func:`load_restorer` makes a :class:`Restorer` of a checkpoint's name or path; :func:`restore_video` works
  from file to file, :func:`restore_frames` on tensors; both take :class:`RestoreOptions` and return a :class:`Result`,
  and report to :class:`Callbacks`. :class:`Given` is what is known of the faces beforehand, :class:`Resources` what
  works beside the restorer, :class:`Resuming` what becomes of an interrupted run. :class:`VideoFrames` is a part of a
  video as a source.
- Degrading: :func:`degrade_video` by a preset of the papers, with a seed.
- Measuring: :func:`pair_up` finds clips and their references, :func:`choose` the metrics, :func:`measure` measures.
- Errors: everything that input or environment can cause is a :class:`VividFaceError` with one sentence to show.

What isn't listed here may move or change its name between versions.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vividface_core.degrade.files import degrade_video
    from vividface_core.errors import VividFaceError
    from vividface_core.metrics.measure import measure
    from vividface_core.metrics.pairs import pair_up
    from vividface_core.metrics.registry import choose
    from vividface_core.pipeline.options import Given, Resources, RestoreOptions, Result, Resuming
    from vividface_core.pipeline.restore import restore_frames, restore_video
    from vividface_core.restorers.base import Restorer
    from vividface_core.runtime.callbacks import Callbacks
    from vividface_core.video.source import VideoFrames
    from vividface_core.weights.load import load_restorer

_HOMES = {
    "Callbacks": "runtime.callbacks",
    "Given": "pipeline.options",
    "Resources": "pipeline.options",
    "RestoreOptions": "pipeline.options",
    "Restorer": "restorers.base",
    "Result": "pipeline.options",
    "Resuming": "pipeline.options",
    "VideoFrames": "video.source",
    "VividFaceError": "errors",
    "choose": "metrics.registry",
    "degrade_video": "degrade.files",
    "load_restorer": "weights.load",
    "measure": "metrics.measure",
    "pair_up": "metrics.pairs",
    "restore_frames": "pipeline.restore",
    "restore_video": "pipeline.restore",
}
__all__ = [
    "Callbacks",
    "Given",
    "Resources",
    "RestoreOptions",
    "Restorer",
    "Result",
    "Resuming",
    "VideoFrames",
    "VividFaceError",
    "choose",
    "degrade_video",
    "load_restorer",
    "measure",
    "pair_up",
    "restore_frames",
    "restore_video",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
