"""What the figures of a clip must be for it to be kept, and what is said of those that aren't.

The defaults were set on real clips with faults put into them; ``docs/prefilter.md`` says what they find and what they
drop wrongly, on other clips of other people.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from vividface_core.errors import InvalidOption

if TYPE_CHECKING:  # figures need torch, which a command's help doesn't
    from training.curation.clip_stats import ClipStats


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        figure: name in :class:`ClipStats`.
        limit: name in :class:`Thresholds`; it begins with ``min_`` or ``max_``.
        fault: what a clip is that fails.
        words: what was measured, with places for the value, and the limit's digits.
    """

    figure: str
    limit: str
    fault: str
    words: str
    digits: int

    def fails(self, value: float | None, limit: float | None) -> bool:
        """Whether a value is beyond the limit; not if either is unknown."""
        if value is None or limit is None:
            return False
        return value < limit if self.limit.startswith("min_") else value > limit

    def cause(self, value: float, limit: float) -> str:
        """In plain words, such as ``blurred: sharpness 0.021, at least 0.14``."""
        shown = f"{value:.{self.digits}f}"
        if math.isclose(float(shown), limit):
            shown = f"{value:.4g}"
        return f"{self.fault}: {self.words} {shown}, {'at least' if 'min_' in self.limit else 'at most'} {limit:g}"


CHECKS = (
    Check("face_side", "min_face_side", "small", "face side in pixels", 0),
    Check("seen", "min_seen", "often lost", "share of frames with a face", 2),
    Check("sharpness", "min_sharpness", "blurred", "sharpness", 3),
    Check("noise", "max_noise", "noisy", "noise", 1),
    Check("brightness", "min_brightness", "dark", "brightness", 0),
    Check("brightness", "max_brightness", "bright", "brightness", 0),
    Check("white", "max_white", "bright", "share of white", 2),
    Check("black", "max_black", "dark", "share of black", 2),
    Check("contrast", "min_contrast", "flat", "contrast", 1),
    Check("yaw", "max_yaw", "turned", "yaw in degrees", 0),
    Check("pitch", "max_pitch", "turned", "pitch in degrees", 0),
    Check("roll", "max_roll", "turned", "roll in degrees", 0),
    Check("evenness", "min_evenness", "turned", "nose to eyes", 2),
    Check("mesh", "min_mesh", "unclear", "share of looks with a face mesh", 2),
    Check("covered", "max_covered", "covered", "share of the face", 2),
    Check("outside", "max_outside", "cut off", "share of the face beyond the picture", 2),
    Check("mirrored", "max_mirrored", "cut off", "share of the crop beyond the picture", 2),
    Check("motion", "max_motion", "jumpy", "motion in face sides a frame", 2),
)
"""In the order in which causes are told."""
TRACK_FIGURES = ("face_side", "seen")
"""Figures that are known before a pixel is looked at."""


@dataclass(frozen=True)
class Thresholds:
    """Of the figures of the same names, see :class:`training.curation.clip_stats.ClipStats`; ``None``: not checked.

    Attributes:
        max_distance, max_motion_distance: as far as the two parts of two clips' hashes may be apart that are still
            one moment; see :func:`training.curation.duplicates.distances`.
        mirrored_duplicates: whether a clip and its mirror image are duplicates.
    """

    min_face_side: float | None = 64.0
    min_seen: float | None = 0.8
    min_sharpness: float | None = 0.14
    max_noise: float | None = 3.5
    min_brightness: float | None = 38.0
    max_brightness: float | None = 215.0
    max_white: float | None = 0.07
    max_black: float | None = 0.35
    min_contrast: float | None = 10.0
    max_yaw: float | None = 42.0
    max_pitch: float | None = 35.0
    max_roll: float | None = 45.0
    min_evenness: float | None = 0.4
    min_mesh: float | None = 0.5
    max_covered: float | None = 0.1
    max_outside: float | None = 0.08
    max_mirrored: float | None = 0.3
    max_motion: float | None = 0.3
    max_distance: float = 0.2
    max_motion_distance: float = 0.45
    mirrored_duplicates: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "mirrored_duplicates" or (value is None and "distance" not in field.name):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise InvalidOption(f"The limit {field.name} is {value!r}; it must be a number, 0 or more.")

    def faults(self, figures: ClipStats) -> tuple[str, ...]:
        """Why a clip is dropped, each cause in plain words with its figure and limit; empty: it passes."""
        return self._faults(figures.to_json())

    def track_faults(self, face_side: float, seen: float) -> tuple[str, ...]:
        """Those that a track tells before its pixels are looked at, worded as :meth:`faults` does."""
        return self._faults(dict(zip(TRACK_FIGURES, (face_side, seen))))

    def _faults(self, values: dict[str, Any]) -> tuple[str, ...]:
        checks = [check for check in CHECKS if check.figure in values]
        return tuple(
            check.cause(values[check.figure], getattr(self, check.limit))
            for check in checks
            if check.fails(values[check.figure], getattr(self, check.limit))
        )
