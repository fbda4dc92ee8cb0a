"""A run of ``vividface score``, from the first check to the table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vividface_core.cli.overwrite import ask_to_replace
from vividface_core.io.atomic import write_json_report
from vividface_core.io.output_guard import Source, Target, check_file, check_paths, unrelated
from vividface_core.mllm.calibration import Calibration
from vividface_core.mllm.judges.arguments import judge_options
from vividface_core.mllm.judges.base import Judge
from vividface_core.mllm.judges.factory import make_judge
from vividface_core.mllm.rubric import RUBRIC, read_rubric, rubric_version
from vividface_core.mllm.scoring import Records, judge_id, pop_notices, run_judge, with_verdict
from vividface_core.mllm.tables import as_text
from vividface_core.runtime.console import printable
from vividface_core.video.clips import clips_in

REPORT_KEYS = ("judge", "identity", "rubric", "complete", "videos")
"""Of the JSON report, by which a later run knows it for its own."""


def run(args: argparse.Namespace) -> int:
    """Carry out ``vividface score``; returns 0, or 1 if a video failed.

    Raises:
        VividFaceError: an option is at fault, or nothing can be judged; finished videos are kept with ``--jsonl``.
    """
    clips = _clips(args.videos)
    _check_targets(args, clips)
    rubric = read_rubric(args.rubric) if args.rubric else RUBRIC
    calibration = Calibration.read(args.calibration) if args.calibration else None
    judge, notices = make_judge(args.judge, judge_options(args, rubric))
    if calibration is not None:
        calibration.correct(
            0.0, rubric=rubric_version(rubric), judge=judge_id(judge.identity)
        )  # it fits, said before the work
    records = Records(args.jsonl)
    for notice in notices:
        _notice(notice)
    rows: dict[Path, dict[str, Any]] = {}
    try:
        for clip, record in _judged(judge, clips, records, args.quiet):
            rows[clip] = with_verdict(record, rubric, calibration)
    finally:
        done = [rows[clip] for clip in clips if clip in rows]
        if args.json and done:
            write_json_report(
                args.json,
                {
                    "judge": judge.name,
                    "identity": judge.identity,
                    "rubric": rubric_version(rubric),
                    "calibration": str(args.calibration) if args.calibration else None,
                    "complete": len(done) == len(clips),
                    "videos": done,
                },
            )
    print(printable(as_text(done, rubric)))
    return 1 if any(row["state"] == "failed" for row in done) else 0


def _clips(paths: Sequence[Path]) -> list[Path]:
    """Each once, whichever way it was named."""
    found = {clip.resolve(): clip for path in paths for clip in clips_in(path)}
    return list(found.values())


def _check_targets(args: argparse.Namespace, clips: Sequence[Path]) -> None:
    """Before the work: nothing is written over a clip, the criteria or another report. A report of an earlier run of
    this command is replaced, because the same command goes on."""
    named = [Target(path, f"--{name}") for name in ("json", "jsonl") if (path := getattr(args, name))]
    others = {"--rubric": args.rubric, "--calibration": args.calibration}
    sources = [Source(path, name) for name, path in others.items() if path] + [Source(clip, "a clip") for clip in clips]
    check_paths(named, sources)
    for target in named:
        check_file(target.path, target.name)
    if args.json:
        ask_to_replace(unrelated([args.json], REPORT_KEYS), overwrite=args.overwrite)


def _judged(
    judge: Judge, clips: Sequence[Path], records: Records, quiet: bool
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each clip with its record, in the order in which they are done."""
    with tqdm(total=len(clips), desc="Judging", unit="video", file=sys.stderr, disable=quiet) as bar:
        for clip, record in run_judge(judge, clips, records):
            for notice in pop_notices(judge):
                bar.clear()
                _notice(notice)
            bar.update()
            yield clip, record


def _notice(text: str) -> None:
    print(f"vividface: {text}", file=sys.stderr)
