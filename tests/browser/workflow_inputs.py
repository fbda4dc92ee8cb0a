"""What the example workflows give their nodes."""

from __future__ import annotations

from typing import Any

from tests.comfyui import prompts
from tests.paths import REPOSITORY
from vividface_core.pipeline.options import RestoreOptions

FOLDER, API_FOLDER = REPOSITORY / "example_workflows", REPOSITORY / "workflows" / "api"
"""Where they lie, for the page and for the API."""
FILE, SHARP, PAINTED = "vividface_example.mp4", "vividface_example_sharp.mp4", "example.png"
"""What they load from the server's input folder: the pack's own clips, and a picture that comes with ComfyUI."""

COMMON = {
    **prompts.RESTORE,
    "identity_guard": RestoreOptions.identity_guard,
    "identity_threshold": RestoreOptions.identity_threshold,
    "keep_size": RestoreOptions.keep_size,
    "people": "",
    "person_strengths": "",
    "occluders": RestoreOptions.occluders,
}
FILM = {"encoding": "h264", "scale": 1.0, "preview": False}
MODEL = {**prompts.MODEL, "weights": "auto", "offload": False, "tile": 0}
VIDEO = {"file": FILE, "start_frame": 0, "frame_count": 0, "stride": 1, "force_rate": 0.0}
MASK = {
    **prompts.MASK,
    "people": "",
    "same_person": RestoreOptions.same_person,
    "occluders": "restore",
}
MEASURED = "psnr, ids-mobile, akd, temporal"
"""A metric each of the picture, the person, the face's movements and time, none of which needs a download."""
DEGRADE = {"preset": "vividface", "seed": 8, "sigma": -1.0, "scale": -1.0, "noise": -1.0, "crf": -1, "overrides": ""}

FLICKER = {
    "kind": "brightness",
    "keep_detail": True,
    "strength": 1.0,
    "window": 0,
    "overlap": -1,
    "size": 0,
    "encoding": "h264",
}


def saved(prefix: str, video: tuple[str, int]) -> dict[str, Any]:
    """Inputs of the core's Save Video."""
    return {"filename_prefix": prefix, "format": "auto", "codec": "auto", "video": video}
