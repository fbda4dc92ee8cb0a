"""What the two de-flickering nodes ask for alike, and how it becomes the engine's options."""

from __future__ import annotations

from typing import Any

import comfy.model_management as management
from comfy_api.latest import io

from vividface_core.pipeline.deflicker import deflicker_options
from vividface_core.pipeline.options import FLICKERS, RestoreOptions
from vividface_core.weights import DEFLICKERERS

from .managed_restorer import ManagedRestorer, load_managed
from .restore_widgets import overlap_input
from .schema import Restorer, advanced


def common_inputs() -> list[io.Input]:
    """Inputs in their order for ever: saved workflows keep widget values by position."""
    return [
        io.Combo.Input(
            "kind",
            options=list(FLICKERS),
            default=FLICKERS[0],
            tooltip="brightness: frames, or parts of them, are darker or brighter than those around them, as of old "
            "film, projectors and lamps. pixel: colours and fine structure change from frame to frame, as in pictures "
            "of image generators.",
        ),
        io.Boolean.Input(
            "keep_detail",
            default=True,
            tooltip="Take only the change of brightness or colour from the model, and the detail from the source. Off: "
            "the model's own picture, at the model's size.",
        ),
        io.Float.Input(
            "strength",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="0 keeps the source, 1 takes all flicker away.",
        ),
        advanced(
            io.Int.Input(
                "window",
                default=0,
                min=0,
                max=1000,
                tooltip="Frames looked at together, an even number; 0: as many as the model was trained on and memory "
                "allows.",
            )
        ),
        overlap_input(),
        advanced(
            io.Int.Input(
                "size",
                default=0,
                min=0,
                max=4096,
                tooltip="Side of what the model sees, a multiple of 8; 0: the model's. The result has the source's "
                "size in any case.",
            )
        ),
    ]


def restorer_input() -> io.Input:
    """The model: optional, since there is one for each kind."""
    return Restorer.Input(
        "restorer",
        optional=True,
        tooltip="From Load VividFace Model: a de-flickering model of BFVR-STC. Not connected: the pack's own for the "
        "kind.",
    )


def options_of(values: dict[str, Any], preset: str = "h264") -> RestoreOptions:
    """The engine's options.

    Raises:
        InvalidOption: values that don't go together.
    """
    return deflicker_options(
        values["kind"],
        values["keep_detail"],
        preset=preset,
        strength=values["strength"],
        window=values["window"] or None,
        overlap=None if values["overlap"] < 0 else values["overlap"],
        size=values["size"] or None,
    )


def model_of(connected: ManagedRestorer | None, kind: str) -> ManagedRestorer:
    """The connected model, or the one for the kind.

    Raises:
        MissingWeights: that one isn't here; tells how to fetch it.
    """
    if connected is not None:
        return connected
    return load_managed(DEFLICKERERS[kind], management.get_torch_device(), management.unet_offload_device(), None, {})
