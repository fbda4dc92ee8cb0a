"""Node schemas for two generations of ComfyUI: what the older one doesn't know is left out."""

from __future__ import annotations

import inspect
from typing import Any

from comfy_api.latest import io

CATEGORY = "VividFace"
RESTORER = "VIVIDFACE_RESTORER"
TRACKS = "VIVIDFACE_TRACKS"

Restorer = io.Custom(RESTORER)
Tracks = io.Custom(TRACKS)


def schema(**fields: Any) -> io.Schema:
    """An ``io.Schema`` in the pack's category, with those fields that this ComfyUI takes."""
    known = inspect.signature(io.Schema).parameters
    return io.Schema(**{name: value for name, value in {"category": CATEGORY, **fields}.items() if name in known})


def advanced(option: io.Input) -> io.Input:
    """Mark an input as advanced: shown on demand where the frontend can."""
    if hasattr(option, "advanced"):
        option.advanced = True
    else:
        option.extra_dict = {**option.extra_dict, "advanced": True}
    return option
