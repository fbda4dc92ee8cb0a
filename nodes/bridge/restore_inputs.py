"""From a node's inputs to the engine's restorer, tracks and mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.model_management as management
from torch import Tensor

from vividface_core.errors import InvalidOption
from vividface_core.faces.detect import load_detector
from vividface_core.faces.masks import BlendMask
from vividface_core.faces.parse import load_parser
from vividface_core.faces.track import FaceTrack
from vividface_core.pipeline.options import Resources, RestoreOptions, Result
from vividface_core.pipeline.planning import MEMORY_FRACTION
from vividface_core.pipeline.upscaler import Upscaler
from vividface_core.restorers.base import Restorer
from vividface_core.runtime.wording import counted
from vividface_core.video.source import FrameSource

from .comfy_restorer import ComfyRestorer
from .face_types import ToldFaces, find_tracks
from .managed_restorer import ManagedRestorer
from .paths import face_folders
from .progress import NodeCallbacks

OUTLINES = {"landmark-hull": "an ellipse over the landmarks (landmark-hull)"}


@dataclass(frozen=True)
class FaceTracks:
    """What Face Mask found, as it travels through the graph.

    Attributes:
        size: width and height of the frames that it was found in.
    """

    tracks: tuple[FaceTrack, ...]
    size: tuple[int, int]


def restorer_of(
    managed: ManagedRestorer | None, vae: Any, model: Any, conditioning: Any, options: RestoreOptions
) -> Restorer:
    """The connected restorer, ready to run.

    Raises:
        InvalidOption: none is connected, or two are.
    """
    native = {"vae": vae, "model": model, "conditioning": conditioning}
    connected = [name for name, value in native.items() if value is not None]
    if managed is not None and connected:
        raise InvalidOption(f"Both 'restorer' and {', '.join(connected)} are connected; leave one way out.")
    if managed is not None:
        restorer = managed.restorer
        return managed.ready(options.window or restorer.native_frames, options.size or restorer.native_size)
    if not connected:
        raise InvalidOption("No model is connected: connect Load VividFace Model to 'restorer'.")
    if len(connected) < 3:
        absent = ", ".join(name for name in native if name not in connected)
        raise InvalidOption(f"With ComfyUI's own modules all three are needed; {absent} is missing.")
    return ComfyRestorer(vae, model, conditioning)


def face_models(
    engine: Restorer,
    managed: ManagedRestorer | None,
    options: RestoreOptions,
    tracks: Any,
    upscale: Upscaler | None = None,
) -> Resources:
    """What works beside the restorer: face detector and parser out of ComfyUI's folders, the memory there is, and what
    enlarges frames."""
    device = engine.device if managed is not None else management.get_torch_device()
    looks = tracks is None and not options.whole_frame and options.strongest > 0
    return Resources(
        detector=load_detector(options.detector, device=device, folders=face_folders()) if looks else None,
        parser=load_parser("auto", device=device, folders=face_folders()),
        memory_limit=int(MEMORY_FRACTION * _room(engine, managed, options)),
        upscale=upscale,
    )


def _room(engine: Restorer, managed: ManagedRestorer | None, options: RestoreOptions) -> int:
    """Bytes that a window may fill, with the weights that are needed at once, after ComfyUI has made room for it."""
    if managed is None:
        return management.get_free_memory(management.get_torch_device())
    side = options.size or engine.native_size
    return managed.host.make_room(engine.memory_for(options.window or engine.native_frames, side, side))


def tracks_of(
    given: FaceTracks | None, frames: FrameSource, values: dict[str, Any], options: RestoreOptions, news: NodeCallbacks
) -> tuple[FaceTrack, ...] | None:
    """The faces that other nodes tell, if they do.

    Raises:
        InvalidOption: they were found in other frames, or are told twice.
    """
    told = ToldFaces(*(values.get(name) for name in ("landmarks", "boxes", "person")))
    if given is None:
        if not told or options.strongest == 0:
            return None
        finder = load_detector(options.detector, device=management.get_torch_device(), folders=face_folders())
        return tuple(find_tracks(frames, told, finder, options, news).tracks)
    if told:
        raise InvalidOption("Both 'tracks' and landmarks, boxes or person are connected; leave one way out.")
    if given.size != frames.size:
        sizes = ["×".join(map(str, pair)) for pair in (given.size, frames.size)]
        raise InvalidOption(f"'tracks' were found in frames of {sizes[0]}, these are {sizes[1]}: take the same video.")
    return given.tracks


def blend_mask(mask: Tensor | None, frames: int | None) -> BlendMask | None:
    """The connected MASK."""
    return None if mask is None else BlendMask(mask.reshape(-1, *mask.shape[-2:]), frames)


def report_of(result: Result, callbacks: NodeCallbacks, tracks: FaceTracks | None) -> str:
    """What was done, in a few lines."""
    plan = callbacks.planned
    what = "whole frames" if result.whole_frame else counted(result.tracks, "face track")
    lines = [
        f"{counted(result.frames, 'frame')}, {counted(result.shots, 'shot')}, {what}",
        f"{result.seconds:.1f} seconds",
        f"faces outlined by: {OUTLINES.get(result.mask_source, result.mask_source)}"
        if result.flicker is None
        else str(result.flicker),
    ]
    if result.people:
        lines.append(f"{counted(result.people, 'person', 'people')} over all cuts")
    if tracks is not None:
        lines.append("The connected tracks chose the faces.")
    if plan is not None and plan.window_count:
        lines.append(
            f"{counted(plan.window_count, 'window')} of up to {counted(plan.window, 'frame')} at "
            f"{plan.shape[1]}×{plan.shape[0]}, overlap {plan.overlap}"
        )
    return "\n".join([*lines, *result.notices])
