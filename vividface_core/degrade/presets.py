"""Degradations as data: steps in their order, and from where their values are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vividface_core.degrade.degradation import FORMULA, DegradationRanges
from vividface_core.degrade.parameters import PARAMETERS, Value, parse, sample
from vividface_core.degrade.sampled import SampledDegradation
from vividface_core.degrade.steps import STEPS
from vividface_core.errors import InvalidOption


@dataclass(frozen=True)
class Preset:
    """A degradation before anything is drawn.

    Attributes:
        summary: what it is, in a line.
        steps: names out of :data:`~vividface_core.degrade.steps.STEPS`.
        values: of every parameter that its steps read, in the order of drawing.
        each_frame: parameters that are drawn for each frame, not once for the clip.
        notes: where it comes from, and what was decided.
    """

    name: str
    summary: str
    steps: tuple[str, ...]
    values: Mapping[str, Value]
    each_frame: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    def with_values(self, changes: Mapping[str, Any] | None) -> Preset:
        """With other values: a number fixes one, a pair or ``"2..6"`` is a range, words choose.

        Raises:
            InvalidOption: this preset has no such parameter, or it can't be so.
        """
        values = dict(self.values)
        for name, given in (changes or {}).items():
            if name not in values:
                raise InvalidOption(f"The preset {self.name} has no {name!r}; it has {', '.join(values)}.")
            values[name] = parse(name, given)
        return replace(self, values=values)

    def sample(self, seed: int) -> SampledDegradation:
        """One clip's values; the same seed gives the same ones on every machine.

        Raises:
            InvalidOption: a negative seed.
        """
        if seed < 0:
            raise InvalidOption(f"The seed is {seed}; give 0 or more.")
        once = {name: value for name, value in self.values.items() if name not in self.each_frame}
        drawn = sample(once, np.random.default_rng(seed))
        values = {name: drawn.get(name, value) for name, value in self.values.items()}
        return SampledDegradation(self.name, self.steps, seed, values)

    def ranges(self) -> dict[str, Any]:
        """Plain values for a record, which :meth:`with_values` takes back."""
        return {name: value.plain() for name, value in self.values.items()}

    def describe(self) -> str:
        """All that there is to know, in lines."""
        lines = [f"{self.name}: {self.summary}", f"  steps: {' > '.join(self.steps)}"]
        for name, value in self.values.items():
            often = "; each frame" if name in self.each_frame else ""
            lines.append(f"  {name + '=' + str(value):<22} {PARAMETERS[name].meaning}{often}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def _preset(name: str, summary: str, steps: tuple[str, ...], values: dict[str, Any], *notes: str,
            each_frame: tuple[str, ...] = ()) -> Preset:  # fmt: skip
    """The given values are drawn first, then what the steps have besides."""
    given = {key: parse(key, value) for key, value in values.items()}
    others = {key: value for step in steps for key, value in STEPS[step].values.items() if key not in given}
    return Preset(name, summary, steps, {**given, **others}, frozenset(each_frame), notes)


_PAPER = DegradationRanges()
PRESETS = {preset.name: preset for preset in (
    _preset(
        "vividface", "blur, fewer pixels, noise, H.264, as in the VividFace paper", FORMULA,
        {"sigma": _PAPER.sigma, "scale": _PAPER.scale, "noise": _PAPER.noise, "crf": _PAPER.crf},
        "y = [(x * k) down r + n] through H.264: the paper's ranges, both ends of crf included.",
    ),
    _preset(
        "keep", "KEEP's released code: noise before and after the picture gets smaller",
        ("blur", "noise", "shrink", "noise", "codec"),
        {"sigma": (0.1, 10.0), "sigma_y": (0.1, 10.0), "angle": (-180.0, 180.0), "scale": 4.0, "noise": (0.0, 10.0),
         "gray": 0.5, "crf": (18, 24), "kernel": ("iso", "aniso"), "kernel_size": 21,
         "filter": ("area", "bilinear", "bicubic"), "rate": 1},
        "The order is the code's. Noise of a new strength, grey or coloured, is drawn for each frame, both times.",
        "As in the code, crf 25 is never drawn, sides are rounded down, and the encoder is told 1 frame a second.",
        "Its configuration isn't published: the 21-pixel kernel and the even choice of kernels and filters are ours.",
        "Its test set has a stronger blur: sigma=5..10, sigma_y=5..10.",
        each_frame=("noise",),
    ),
    _preset(
        "bfvr_stc", "BFVR-STC's released code: noise that stands still, MPEG-4 at full size",
        ("blur", "shrink", "noise", "enlarge", "codec"),
        {"sigma": (2.0, 5.0), "scale": (2.0, 4.0), "noise": (0.0, 5.0), "crf": (18, 24), "kernel_size": 11,
         "pattern": "fixed", "codec": "mpeg4", "bitrate": 1024, "rate": 1},
        "As in the code, all frames have one noise pattern; pattern=fresh gives each its own.",
        "mpeg4 ignores crf: at 1024 kbit a frame it is near its best quality. codec=libx264 makes crf count.",
        "The code draws sigma, scale and noise with one random number; here they don't depend on each other.",
    ),
    _preset(
        "brightness_flicker", "BFVR-STC's: some frames are darker or brighter, nothing else", ("flicker",),
        {"probability": 0.3, "gain": (0.5, 1.5)},
        "Flickering frames saturate in 8 bits.",
        each_frame=("gain",),
    ),
    _preset(
        "pixel_flicker", "fine structure that changes from frame to frame, as of frames made one by one",
        ("warp", "sharpness", "texture"),
        {"shift": (0.3, 1.0), "sharpness": (0.3, 0.8), "texture": (1.0, 5.0)},
        "Ours: the clips of BFVR-STC came out of an image generator by a recipe that isn't published.",
        "Each frame anew: points are displaced, fine detail is sharpened or softened, and fine texture is laid on.",
    ),
)}  # fmt: skip


def preset_names() -> list[str]:
    """All presets, the default first."""
    return list(PRESETS)


def load_preset(preset: str | Preset, values: Mapping[str, Any] | None = None) -> Preset:
    """A preset by name, with other values where given.

    Raises:
        InvalidOption: there is none of that name; or see :meth:`Preset.with_values`.
    """
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise InvalidOption(f"There is no degradation preset {preset!r}; choose one of {', '.join(PRESETS)}.")
        preset = PRESETS[preset]
    return preset.with_values(values)

