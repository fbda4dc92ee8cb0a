"""A folder of videos before a judge: a line for each as it is done, then tables, and copies sorted by the verdict."""

from __future__ import annotations

import filecmp
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vividface_core.errors import InvalidOption, UnreadableVideo, UnwritableVideo
from vividface_core.io.atomic import write_json
from vividface_core.io.file_names import VIDEO_SUFFIXES, beside, natural_key
from vividface_core.io.output_guard import Source, Target, check_paths, unrelated
from vividface_core.mllm.calibration import Calibration
from vividface_core.mllm.judges.base import Judge
from vividface_core.mllm.rubric import rubric_version
from vividface_core.mllm.scoring import Records, run_judge, with_verdict
from vividface_core.mllm.tables import as_csv

BY_TIER, KEEP_AND_DROP, KEPT_ONLY = "by tier", "keep and drop", "kept only"
SORTS = (BY_TIER, KEEP_AND_DROP, KEPT_ONLY)
FOLDER, INDEX = "sorted", "copies.json"

KEYS = ("judge", "identity", "rubric", "complete", "videos")
"""Of the JSON table, by which a later run knows the folder for its own."""
RECORDS, CSV, JSON = "scores.jsonl", "scores.csv", "scores.json"


def videos_in(folder: Path, subfolders: bool = False) -> dict[str, Path]:
    """Video files by their place in the folder, in natural order; hidden ones are left out.

    Args:
        subfolders: look into folders below it too (not into links to folders).

    Raises:
        UnreadableVideo: none there.
    """
    found: list[Path] = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".") if subfolders else []
        found += [Path(place, name) for name in files if name[0] != "." and _is_video(name)]
    if not found:
        below = "" if subfolders else " itself; subfolders can be looked into too"
        raise UnreadableVideo(f"There is no video in {folder}{below}.")
    names = {path.relative_to(folder).as_posix(): path for path in found}
    return {name: names[name] for name in sorted(names, key=natural_key)}


def _is_video(name: str) -> bool:
    return Path(name).suffix.lower() in VIDEO_SUFFIXES - {".gif"}


