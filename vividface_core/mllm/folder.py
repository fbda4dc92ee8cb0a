"""A folder of videos before a judge: a line for each as it is done, then tables, and copies sorted by the verdict."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vividface_core.errors import UnreadableVideo, UnwritableVideo
from vividface_core.io.tensors import write_json
from vividface_core.metrics.pairs import VIDEO_SUFFIXES
from vividface_core.mllm.calibration import Calibration
from vividface_core.mllm.judges.base import Judge
from vividface_core.mllm.records import Records
from vividface_core.mllm.scoring import run_judge, with_verdict
from vividface_core.mllm.sorting import sort_copies
from vividface_core.mllm.tables import as_csv
from vividface_core.video.file_names import natural_key

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


def score_folder(judge: Judge, videos: Mapping[str, Path], target: Path, *, calibration: Calibration | None = None,
                 threshold: float | None = None, sort: str = "", on_poll: Callable[[], None] | None = None,
                 told: Callable[[dict[str, Any], int, int], None] | None = None) -> list[dict[str, Any]]:  # fmt: skip
    """Judge videos by name; whatever ends it early, what is done is kept and not asked for again.

    Into ``target`` go ``scores.jsonl`` (a line a video, at once), ``scores.csv`` and ``scores.json`` (at the end, also
    at an early one), and with ``sort`` copies of the videos.

    Args:
        threshold: videos above it are kept; ``None``: the rubric's own.
        sort: see :func:`vividface_core.mllm.sorting.sort_copies`; "": no copies.
        on_poll: called ten times a second; what it raises ends the work.
        told: called after each video: its row, how many are done, how many there are.

    Returns:
        The rows of :func:`vividface_core.mllm.scoring.with_verdict`, in the order of ``videos``.

    Raises:
        UnwritableVideo: the folder can't be written.
        VividFaceError: no video could be judged.
    """
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


def _write(target: Path, judge: Judge, rows: list[dict[str, Any]], calibration: Calibration | None,
           threshold: float | None, complete: bool) -> None:  # fmt: skip
    content = {
        "judge": judge.name, "identity": judge.identity, "rubric": judge.rubric.version,
        "threshold": judge.rubric.keep_above if threshold is None else threshold,
        "calibration": calibration.to_json() if calibration else None, "complete": complete, "videos": rows,
    }  # fmt: skip
    try:
        write_json(target / JSON, content, indent=1)
        partial = target / f".{CSV}.partial"
        partial.write_text(as_csv(rows, judge.rubric), encoding="utf-8")
        os.replace(partial, target / CSV)
    except OSError as error:
        raise UnwritableVideo(f"The tables can't be written to {target}: {error.strerror}.") from error
