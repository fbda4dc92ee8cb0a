"""What a person decided about clips: ``overrules.json``, which the review page saves and the next run goes by."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from vividface_core.errors import InvalidOption, UnwritableVideo
from vividface_core.mllm.calibration import HumanScore
from vividface_core.mllm.rubric_schema import TOTAL

FORMAT, VERSION = "vividface-overrules", 1
VERDICTS = ("keep", "drop")
LONGEST_NOTE = 4000
_FIELDS = {"verdict", "score", "note"}


@dataclass(frozen=True)
class HumanLabel:
    """A person's word on one clip.

    Attributes:
        verdict: whether to keep it; ``None``: as the machine decides.
        score: theirs, 0…100; for calibrations, decides nothing by itself.
        note: for other people.

    Raises:
        InvalidOption: something else, or nothing at all.
    """

    verdict: Literal["keep", "drop"] | None = None
    score: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.verdict is not None and self.verdict not in VERDICTS:
            raise InvalidOption(f"the verdict is {self.verdict!r}; it must be keep, drop or null")
        if self.score is not None and not (_is_number(self.score) and 0 <= self.score <= TOTAL):
            raise InvalidOption(f"the score is {self.score!r}; it must be a number from 0 to {TOTAL}, or null")
        if not isinstance(self.note, str) or len(self.note) > LONGEST_NOTE:
            raise InvalidOption(f"the note must be text of at most {LONGEST_NOTE} characters")
        if self.verdict is None and self.score is None and not self.note:
            raise InvalidOption("it says nothing; give a verdict, a score or a note, or leave it out")


def read(path: Path) -> dict[str, HumanLabel]:
    """By the clip's key; none if there is no such file.

    Raises:
        InvalidOption: it can't be read, is no such file, or one of its entries makes no sense.
    """
    path = Path(path)
    if not path.exists():
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_once)
    except (OSError, ValueError) as error:
        raise InvalidOption(f"{path} can't be read ({error}). Save it again from review.html.") from error
    if not isinstance(stored, dict) or (stored.get("format"), stored.get("version")) != (FORMAT, VERSION):
        raise InvalidOption(f"{path} holds no overrules of this version. Save them again from review.html.")
    entries = stored.get("overrules")
    if not isinstance(entries, dict):
        raise InvalidOption(f"{path} has no 'overrules' by the keys of clips. Save it again from review.html.")
    return {key: _entry(entry, f"{path}, clip {key}") for key, entry in entries.items()}


def to_json(overrules: Mapping[str, HumanLabel]) -> dict[str, Any]:
    """Plain values of the whole file, sorted by key."""
    entries = {key: asdict(overrules[key]) for key in sorted(overrules)}
    return {"format": FORMAT, "version": VERSION, "overrules": entries}


def write(path: Path, overrules: Mapping[str, HumanLabel]) -> None:
    """As JSON, whole or not at all.

    Raises:
        UnwritableVideo: it can't be written.
    """
    from vividface_core.io.atomic import write_json

    try:
        write_json(Path(path), to_json(overrules), indent=1)
    except OSError as error:
        raise UnwritableVideo(f"The overrules can't be written to {path}: {error.strerror}.") from error


def human_scores(overrules: Mapping[str, HumanLabel], rows: Iterable[Mapping[str, Any]] = ()) -> list[HumanScore]:
    """The clips that have a person's score, sorted, with the judge's own (before any calibration) where a row has it.

    Args:
        rows: of the manifest.
    """
    judged = {row["key"]: float(row["judgement"]["assessment"]["final"]) for row in rows if row.get("judgement")}
    return [
        HumanScore(key, float(one.score), judged.get(key))
        for key, one in sorted(overrules.items())
        if one.score is not None
    ]


def human_csv(scores: Iterable[HumanScore]) -> str:
    """The table that :func:`vividface_core.mllm.calibration.read_human_scores` takes back."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("video", "human", "judge"))
    for score in scores:
        table.writerow((score.video, f"{score.human:g}", "" if score.judge is None else f"{score.judge:g}"))
    return text.getvalue()


def _entry(entry: Any, where: str) -> HumanLabel:
    if not isinstance(entry, dict) or not set(entry) <= _FIELDS:
        raise InvalidOption(f"{where}: an entry has verdict, score and note, nothing else.")
    try:
        return HumanLabel(entry.get("verdict"), entry.get("score"), entry.get("note") or "")
    except InvalidOption as error:
        raise InvalidOption(f"{where}: {error}.") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two entries of one clip are a mistake of whoever joined two files by hand."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key!r} stands there twice")
        found[key] = value
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
