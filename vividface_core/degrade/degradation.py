"""The papers' degradation: y = [(x ⊛ k_σ) ↓_r + n_δ] through libx264 at a constant rate factor.

One parameter set a clip, a fresh noise realisation a frame, and back to the input's size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from vividface_core.degrade.parameters import Range, sample
from vividface_core.degrade.sampled import SampledDegradation
from vividface_core.degrade.steps import STEPS

FORMULA = ("blur", "downscale", "noise", "codec")
"""Its steps."""
Ends = tuple[float, float]


@dataclass(frozen=True)
class DegradationRanges:
    """From where the parameters of a clip are drawn, uniformly. A pair of equal numbers fixes a value.

    The defaults are the ranges of the VividFace paper: blur σ 0.1–10 px, down-scaling r 1–4, noise δ 0–10 of 255,
    constant rate factor 18–25 (both ends included).
    """

    sigma: Ends = (0.1, 10.0)
    scale: Ends = (1.0, 4.0)
    noise: Ends = (0.0, 10.0)
    crf: tuple[int, int] = (18, 25)

    def sample(self, seed: int) -> Degradation:
        """Draw one parameter set; the same seed gives the same set on every machine."""
        values = {name: Range(*ends) for name, ends in asdict(self).items()}
        drawn: dict[str, Any] = {**sample(values, np.random.default_rng(seed))}
        return Degradation(**drawn, seed=seed)


@dataclass(frozen=True)
class Degradation:
    """Parameters of one clip. ``sigma`` in pixels, ``scale`` ≥ 1, ``noise`` in 1/255, libx264's ``crf`` or none."""

    sigma: float
    scale: float
    noise: float
    crf: int | None
    seed: int = 0

    def as_dict(self) -> dict[str, float | int | None]:
        """The parameters as plain values, for a record."""
        return asdict(self)

    def drawn(self) -> SampledDegradation:
        """The same as steps."""
        values: dict[str, Any] = {name: value.plain() for step in FORMULA for name, value in STEPS[step].values.items()}
        values |= {"sigma": self.sigma, "scale": self.scale, "noise": self.noise}
        values |= {"codec": "none"} if self.crf is None else {"crf": self.crf}
        return SampledDegradation("vividface", FORMULA, self.seed, values)

    def __call__(self, clip: Tensor) -> Tensor:
        """Degrade ``[T, 3, H, W]``; the result has the same shape, 0…1."""
        return self.drawn()(clip)

    def stream(self, frames: Iterable[Tensor]) -> Iterator[Tensor]:
        """The same for frames ``[3, H, W]`` one after the other, in constant memory."""
        return self.drawn().stream(frames)
