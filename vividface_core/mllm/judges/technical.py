"""A judge that measures and understands nothing: for dry runs, tests and rough sorting. It is no multimodal model."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from vividface_core.errors import InvalidOption
from vividface_core.luma import BT709
from vividface_core.mllm.judges.base import Reply, WritingJudge
from vividface_core.mllm.judges.sampling import SampledFrames, Sampling
from vividface_core.mllm.rubric import RUBRIC, Rubric

_LAPLACE = ((1.0, -2.0, 1.0), (-2.0, 4.0, -2.0), (1.0, -2.0, 1.0))
"""Difference of two Laplacians: blind to edges and ramps; white noise of deviation σ gives 6σ (Immerkær 1996)."""
FLAT = 0.1
"""Share of the blocks, the smoothest ones, that noise is read from."""

NAME = "technical (measurements, no MLLM)"
CRISP, SOME_BLOCKS = 0.5, 0.15
"""Sharpness of the full score, and blockiness that sharp pictures have by themselves."""
VISIBLE_NOISE, UNEVEN, STILL_EVEN = 2.0, 0.3, 0.05
"""Noise and unsteadiness from which their penalties apply, and unsteadiness that any motion brings."""


class TechnicalJudge(WritingJudge):
    """Answers by the rubric like the others, out of measured figures alone; the same video always gets the same answer.

    It sees no face: clarity is how sharp the picture is, stability how evenly sharp its frames are, lighting exposure
    and contrast, artifacts noise and blocks. Occlusion can't be measured so and gets its full points.

    Raises:
        InvalidOption: the rubric has other dimensions than the paper's.
    """

    def __init__(self, sampling: Sampling | None = None, rubric: Rubric = RUBRIC) -> None:
        super().__init__(sampling or Sampling(), rubric, tries=1)
        unknown = [dimension.key for dimension in rubric.dimensions if dimension.key not in SHARES]
        if unknown:
            raise InvalidOption(
                f"The technical judge can't measure {', '.join(unknown)} of the rubric {rubric.name}; it knows "
                f"{', '.join(SHARES)}."
            )
        self.name = NAME
        self.identity |= {"kind": "technical", "model": None, "measures": 1}

    def ask(self, shown: SampledFrames, complaint: str, number: int) -> Reply:
        if min(shown.pixels.shape[2:]) < 16:
            raise InvalidOption(f"{shown.name} is under 16 pixels high or wide: too small to be measured.")
        measures = measure(shown.pixels)
        return Reply(written(measures, self.rubric), {"measures": measures.to_json()})


def _clarity(m: Measures) -> tuple[float, str]:
    return math.sqrt(min(m.sharpness / CRISP, 1.0)), f"sharpness {m.sharpness:.3f}"


def _stability(m: Measures) -> tuple[float, str]:
    # Where no detail is left, frames are alike but not steady.
    share = (1 - 2 * max(0.0, m.unsteadiness - STILL_EVEN)) * min(1.0, m.sharpness / 0.05)
    return max(0.0, share), f"sharpness varies by {m.unsteadiness:.1%} between frames"


def _lighting(m: Measures) -> tuple[float, str]:
    exposure = max(0.0, 1 - ((m.brightness - 118) / 118) ** 2)
    share = exposure * min(1.0, m.contrast / 40) * max(0.0, 1 - 2 * max(0.0, m.clipped - 0.05))
    return share, f"mean {m.brightness:.0f}, contrast {m.contrast:.0f}, {m.clipped:.1%} clipped"


def _artifacts(m: Measures) -> tuple[float, str]:
    share = math.exp(-m.noise / 6) / (1 + 2 * max(0.0, m.blockiness - SOME_BLOCKS))
    return share, f"noise {m.noise:.2f}, blockiness {m.blockiness:.3f}"


def _occlusion(m: Measures) -> tuple[float, str]:
    return 1.0, "not measured"


SHARES = {
    "clarity": _clarity,
    "stability": _stability,
    "lighting": _lighting,
    "artifacts": _artifacts,
    "occlusion": _occlusion,
}
"""By dimension: the share of its points, 0…1, and the figures behind it."""


def written(measures: Measures, rubric: Rubric) -> str:
    """The answer in the rubric's own form."""
    scores, lines = [], []
    for dimension in rubric.dimensions:
        share, why = SHARES[dimension.key](measures)
        scores.append(round(share * dimension.points))
        lines.append(f"{dimension.label}: {scores[-1]}/{dimension.points} ({why})")
    found = {"noise": measures.noise > VISIBLE_NOISE, "sharpness": measures.unsteadiness > UNEVEN}
    rules = [rule for rule in rubric.rules if found.get(rule.key)]
    base, change = sum(scores), sum(rule.points for rule in rules)
    final = min(max(base + change, 0), 100)
    return "\n".join(
        (
            "STEP 1 - Individual Scores:",
            *lines,
            "",
            "STEP 2 - Base Score Calculation:",
            f"Base Score = {' + '.join(map(str, scores))} = {base}/100",
            "",
            "STEP 3 - Bonus/Penalty Adjustments:",
            *([f"{rule.title}: {rule.points:+d} points (measured)" for rule in rules] or ["None"]),
            f"Total Adjustment: {change:+d} points",
            "",
            "STEP 4 - Final Results:",
            f"Final Score = {base} (Base) + {change} (Adjustment) = {final}/100",
            f"Quality Tier: {rubric.tier(final)}",
            "Critical Issues: None",
            "Motion Blur Check: not measured",
        )
    )


