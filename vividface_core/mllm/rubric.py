"""The protocol of grading: what is asked, of whom it asks what, and what an answer says.

One door for those who use it; the parts stand in files of their own.
"""

from __future__ import annotations

from vividface_core.mllm.answers.parse import parse_assessment
from vividface_core.mllm.paper_rubric import RUBRIC
from vividface_core.mllm.prompt import answer_schema, render_prompt, rubric_version
from vividface_core.mllm.rubric_schema import (
    TOTAL,
    Band,
    Dimension,
    Region,
    Rubric,
    Rule,
    Tier,
    read_rubric,
    rubric_from_json,
    rubric_to_json,
    write_rubric,
)

__all__ = [
    "RUBRIC",
    "TOTAL",
    "Band",
    "Dimension",
    "Region",
    "Rubric",
    "Rule",
    "Tier",
    "answer_schema",
    "parse_assessment",
    "read_rubric",
    "render_prompt",
    "rubric_from_json",
    "rubric_to_json",
    "rubric_version",
    "write_rubric",
]
