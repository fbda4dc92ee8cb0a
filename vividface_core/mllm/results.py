"""Judged videos out of files that commands leave behind, found by the names that people call them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vividface_core.errors import InvalidOption
from vividface_core.io.text import read_text

SOURCES = "the file of --json or --jsonl of vividface score, or manifest.jsonl of vividface curate"


@dataclass(frozen=True)
class Scored:
    """One video or clip.

    Attributes:
        name: unique; a path, or a clip's key.
        names: what else it may be called, the surest first.
        judge, rubric: whose score it is, by which criteria.
        score: the judge's own final one, 0…100, before any calibration.
    """

    name: str
    names: tuple[str, ...]
    judge: str
    rubric: str
    score: float


def read_scored(path: Path) -> list[Scored]:
    """Everything that was judged; of a video that one judge scored twice, the last score.

    Args:
        path: the file of ``--json`` or ``--jsonl`` of ``vividface score``, a manifest, or the folder of one.

    Raises:
        InvalidOption: it can't be read, is something else, or holds no score.
    """
    path = Path(path)
    path = path / "manifest.jsonl" if path.is_dir() else path
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOption(f"The scores {path} can't be read: {getattr(error, 'strerror', None) or error}.") from error
    found: dict[tuple[str, str, str], Scored] = {}
    for record in _records(text, path):
        if one := _scored(record):
            found[one.name, one.judge, one.rubric] = one
    if not found:
        raise InvalidOption(f"{path} holds no video with a score of a judge. Name {SOURCES}.")
    return list(found.values())


def of_one_judge(scored: Sequence[Scored], wanted: str | None = None) -> list[Scored]:
    """Those of one judge with one version of the rubric.

    Args:
        wanted: part of the judge's name.

    Raises:
        InvalidOption: there are several, or none of that name.
    """
    whose = sorted({(one.judge, one.rubric) for one in scored if wanted is None or wanted in one.judge})
    told = whose or sorted({(one.judge, one.rubric) for one in scored})
    known = "; ".join(f"{judge} by {rubric}" for judge, rubric in told)
    if not whose:
        raise InvalidOption(f"No judge is called {wanted!r} here. There is {known}.")
    if len(whose) > 1:
        raise InvalidOption(
            f"The scores are of several judges or rubrics: {known}. Choose one by a part of its name "
            "with --judge, or keep one in the file."
        )
    return [one for one in scored if (one.judge, one.rubric) == whose[0]]


def find(name: str, scored: Iterable[Scored]) -> Scored:
    """The video that a person calls ``name``: by its key or path, else by its file's name, with or without suffix.

    Raises:
        InvalidOption: none is called so, or several are.
    """
    wanted = PurePosixPath(name.replace("\\", "/")).as_posix()
    scored = list(scored)
    for place in range(max((len(one.names) for one in scored), default=0)):
        found = [one for one in scored if place < len(one.names) and one.names[place] == wanted]
        if len(found) > 1:
            several = " or ".join(one.name for one in found[:3])
            raise InvalidOption(f"{name} may be {several}. Write the whole path or key.")
        if found:
            return found[0]
    raise InvalidOption(f"{name} isn't among the scores.")


def _records(text: str, path: Path) -> list[Mapping[str, Any]]:
    """A crash may have cut the last line of a JSONL file; elsewhere a bad line is a fault."""
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    if isinstance(whole, dict) and isinstance(whole.get("videos"), list):
        return [record for record in whole["videos"] if isinstance(record, dict)]
    records: list[Mapping[str, Any]] = []
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line) if line.strip() else {}
        except ValueError as error:
            if number == len(lines) and not text.endswith("\n"):
                break
            raise InvalidOption(f"{path}, line {number} is no JSON ({error}). Name {SOURCES}.") from error
        records += [record] if isinstance(record, dict) else []
    return records


def _scored(record: Mapping[str, Any]) -> Scored | None:
    """``None``: it has no score."""
    try:
        found = record["judgement"]["assessment"]
        judge, rubric, score = str(record["judge"]), str(found["rubric"]), float(found["final"])
        video = PurePosixPath(str(record["video"]).replace("\\", "/"))
    except (KeyError, TypeError, ValueError):
        return None
    if key := record.get("key"):  # a clip, of which a video may have many
        return Scored(
            str(key),
            (str(key), f"clips/{key}.mp4", f"{key}.mp4", video.as_posix(), video.name, video.stem),
            judge,
            rubric,
            score,
        )
    return Scored(video.as_posix(), (video.as_posix(), video.name, video.stem), judge, rubric, score)
