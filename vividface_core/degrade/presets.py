"""All degradation presets by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vividface_core.degrade.degradation import FORMULA, DegradationRanges
from vividface_core.degrade.mixture import Mixture
from vividface_core.degrade.preset import Preset, make_preset
from vividface_core.degrade.real_world import REAL_WORLD
from vividface_core.errors import InvalidOption

_PAPER = DegradationRanges()
PRESETS: dict[str, Preset | Mixture] = {
    preset.name: preset
    for preset in (
        make_preset(
            "vividface",
            "blur, fewer pixels, noise, H.264, as in the VividFace paper",
            FORMULA,
            {"sigma": _PAPER.sigma, "scale": _PAPER.scale, "noise": _PAPER.noise, "crf": _PAPER.crf},
            "y = [(x * k) down r + n] through H.264: the paper's ranges, both ends of crf included.",
        ),
        make_preset(
            "keep",
            "KEEP's released code: noise before and after the picture gets smaller",
            ("blur", "noise", "shrink", "noise", "codec"),
            {
                "sigma": (0.1, 10.0),
                "sigma_y": (0.1, 10.0),
                "angle": (-180.0, 180.0),
                "scale": 4.0,
                "noise": (0.0, 10.0),
                "gray": 0.5,
                "crf": (18, 24),
                "kernel": ("iso", "aniso"),
                "kernel_size": 21,
                "filter": ("area", "bilinear", "bicubic"),
                "rate": 1,
            },
            "The order is the code's. Noise of a new strength, grey or coloured, is drawn for each frame, both times.",
            "As in the code, crf 25 is never drawn, sides are rounded down, and the encoder is told 1 frame a second.",
            "Its configuration isn't published: the 21-pixel kernel and even odds of kernels and filters are ours.",
            "Its test set has a stronger blur: sigma=5..10, sigma_y=5..10.",
            each_frame=("noise",),
        ),
        make_preset(
            "bfvr_stc",
            "BFVR-STC's released code: noise that stands still, MPEG-4 at full size",
            ("blur", "shrink", "noise", "enlarge", "codec"),
            {
                "sigma": (2.0, 5.0),
                "scale": (2.0, 4.0),
                "noise": (0.0, 5.0),
                "crf": (18, 24),
                "kernel_size": 11,
                "pattern": "fixed",
                "codec": "mpeg4",
                "bitrate": 1024,
                "rate": 1,
            },
            "As in the code, all frames have one noise pattern; pattern=fresh gives each its own.",
            "mpeg4 ignores crf: at 1024 kbit a frame it is near its best quality. codec=libx264 makes crf count.",
            "The code draws sigma, scale and noise with one random number; here they don't depend on each other.",
        ),
        make_preset(
            "brightness_flicker",
            "BFVR-STC's: some frames are darker or brighter, nothing else",
            ("flicker",),
            {"probability": 0.3, "gain": (0.5, 1.5)},
            "Flickering frames saturate in 8 bits.",
            each_frame=("gain",),
        ),
        make_preset(
            "pixel_flicker",
            "fine structure that changes from frame to frame, as of frames made one by one",
            ("warp", "sharpness", "texture"),
            {"shift": (0.3, 1.0), "sharpness": (0.3, 0.8), "texture": (1.0, 5.0)},
            "Ours: the clips of BFVR-STC came out of an image generator by a recipe that isn't published.",
            "Each frame anew: points are displaced, fine detail is sharpened or softened, and fine texture is laid on.",
        ),
        REAL_WORLD,
    )
}


_PARTS = {part.name: part for mixture in PRESETS.values() if isinstance(mixture, Mixture) for _, part in mixture.parts}


def preset_names() -> list[str]:
    """All presets, the default first."""
    return list(PRESETS)


def load_preset(preset: str | Preset | Mixture, values: Mapping[str, Any] | None = None) -> Preset | Mixture:
    """A preset, or a part of a mixture, by name; with other values where given.

    Raises:
        InvalidOption: there is none of that name; or see :meth:`Preset.with_values`.
    """
    if isinstance(preset, str):
        known = {**PRESETS, **_PARTS}
        if preset not in known:
            raise InvalidOption(f"There is no degradation preset {preset!r}; choose one of {', '.join(PRESETS)}.")
        preset = known[preset]
    return preset.with_values(values)
