"""What a judge is asked: the rubric in sentences, and the shape of the answer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import lru_cache
from typing import Any, Literal

from vividface_core.mllm.paper_rubric import RUBRIC
from vividface_core.mllm.rubric_schema import TOTAL, Rubric

Form = Literal["text", "json"]


def render_prompt(rubric: Rubric = RUBRIC, form: Form = "text") -> str:
    """The whole instruction that goes with a video.

    Args:
        form: ``json`` asks for an object that fits :func:`answer_schema` instead of the four steps as lines.
    """
    parts = [
        f"You inspect face videos. Your task: {rubric.purpose}. Grade this video strictly by the criteria below.",
        _criteria(rubric),
        _regions(rubric),
        _rules(rubric),
        _tiers(rubric),
        _steps(rubric),
        _lines(rubric) if form == "text" else _object(rubric),
        "# How to grade\n" + "\n".join(f"- {note}" for note in rubric.notes) if rubric.notes else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


@lru_cache
def rubric_version(rubric: Rubric) -> str:
    """Name and digest of the content and of the prompt made of it: any edit to what a judge is asked changes it."""
    content = json.dumps(asdict(rubric), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return f"{rubric.name}@{hashlib.sha256((content + render_prompt(rubric)).encode()).hexdigest()[:12]}"


def _criteria(rubric: Rubric) -> str:
    lines = [f"# Criteria ({TOTAL} points together)"]
    for number, dimension in enumerate(rubric.dimensions, 1):
        lines += ["", f"## {number}. {dimension.title} ({dimension.points} points)"]
        lines += [f"- {band.low}-{band.high}: {band.text}" for band in dimension.bands]
    return "\n".join(lines)


def _regions(rubric: Rubric) -> str:
    rows = (f"- {region.title}: {region.text}" for region in rubric.regions)
    return "# Critical regions of the face\n" + "\n".join(rows) if rubric.regions else ""


def _rules(rubric: Rubric) -> str:
    rows = (
        f"- {'Bonus' if rule.points > 0 else 'Penalty'} {rule.points:+d}, {rule.title}: {rule.text}"
        for rule in rubric.rules
    )
    return "# Adjustments, each at most once\n" + "\n".join(rows) if rubric.rules else ""


def _tiers(rubric: Rubric) -> str:
    rows = [f"- {tier.name} (final score {tier.at_least} or more): {tier.text}" for tier in rubric.tiers]
    rows.append(f"- {rubric.below.name} (final score under {rubric.tiers[-1].at_least}): {rubric.below.text}")
    return "# Quality tiers\n" + "\n".join(rows)


def _steps(rubric: Rubric) -> str:
    return (
        "# Work in this order\n"
        "1. Give every criterion a whole number of points and a reason.\n"
        f"2. Add the {len(rubric.dimensions)} scores: the base score.\n"
        "3. Name every adjustment that applies and why; leave out those that don't. Add them up.\n"
        "4. Base score plus adjustments is the final score; it decides the tier."
    )


def _lines(rubric: Rubric) -> str:
    scores = "\n".join(f"{dimension.label}: X/{dimension.points} (reason)" for dimension in rubric.dimensions)
    return (
        "# Answer in exactly this form, labels in English, numbers in place of X\n\n"
        f"STEP 1 - Individual Scores:\n{scores}\n\n"
        "STEP 2 - Base Score Calculation:\n"
        f"Base Score = {' + '.join('X' for _ in rubric.dimensions)} = X/{TOTAL}\n\n"
        "STEP 3 - Bonus/Penalty Adjustments:\n"
        "[a line for each: name of the adjustment: +X or -X points (reason); or: None]\n"
        "Total Adjustment: +X or -X points\n\n"
        "STEP 4 - Final Results:\n"
        f"Final Score = X (Base) + X (Adjustment) = X/{TOTAL}\n"
        f"Quality Tier: [{'/'.join(tier.name for tier in (*rubric.tiers, rubric.below))}]\n"
        "Critical Issues: [whatever keeps the video from the best tier; or: None]\n"
        "Motion Blur Check: [say for eyes, mouth and teeth whether motion blurs them]"
    )


def _object(rubric: Rubric) -> str:
    scores = ", ".join(f'"{dimension.key}": {{"score": X, "reason": "..."}}' for dimension in rubric.dimensions)
    rules = ", ".join(rule.key for rule in rubric.rules)
    tiers = ", ".join(tier.name for tier in (*rubric.tiers, rubric.below))
    return (
        "# Answer with one JSON object of this form and nothing else, whole numbers in place of X\n\n"
        f'{{"scores": {{{scores}}},\n "base_score": X,\n'
        ' "adjustments": [{"rule": "...", "points": X, "reason": "..."}],\n'
        ' "total_adjustment": X,\n "final_score": X,\n "quality_tier": "...",\n'
        ' "critical_issues": ["..."],\n "motion_blur_check": "..."}\n\n'
        f"- rule: one of {rules or '(there are none)'}\n- quality_tier: one of {tiers}\n"
        "- critical_issues: whatever keeps the video from the best tier; [] if nothing does\n"
        "- motion_blur_check: say for eyes, mouth and teeth whether motion blurs them"
    )


def answer_schema(rubric: Rubric = RUBRIC) -> dict[str, Any]:
    """JSON schema of an answer, for servers with structured output: every field required, none besides.

    Written out, as servers want it: pydantic's has titles and references, and its model, made anew for each rubric,
    would refuse what :func:`~vividface_core.mllm.answers.parse.parse_assessment` puts right.
    """
    rules = [rule.key for rule in rubric.rules]
    adjustment = _closed(
        rule={"type": "string", "enum": rules}, points=_whole(*_limits(rubric)), reason={"type": "string"}
    )
    return _closed(
        scores=_closed(
            **{
                dimension.key: _closed(score=_whole(0, dimension.points), reason={"type": "string"})
                for dimension in rubric.dimensions
            }
        ),
        base_score=_whole(0, TOTAL),
        adjustments={"type": "array", "items": adjustment} if rules else {"type": "array", "maxItems": 0},
        total_adjustment=_whole(*_limits(rubric, together=True)),
        final_score=_whole(0, TOTAL),
        quality_tier={"type": "string", "enum": [tier.name for tier in (*rubric.tiers, rubric.below)]},
        critical_issues={"type": "array", "items": {"type": "string"}},
        motion_blur_check={"type": "string"},
    )


def _limits(rubric: Rubric, together: bool = False) -> tuple[int, int]:
    join = sum if together else (lambda points: max(points, key=abs, default=0))
    points = [rule.points for rule in rubric.rules]
    return join([value for value in points if value < 0]), join([value for value in points if value > 0])


def _whole(low: int, high: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high}


def _closed(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