@dataclass(frozen=True)
class Measures:
    """Means over the frames.

    Attributes:
        sharpness: share of the detail that a slight blur takes away, 0…1, noise discounted.
        noise: standard deviation of what is noise, in units of luma.
        blockiness: how much larger steps are on the 8×8 grid than beside it; 0: no larger.
        brightness, contrast: mean and standard deviation of luma, the latter without the noise.
        clipped: share of pixels that are black or white.
        unsteadiness: how unevenly sharp the frames are: standard deviation of sharpness over its mean (0.1 at least).
    """

    sharpness: float
    noise: float
    blockiness: float
    brightness: float
    contrast: float
    clipped: float
    unsteadiness: float

    def to_json(self) -> dict[str, float]:
        """Rounded, for a record."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def measure(pixels: Tensor) -> Measures:
    """Figures of ``[T, 3, H, W]`` uint8, sides of 16 or more."""
    rows = [_frame(sum(share * channel.float() for share, channel in zip(BT709, frame))) for frame in pixels]
    sharpness, noise, blockiness, brightness, contrast, clipped = torch.tensor(rows).T
    mean = sharpness.mean().item()
    spread = sharpness.std().item() / max(mean, 0.1) if len(rows) > 1 else 0.0
    return Measures(
        mean,
        noise.mean().item(),
        blockiness.mean().item(),
        brightness.mean().item(),
        contrast.mean().item(),
        clipped.mean().item(),
        spread,
    )


def _frame(luma: Tensor) -> tuple[float, ...]:
    noise = _noise(luma)
    contrast = math.sqrt(max(0.0, luma.var().item() - noise * noise))
    clipped = ((luma < 4) | (luma > 251)).float().mean().item()
    return _sharpness(luma, noise), noise, _blockiness(luma), luma.mean().item(), contrast, clipped


def _noise(luma: Tensor) -> float:
    """σ = √(π/2)/6 · mean |response|, over the smoothest blocks."""
    kernel = torch.tensor(_LAPLACE)[None, None]
    response = torch.nn.functional.conv2d(luma[None, None], kernel).abs()
    blocks = torch.nn.functional.avg_pool2d(response, min(16, *response.shape[2:])).flatten()
    smoothest = blocks.sort().values[: max(1, int(FLAT * len(blocks)))]
    return math.sqrt(math.pi / 2) / 6 * smoothest.mean().item()


def _sharpness(luma: Tensor, noise: float) -> float:
    """(energy of gradients − that after a 3×3 binomial blur − noise) / (energy of gradients).

    Of white noise of variance σ² the difference would be 0.88σ²: σ² before (σ²/2 along each axis) and 0.12σ² after.
    Twice that is taken off, as the noise is read where there is least of it.
    """
    weights = torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel = (weights[:, None] * weights[None])[None, None]
    smooth = torch.nn.functional.conv2d(luma[None, None], kernel)[0, 0]
    fine = _gradient_energy(luma[1:-1, 1:-1])
    coarse = _gradient_energy(smooth)
    return max(0.0, fine - coarse - 1.76 * noise * noise) / max(fine, 1e-6)


def _gradient_energy(luma: Tensor) -> float:
    across = (luma[1:-1, 2:] - luma[1:-1, :-2]) / 2
    down = (luma[2:, 1:-1] - luma[:-2, 1:-1]) / 2
    return (across.square() + down.square()).mean().item()


def _blockiness(luma: Tensor) -> float:
    shares = []
    for picture in (luma, luma.T):
        steps = (picture[:, 1:] - picture[:, :-1]).abs().mean(0)
        on = torch.arange(1, len(steps) + 1) % 8 == 0
        beside = steps[~on].mean().item()
        if on.any():
            shares.append(steps[on].mean().item() / max(beside, 0.1) - 1)
    return max(0.0, sum(shares) / len(shares)) if shares else 0.0