def score_folder(
    judge: Judge,
    videos: Mapping[str, Path],
    target: Path,
    *,
    calibration: Calibration | None = None,
    threshold: float | None = None,
    sort: str = "",
    on_poll: Callable[[], None] | None = None,
    told: Callable[[dict[str, Any], int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Judge videos by name; whatever ends it early, what is done is kept and not asked for again.

    Into ``target`` go ``scores.jsonl`` (a line a video, at once), ``scores.csv`` and ``scores.json`` (at the end, also
    at an early one), and with ``sort`` copies of the videos.

    Args:
        threshold: videos above it are kept; ``None``: the rubric's own.
        sort: see :func:`vividface_core.mllm.folder.sort_copies`; "": no copies.
        on_poll: called ten times a second; what it raises ends the work.
        told: called after each video: its row, how many are done, how many there are.

    Returns:
        The rows of :func:`vividface_core.mllm.scoring.with_verdict`, in the order of ``videos``.

    Raises:
        UnwritableVideo: the folder can't be written.
        VividFaceError: no video could be judged.
    """
    _check_target(target, videos)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableVideo(f"{target} can't be made: {error.strerror}. Name another folder.") from error
    records, names = Records(target / RECORDS), {path: name for name, path in videos.items()}
    rows: dict[str, dict[str, Any]] = {}
    try:
        for path, record in run_judge(judge, list(videos.values()), records, names, on_poll):
            rows[names[path]] = with_verdict(record, judge.rubric, calibration, threshold)
            if told:
                told(rows[names[path]], len(rows), len(videos))
    finally:
        done = [rows[name] for name in videos if name in rows]
        _write(target, judge, done, calibration, threshold, len(done) == len(videos))
    if sort:
        sort_copies(done, videos, target, sort, on_poll)
    return done


def _check_target(target: Path, videos: Mapping[str, Path]) -> None:
    """
    Raises:
        InvalidOption: a video would be written over.
        UnwritableVideo: the folder holds tables that no earlier run wrote.
    """
    tables = [target / name for name in (RECORDS, CSV, JSON, INDEX)]
    check_paths([Target(path, "the table") for path in tables], [Source(path, "a video") for path in videos.values()])
    foreign = unrelated([target / JSON], KEYS)
    if not (target / JSON).exists():
        foreign += unrelated([target / CSV])
    if foreign:
        raise UnwritableVideo(f"{foreign[0]} exists already and is no table of an earlier run. Name another folder.")


def _write(
    target: Path,
    judge: Judge,
    rows: list[dict[str, Any]],
    calibration: Calibration | None,
    threshold: float | None,
    complete: bool,
) -> None:
    content = {
        "judge": judge.name,
        "identity": judge.identity,
        "rubric": rubric_version(judge.rubric),
        "threshold": judge.rubric.keep_above if threshold is None else threshold,
        "calibration": calibration.to_json() if calibration else None,
        "complete": complete,
        "videos": rows,
    }
    try:
        write_json(target / JSON, content, indent=1)
        partial = target / f".{CSV}.partial"
        partial.write_text(as_csv(rows, judge.rubric), encoding="utf-8")
        os.replace(partial, target / CSV)
    except OSError as error:
        raise UnwritableVideo(f"The tables can't be written to {target}: {error.strerror}.") from error


def sort_copies(
    rows: Sequence[Mapping[str, Any]],
    videos: Mapping[str, Path],
    target: Path,
    sort: str,
    on_poll: Callable[[], None] | None = None,
) -> dict[str, str]:
    """Copy videos to ``target/sorted/CLASS/NAME``; originals are only read.

    Copies of an earlier run that belong elsewhere now are removed, unless somebody changed them; other files in there
    are never touched. Each copy appears whole or not at all.

    Args:
        rows: judged videos; those that failed are left out.
        videos: their files, by name.
        sort: one of :data:`SORTS`.
        on_poll: called before each copy; what it raises ends the work.

    Returns:
        Places of the copies below ``target/sorted``, with the content of each.

    Raises:
        InvalidOption: no such way of sorting.
        UnwritableVideo: disk full, folder not writable …
    """
    if sort not in SORTS:
        raise InvalidOption(f"Videos can't be sorted by {sort!r}; choose one of {', '.join(SORTS)}.")
    wanted = {f"{kind}/{row['name']}": row for row in rows if (kind := _class(row, sort))}
    index, base = target / INDEX, target / FOLDER
    known = _read(index)
    try:
        for place, size in list(known.items()):
            if place not in wanted and _is_own(base / place, size):
                (base / place).unlink()
        for place, row in wanted.items():
            if on_poll:
                on_poll()
            source = videos[row["name"]]
            _check_copy(base / place, source, known.get(place))
            if known.get(place) != [row["content"], source.stat().st_size] or not _is_own(base / place, known[place]):
                _copy(source, base / place)
                known[place] = [row["content"], source.stat().st_size]
                write_json(index, known, indent=1)
        kept = {place: known[place] for place in wanted}
        write_json(index, kept, indent=1)
    except OSError as error:
        raise UnwritableVideo(f"The videos can't be sorted into {base}: {error.strerror}.") from error
    return {place: content for place, (content, _) in kept.items()}


def _class(row: Mapping[str, Any], sort: str) -> str | None:
    if row["state"] != "judged":
        return None
    if sort == BY_TIER:
        return re.sub(r"[^\w -]+", "_", row["tier"]).strip() or "_"
    return "keep" if row["keep"] else "drop" if sort == KEEP_AND_DROP else None


def _check_copy(path: Path, source: Path, noted: Any) -> None:
    """
    Raises:
        UnwritableVideo: there is a file of somebody's; a copy whose note a crash swallowed is none.
    """
    if not os.path.lexists(path) or (noted and _is_own(path, noted)):
        return
    if not (path.is_file() and filecmp.cmp(source, path, shallow=False)):
        raise UnwritableVideo(
            f"{path} exists already and is no copy of an earlier run, or was changed since. Move it "
            "away, or name another folder."
        )


def _is_own(path: Path, noted: Any) -> bool:
    """Whether a copy is still there as it was made."""
    return path.is_file() and path.stat().st_size == noted[1]


def _copy(source: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = beside(path, before=".", after=".partial")
    try:
        shutil.copyfile(source, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _read(index: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        return {str(place): [str(one[0]), int(one[1])] for place, one in content.items() if _inside(str(place))}
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return {}


def _inside(place: str) -> bool:
    """What is removed is found by these names."""
    return not Path(place).is_absolute() and ".." not in Path(place).parts
