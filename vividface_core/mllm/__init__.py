"""Face videos graded by a multimodal model: criteria, question, answer and correction."""

from __future__ import annotations

from vividface_core.mllm.assessment import Adjustment, Assessment
from vividface_core.mllm.calibration import Calibration, HumanScore, fit_calibration, read_human_scores
from vividface_core.mllm.rubric import RUBRIC, Rubric, answer_schema, parse_assessment, read_rubric, render_prompt

__all__ = [
    "RUBRIC",
    "Adjustment",
    "Assessment",
    "Calibration",
    "HumanScore",
    "Rubric",
    "answer_schema",
    "fit_calibration",
    "parse_assessment",
    "read_human_scores",
    "read_rubric",
    "render_prompt",
]
