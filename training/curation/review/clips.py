"""Clips as the review page wants them: plain values, addresses of their files, and their previews."""

from __future__ import annotations

import math
import os
import shutil
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import quote

from training.curation.dataset import candidate_path
from training.curation.review.groups import Row, group_of, group_value
from training.curation.review.previews import FOLDER, find_preview, preview_path
from vividface_core.errors import UnwritableVideo
from vividface_core.mllm.rubric import Rubric

ROOM = 12 << 20
"""Bytes of previews that the page holds itself; where there are more, they become files in ``previews/``."""
MOST_MADE = 120
"""Previews that are made from videos for one page; with more missing it shows those that are there."""
LONGEST = 1200
"""Characters of a reason that are shown."""


def clips_for_page(rows: Sequence[Row], out: Path, source: Path | None, rubric: Rubric) -> list[dict[str, Any]]:
    """For :func:`training.curation.review.page.write_review`; texts are as they came, to be shown as text.

    Raises:
        UnwritableVideo: previews can't be written.
        MissingDependency: Pillow is absent.
    """
    missing = sum(row["crop"] is not None and not preview_path(out / "work", row["key"]).exists() for row in rows)
    # Clips that were dropped for their track alone have none, and may be many: each costs a look into its video.
    origin = source if missing <= MOST_MADE else None
    previews = [find_preview(row, out, origin) for row in rows]
    seen = _embedded(previews) or _beside(previews, out)
    return [{**_clip(row, out, source, rubric), "preview": address} for row, address in zip(rows, seen)]


def _embedded(previews: Sequence[Path | None]) -> list[str | None] | None:
    """As ``data:`` addresses; ``None``: they are too much for one page."""
    if sum(path.stat().st_size for path in previews if path) > ROOM:
        return None
    return [None if path is None else _inline(path) for path in previews]


def _inline(path: Path) -> str:
    return f"data:image/jpeg;base64,{b64encode(path.read_bytes()).decode('ascii')}"


def _beside(previews: Sequence[Path | None], out: Path) -> list[str | None]:
    """Copies that stay with the data set when its records are thrown away."""
    folder = out / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        for path in filter(None, previews):
            copy = folder / path.name
            if not copy.exists() or copy.stat().st_size != path.stat().st_size:
                partial = folder / f".{path.name}.partial"
                shutil.copyfile(path, partial)
                os.replace(partial, copy)
    except OSError as error:
        raise UnwritableVideo(f"The previews can't be written to {folder}: {error.strerror}.") from error
    return [None if path is None else _address(f"{FOLDER}/{path.name}") for path in previews]


def _address(relative: str) -> str:
    """Of a file by its path from the page; never one with a scheme, whatever the name."""
    return f"./{quote(relative)}"


def _clip(row: Row, out: Path, source: Path | None, rubric: Rubric) -> dict[str, Any]:
    stage, kind = group_of(row)
    return {
        "key": row["key"],
        "video": row["video"],
        "where": _where(row),
        "face": _face(row),
        "duplicate": row["duplicate_of"],
        "file": _file(row, out),
        "origin": _origin(row, out, source),
        "state": row["state"],
        "stage": row["stage"],
        "step": "" if row["state"] == "kept" else stage,
        "overruled": row["overruled"],
        "by": _by(row),
        "whole": row["hash"] is not None,
        "causes": list(row["causes"]),
        "group": "" if row["state"] == "kept" else group_value(stage, kind),
        "final": row["final"],
        "tier": row["tier"] or "",
        "figures": list(_figures(row["figures"] or {})),
        **_judged(row, rubric),
    }


def _file(row: Row, out: Path) -> str | None:
    """The clip itself: a kept one, or one whose candidate is still there."""
    if row["clip"]:
        return _address(row["clip"])
    candidate = candidate_path(out / "work", row["key"])
    return _address(candidate.relative_to(out).as_posix()) if candidate.exists() else None


def _judged(row: Row, rubric: Rubric) -> dict[str, Any]:
    told = row["judgement"]
    if not told:
        return {
            "own": row["final"],
            "scores": None,
            "reasons": {},
            "spread": None,
            "spreads": {},
            "adjustments": [],
            "issues": [],
            "blur": "",
            "faults": [],
        }
    found, spreads = told["assessment"], {key: one["std"] for key, one in told["spread"].items()}
    titles = {rule.key: rule.title for rule in rubric.rules}
    return {
        "own": found["final"],
        "scores": found["scores"],
        "spread": spreads.pop("final", None),
        "spreads": spreads,
        "reasons": {key: _short(reason) for key, reason in found["reasons"].items()},
        "adjustments": [
            {
                "title": titles.get(one["rule"], one["rule"] or "not explained"),
                "points": one["points"],
                "reason": _short(one["reason"]),
            }
            for one in found["adjustments"]
        ],
        "issues": [_short(issue) for issue in found["critical_issues"]],
        "blur": _short(found["motion_blur"]),
        "faults": [_short(fault) for fault in found["faults"]],
    }


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _by(row: Row) -> str:
    """Who decided, as part of a sentence."""
    stage = str(row["stage"])
    return {
        "cut": "when cutting",
        "technical": "by the technical checks",
        "duplicate": "as a duplicate",
        "judge": "by the judge",
        "person": "by a person",
    }.get(stage, stage)


def _where(row: Row) -> str:
    if row["first"] is None:
        return ""
    begin = float(row["first"] / Fraction(row["fps"]))
    return f"{row['first']} to {row['first'] + row['frames'] - 1}, at {int(begin) // 60}:{begin % 60:04.1f}"


def _face(row: Row) -> str:
    parts = [f"{row['face_side']:.0f} pixels" if row["face_side"] is not None else ""]
    parts += [f"detector {row['detector_score']:.2f}" if row["detector_score"] is not None else ""]
    return ", ".join(filter(None, parts))


def _origin(row: Row, out: Path, source: Path | None) -> str | None:
    """The video it was cut from, at its place, by a path from the page; ``None``: it can't be reached so."""
    if source is None or not row["video"]:
        return None
    try:
        path = Path(os.path.relpath(source.resolve() / row["video"], out.resolve())).as_posix()
    except ValueError:  # on another drive
        return None
    if row["first"] is None:
        return _address(path)
    begin, end = (float(frame / Fraction(row["fps"])) for frame in (row["first"], row["first"] + row["frames"]))
    return f"{_address(path)}#t={begin:.3f},{end:.3f}"


def _figures(figures: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in figures.items():
        title = f"{before}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _figures(value, f"{title} ")
        elif isinstance(value, (list, tuple)):
            yield title, ", ".join(map(_figure, value[:4])) + ("…" if len(value) > 4 else "")
        else:
            yield title, _figure(value)


def _figure(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
