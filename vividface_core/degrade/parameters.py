"""What a degradation's values may be: one number, a range to draw from, or a choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vividface_core.errors import InvalidOption


@dataclass(frozen=True)
class Range:
    """Drawn uniformly, both ends included. Equal ends fix it."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g}" if self.low == self.high else f"{self.low:g}..{self.high:g}"

    def plain(self) -> float | list[float]:
        """For JSON."""
        return self.low if self.low == self.high else [self.low, self.high]


@dataclass(frozen=True)
class Choice:
    """One of these choices, each as likely as the others."""

    choices: tuple[str, ...]

    def __str__(self) -> str:
        return ",".join(self.choices)

    def plain(self) -> str | list[str]:
        """For JSON."""
        return self.choices[0] if len(self.choices) == 1 else list(self.choices)


Value = Range | Choice


@dataclass(frozen=True)
class Parameter:
    """What a name stands for: ``choices`` to choose among, or numbers within ``low`` … ``high``."""

    meaning: str
    low: float = 0.0
    high: float = 1.0
    whole: bool = False
    choices: tuple[str, ...] = ()


ENCODERS = ("libx264", "libx265", "mpeg2video", "mpeg4")
PARAMETERS = {
    "sigma": Parameter("standard deviation of the blur, pixels", 0, 50),
    "sigma_y": Parameter("the same across, for the kernel aniso", 0, 50),
    "angle": Parameter("of the kernel aniso, degrees", -180, 180),
    "kernel": Parameter("blur alike in all directions, or not", choices=("iso", "aniso")),
    "kernel_size": Parameter("side of the blur's kernel, pixels; 0: as far as 3 sigma reach", 0, 301, whole=True),
    "scale": Parameter("how many times smaller the picture gets", 1, 32),
    "filter": Parameter("how it gets smaller", choices=("area", "bilinear", "bicubic")),
    "noise": Parameter("standard deviation of the noise, of 255", 0, 255),
    "gray": Parameter("share of the frames whose noise is grey"),
    "pattern": Parameter("new noise in each frame, or the same in all", choices=("fresh", "fixed")),
    "crf": Parameter("constant rate factor of libx264 and libx265", 0, 51, whole=True),
    "encoder": Parameter("encoder", choices=ENCODERS),
    "quantizer": Parameter("of mpeg2video and mpeg4, which ignore crf", 1, 31, whole=True),
    "encoder_again": Parameter("encoder of the second time", choices=ENCODERS),
    "crf_again": Parameter("constant rate factor of the second time", 0, 51, whole=True),
    "quantiser_again": Parameter("quantizer of the second time", 1, 31, whole=True),
    "codec": Parameter("encoder", choices=("libx264", "mpeg4", "none")),
    "bitrate": Parameter("kbit a frame for mpeg4, which ignores crf", 1, 1_000_000, whole=True),
    "rate": Parameter("frames a second that the encoder is told", 1, 240, whole=True),
    "probability": Parameter("share of the frames that flicker"),
    "gain": Parameter("what a flickering frame's brightness is multiplied by", 0, 10),
    "shift": Parameter("largest displacement of a point, pixels", 0, 64),
    "cell": Parameter("distance of the points that are displaced, pixels", 4, 1024, whole=True),
    "sharpness": Parameter("largest share of fine detail that is added or taken", 0, 4),
    "fields": Parameter(
        "each line averaged with its neighbours; every other line interpolated; or taken from the frame before",
        choices=("blend", "drop", "weave"),
    ),
    "cutoff": Parameter("where edges begin to ring, of the highest frequency; 1: nowhere", 0.05, 1),
    "sharpening": Parameter("share of the detail that is added once more", 0, 8),
    "grain": Parameter("standard deviation of the grain in mid-grey, of 255", 0, 255),
    "grain_size": Parameter("blur of the grain, standard deviation in pixels", 0, 16),
    "texture": Parameter("standard deviation of the fine texture, of 255", 0, 255),
}


def parse(name: str, given: Any) -> Value:
    """A value as people write it: ``23``, ``"23"``, ``"2..6"``, ``(2, 6)``, ``"area,bicubic"``.

    Raises:
        InvalidOption: no such value for this name.
    """
    parameter = PARAMETERS[name]
    if parameter.choices:
        return _choices(name, parameter, given)
    low, high = _ends(name, given)
    for end in (low, high):
        if not parameter.low <= end <= parameter.high:
            raise InvalidOption(f"{name} is {end:g}; it goes from {parameter.low:g} to {parameter.high:g}.")
        if parameter.whole and end != int(end):
            raise InvalidOption(f"{name} is {end:g}; it takes whole numbers.")
    if low > high:
        raise InvalidOption(f"{name} is {low:g}..{high:g}; write the smaller number first.")
    return Range(int(low), int(high)) if parameter.whole else Range(low, high)


def _choices(name: str, parameter: Parameter, given: Any) -> Choice:
    if isinstance(given, Choice):
        given = given.choices
    choices = given.split(",") if isinstance(given, str) else given
    choices = tuple(str(word).strip() for word in choices) if isinstance(choices, Sequence) else (str(choices),)
    unknown = [word for word in choices if word not in parameter.choices]
    if unknown or not choices:
        raise InvalidOption(f"{name} is {','.join(choices)!r}; choose of {', '.join(parameter.choices)}.")
    return Choice(choices)


def _ends(name: str, given: Any) -> tuple[float, float]:
    if isinstance(given, Range):
        given = (given.low, given.high)
    parts = given.split("..") if isinstance(given, str) else given if isinstance(given, Sequence) else (given,)
    try:
        ends = [float(part) for part in parts]
    except (TypeError, ValueError):
        ends = []
    if len(ends) not in (1, 2) or not all(np.isfinite(end) for end in ends):
        raise InvalidOption(f"{name} is {given!r}; write a number, as 3, or a range, as 2..6.")
    return ends[0], ends[-1]


def parse_settings(lines: Sequence[str]) -> dict[str, str]:
    """``name=value`` texts as a dictionary.

    Raises:
        InvalidOption: one without ``=``, or a name twice.
    """
    settings: dict[str, str] = {}
    for line in lines:
        name, equals, value = (part.strip() for part in line.partition("="))
        if not (name and equals and value):
            raise InvalidOption(f"{line!r} sets nothing; write NAME=VALUE, as sigma=2..6 or crf=23.")
        if name in settings:
            raise InvalidOption(f"{name} is set twice; leave one out.")
        settings[name] = value
    return settings


def sample(values: Mapping[str, Value], rng: np.random.Generator) -> dict[str, float | int | str]:
    """One value a name, in their order. A fixed number takes as much of ``rng`` as a range, so that fixing one
    leaves the others as they were."""
    return {name: _sampled(value, PARAMETERS[name].whole, rng) for name, value in values.items()}


def _sampled(value: Value, whole: bool, rng: np.random.Generator) -> float | int | str:
    if isinstance(value, Choice):
        return value.choices[int(rng.integers(max(2, len(value.choices)))) % len(value.choices)]
    if whole:
        count = int(value.high) - int(value.low) + 1
        return int(value.low) + int(rng.integers(max(2, count))) % count
    return float(rng.uniform(value.low, value.high))
