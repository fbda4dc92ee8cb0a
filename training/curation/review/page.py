"""A data set's review as one HTML page: every clip with its scores and reasons, for a person to agree or to overrule.

What a judge wrote and what files are called comes into the page as data alone, never as markup, and the page runs no
script but its own. Its previews stand in it while they are few; those of a large data set lie beside it.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from training.curation import human_labels
from training.curation.review.clips import clips_for_page
from training.curation.review.groups import Row, dropped_groups, group_value
from vividface_core.io.atomic import write_report
from vividface_core.io.templates import render
from vividface_core.metrics.report import tool_version
from vividface_core.metrics.reports import html
from vividface_core.mllm.rubric import RUBRIC, Rubric

SCRIPTS = ("review_decisions", "review_grid", "review_side", "review_histogram", "review")
FILE = "overrules.json"
_HERE = Path(__file__).parent


class Facts(TypedDict, total=False):
    """Of the run, for the page's head and its advice.

    Attributes:
        name: of the data set; else its folder's.
        source: folder of the videos, for links to them and for previews that are missing.
        rubric: that the clips were judged by; else the paper's.
        threshold: clips are kept above it; else the rubric's.
        judge: its name.
        calibration: name of the file, if scores were corrected.
        command: what a person types to apply overrules.
    """

    name: str
    source: Path | None
    rubric: Rubric
    threshold: float
    judge: str | None
    calibration: str | None
    command: str


def write_review(rows: Sequence[Row], out_folder: Path, path: Path, facts: Facts) -> None:
    """Write the page.

    Args:
        rows: the manifest's.
        out_folder: the data set's; its ``overrules.json`` is shown, if there is one.
        path: HTML file, in ``out_folder``: links to clips are relative to that.

    Raises:
        UnwritableVideo: it can't be written.
        InvalidOption: ``overrules.json`` is damaged.
        MissingDependency: Pillow is absent.
    """
    write_report(Path(path), page(rows, Path(out_folder), facts))


def page(rows: Sequence[Row], out: Path, facts: Facts) -> str:
    """The file's text."""
    script = "\n".join((_HERE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    style = "\n".join(
        file.read_text(encoding="utf-8") for file in (Path(html.__file__).with_name("report.css"), _HERE / "review.css")
    )
    content = _content(rows, out, facts)
    return render(
        _HERE / "review.html",
        policy=_policy(style, script),
        style=style,
        script=script,
        data=_json(content),
        name=content["name"],
        threshold=content["threshold"],
        judge=facts.get("judge"),
        calibration=facts.get("calibration"),
        clips=len(rows),
        videos=len({row["video"] for row in rows}),
        kept=sum(row["state"] == "kept" for row in rows),
        scored=any(row["final"] is not None for row in rows),
        causes=_causes(rows),
        command=facts.get("command") or "vividface curate DIR -o OUT",
        version=tool_version(),
    )


def _causes(rows: Sequence[Row]) -> list[tuple[str, list[tuple[str, str, int]]]]:
    """By stage, in the order of a run: value, name and number of each group of dropped clips."""
    parts: dict[str, list[tuple[str, str, int]]] = {}
    for (stage, kind), own in dropped_groups(rows).items():
        parts.setdefault(stage, []).append((group_value(stage, kind), kind, len(own)))
    return list(parts.items())


def _policy(style: str, script: str) -> str:
    """The browser runs and loads what is named here; should a text ever become markup, it stays lifeless."""

    def digest(text: str) -> str:
        return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {digest(script)}; style-src {digest(style)}; img-src 'self' data: file:; "
        "media-src 'self' file:; base-uri 'none'; form-action 'none'"
    )


def _json(content: Any) -> str:
    """For a script element, which a ``<`` might end."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _content(rows: Sequence[Row], out: Path, facts: Facts) -> dict[str, Any]:
    rubric = facts.get("rubric") or RUBRIC
    given = facts.get("source")
    source = Path(given) if given else None
    return {
        "format": human_labels.FORMAT,
        "version": human_labels.VERSION,
        "name": facts.get("name") or out.resolve().name,
        "threshold": facts.get("threshold", rubric.keep_above),
        "dimensions": [
            {"key": one.key, "label": one.label, "title": one.title, "points": one.points} for one in rubric.dimensions
        ],
        "overrules": human_labels.to_json(human_labels.read(out / FILE))["overrules"],
        "clips": clips_for_page(rows, out, source, rubric),
    }
