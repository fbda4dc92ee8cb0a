"""What the two degrade nodes ask for alike, and how it becomes the engine's degradation."""

from __future__ import annotations

import json
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from vividface_core.degrade import Mixture, Preset, load_preset, preset_names
from vividface_core.degrade.files import record_of
from vividface_core.degrade.parameters import parse_settings
from vividface_core.errors import InvalidOption, VividFaceError

from .images import to_frames, to_images, with_alpha_of
from .progress import NodeCallbacks
from .schema import advanced

LARGEST_SEED = 0xFFFFFFFFFFFFFFFF
NUMBERS = ("sigma", "scale", "noise", "crf")
PARAMETERS_TIP = "What was drawn, from where, with which seed, as JSON."


def common_inputs() -> list[io.Input]:
    """Inputs in their order for ever: saved workflows keep widget values by position."""
    return [
        io.Combo.Input(
            "preset",
            options=preset_names(),
            default="vividface",
            tooltip="Whose recipe. vividface: blur, fewer pixels, noise, H.264. keep: KEEP's code. "
            "bfvr_stc: BFVR-STC's code. brightness_flicker: some frames darker or brighter. "
            "pixel_flicker: fine structure that changes from frame to frame. "
            "real_world: one of nine, from nothing over the paper's ranges to web compression, grain and "
            "grey footage.",
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=LARGEST_SEED,
            control_after_generate=True,
            tooltip="The same seed draws the same degradation.",
        ),
        advanced(
            io.Float.Input(
                "sigma",
                default=-1.0,
                min=-1.0,
                max=50.0,
                step=0.1,
                tooltip="Blur, standard deviation in pixels; -1: as the preset draws it.",
            )
        ),
        advanced(
            io.Float.Input(
                "scale",
                default=-1.0,
                min=-1.0,
                max=32.0,
                step=0.1,
                tooltip="How many times smaller the picture gets before it is enlarged again; -1: as "
                "the preset draws it.",
            )
        ),
        advanced(
            io.Float.Input(
                "noise",
                default=-1.0,
                min=-1.0,
                max=255.0,
                step=0.5,
                tooltip="Standard deviation of the noise, of 255; -1: as the preset draws it.",
            )
        ),
        advanced(
            io.Int.Input(
                "crf",
                default=-1,
                min=-1,
                max=51,
                tooltip="Constant rate factor of the preset's H.264, more is worse; -1: as the preset draws it.",
            )
        ),
        advanced(
            io.String.Input(
                "overrides",
                default="",
                multiline=True,
                tooltip="Any other value of the preset, one a line: NAME=VALUE, a range as "
                "sigma=2..6, or choices as filter=area,bicubic.",
            )
        ),
    ]


def preset_of(preset: str, overrides: str | None, **numbers: float | None) -> Preset | Mixture:
    """The engine's preset with what the widgets change. ``None`` stands for what another node tells.

    Raises:
        InvalidOption: the preset has no such value, or it is set twice.
    """
    changes: dict[str, Any] = {name: value for name, value in numbers.items() if value is not None and value >= 0}
    written = _written(overrides)
    twice = sorted(set(changes) & set(written))
    if twice:
        raise InvalidOption(f"{twice[0]} is set by its widget and in 'overrides'; set one of them back.")
    return load_preset(preset, {**changes, **written})


def check_overrides(overrides: str | None) -> bool | str:
    """What can be known before running: True, or a sentence. Whether the preset has such values is said as it runs."""
    try:
        _written(overrides)
    except VividFaceError as error:
        return str(error)
    return True


def _written(overrides: str | None) -> dict[str, Any]:
    return parse_settings([line for line in (overrides or "").splitlines() if line.strip()])


def degrade_images(images: Tensor, preset: Preset | Mixture, seed: int, callbacks: NodeCallbacks) -> tuple[Tensor, str]:
    """The degraded IMAGE batch, and the record as JSON."""
    drawn = preset.sample(seed)
    for line in drawn.notices:
        callbacks.notice(line)
    frames = to_frames(images).float()
    degraded = drawn(frames, lambda done, total: callbacks.progress("degrade", done, total))
    return with_alpha_of(to_images(degraded), images), to_json(record_of(preset, drawn, frames=len(frames)))


def to_json(record: dict[str, Any]) -> str:
    """For the output ``parameters``."""
    return json.dumps(record, indent=1, ensure_ascii=False)
