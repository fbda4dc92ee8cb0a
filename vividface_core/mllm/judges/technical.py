"""A judge that measures and understands nothing: for dry runs, tests and rough sorting. It is no multimodal model."""

from __future__ import annotations

import math

from vividface_core.errors import InvalidOption
from vividface_core.mllm.judges.base import Reply, WritingJudge
from vividface_core.mllm.judges.measures import Measures, measure
from vividface_core.mllm.judges.sampling import SampledFrames, Sampling
from vividface_core.mllm.rubric import RUBRIC, Rubric

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


SHARES = {"clarity": _clarity, "stability": _stability, "lighting": _lighting, "artifacts": _artifacts,
          "occlusion": _occlusion}  # fmt: skip
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
    return "\n".join((
        "STEP 1 - Individual Scores:", *lines, "",
        "STEP 2 - Base Score Calculation:", f"Base Score = {' + '.join(map(str, scores))} = {base}/100", "",
        "STEP 3 - Bonus/Penalty Adjustments:",
        *([f"{rule.title}: {rule.points:+d} points (measured)" for rule in rules] or ["None"]),
        f"Total Adjustment: {change:+d} points", "",
        "STEP 4 - Final Results:", f"Final Score = {base} (Base) + {change} (Adjustment) = {final}/100",
        f"Quality Tier: {rubric.tier(final)}", "Critical Issues: None", "Motion Blur Check: not measured",
    ))  # fmt: skip
