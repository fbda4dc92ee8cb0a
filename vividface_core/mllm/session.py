"""A run of ``vividface score``, from the first check to the table."""

from __future__ import annotations

import argparse
import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vividface_core.client.report import check_target, write
from vividface_core.errors import InvalidOption, MissingDependency, UnwritableVideo, VividFaceError
from vividface_core.metrics.pairs import clips_in
from vividface_core.mllm.calibration import Calibration
from vividface_core.mllm.judges.base import Judge
from vividface_core.mllm.judges.choose import KINDS, JudgeOptions, make_judge
from vividface_core.mllm.judges.frames import Sampling
from vividface_core.mllm.judges.transport import Refused
from vividface_core.mllm.records import Records, content_of, judge_id
from vividface_core.mllm.rubric import RUBRIC, Rubric, read_rubric
from vividface_core.mllm.table import as_text

HOPELESS = (401, 403, 404, 407)
"""HTTP refusals that every other video would get too."""


def run(args: argparse.Namespace) -> int:
    """Carry out ``vividface score``; returns 0, or 1 if a video failed.

    Raises:
        VividFaceError: an option is at fault, or nothing can be judged; finished videos are kept with ``--jsonl``.
    """
    clips = _clips(args.videos)
    _check_targets(args, clips)
    rubric = read_rubric(args.rubric) if args.rubric else RUBRIC
    calibration = Calibration.read(args.calibration) if args.calibration else None
    judge, notices = make_judge(args.judge, _options(args, rubric))
    if calibration is not None:
        calibration.correct(0.0, rubric=rubric.version, judge=judge_id(judge.identity))  # it fits, said before the work
    records = Records(args.jsonl)
    for notice in notices:
        _notice(notice)
    rows: dict[Path, dict[str, Any]] = {}
    try:
        for clip, record in _judged(judge, clips, records, args.quiet):
            rows[clip] = _finished(record, rubric, calibration)
    finally:
        done = [rows[clip] for clip in clips if clip in rows]
        if args.json and done:
            write(args.json, {"judge": judge.name, "identity": judge.identity, "rubric": rubric.version,
                              "calibration": str(args.calibration) if args.calibration else None,
                              "complete": len(done) == len(clips), "videos": done})  # fmt: skip
    print(_printable(as_text(done, rubric)))
    return 1 if any(row["state"] == "failed" for row in done) else 0


def _options(args: argparse.Namespace, rubric: Rubric) -> JudgeOptions:
    if not args.judge:
        raise InvalidOption(f"Name who is to judge with --judge: {KINDS}.")
    if args.model and not any(name.startswith("openai:") for name in args.judge):
        raise InvalidOption("--model names a server's model; a judge on this machine is local:PATH.")
    sampling = Sampling(args.fps, args.frames, args.frame_pixels, max(Sampling.total_pixels, args.frame_pixels))
    server = {"send": args.send, "requests_per_minute": args.rate, "concurrency": args.concurrency,
              "timeout": args.timeout, "retries": args.retries}  # fmt: skip
    return JudgeOptions(
        rubric, sampling, args.model, args.passes, args.tries, args.temperature, args.max_tokens, args.device,
        args.dtype, args.four_bit, args.download, args.quiet, args.key_env, server,
    )  # fmt: skip


def _clips(paths: Sequence[Path]) -> list[Path]:
    """Each once, whichever way it was named."""
    found = {clip.resolve(): clip for path in paths for clip in clips_in(path)}
    return list(found.values())


def _check_targets(args: argparse.Namespace, clips: Sequence[Path]) -> None:
    taken = {clip.resolve() for clip in clips} | {path.resolve() for path in (args.rubric, args.calibration) if path}
    for target in (args.json, args.jsonl):
        if target is None:
            continue
        check_target(target)
        if target.resolve() in taken:
            raise InvalidOption(f"{target} would be written over another file of this run. Name another one.")
        taken.add(target.resolve())


def _judged(judge: Judge, clips: Sequence[Path], records: Records,
            quiet: bool) -> Iterator[tuple[Path, dict[str, Any]]]:  # fmt: skip
    """Each clip with its record, in the order in which they are done."""
    name = judge_id(judge.identity)
    with tqdm(total=len(clips), desc="Judging", unit="video", file=sys.stderr, disable=quiet) as bar:
        for clip, record in _in_threads(judge, clips, records, name):
            for notice in _news(judge):
                bar.clear()
                _notice(notice)
            bar.update()
            yield clip, record


def _in_threads(judge: Judge, clips: Sequence[Path], records: Records,
                name: str) -> Iterator[tuple[Path, dict[str, Any]]]:  # fmt: skip
    """As many at once as the judge can. After an error those under way are finished and kept; Ctrl-C waits for none."""
    count = min(judge.concurrency, len(clips))
    if count <= 1:
        for clip in clips:
            yield clip, _one(judge, clip, records, name)
        return
    waiting: queue.SimpleQueue[Path] = queue.SimpleQueue()
    results: queue.SimpleQueue[tuple[Path, dict[str, Any] | BaseException]] = queue.SimpleQueue()
    stopped = threading.Event()
    for clip in clips:
        waiting.put(clip)

    def work() -> None:
        while not stopped.is_set():
            try:
                clip = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                results.put((clip, _one(judge, clip, records, name)))
            except BaseException as error:
                results.put((clip, error))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        for _ in clips:
            clip, result = results.get()
            if isinstance(result, BaseException):
                raise result
            yield clip, result
    except Exception:
        stopped.set()
        for thread in threads:
            thread.join()
        raise
    finally:
        stopped.set()


def _one(judge: Judge, clip: Path, records: Records, name: str) -> dict[str, Any]:
    """A clip's record: an earlier run's, or a new one.

    Raises:
        VividFaceError: no other clip could be judged either.
    """
    record: dict[str, Any] = {"video": str(clip), "name": clip.name, "content": None, "judge": name}
    try:
        record["content"] = content_of(clip)
        known = records.find(clip.name, record["content"], name)
        if known:
            return {**known, "video": str(clip), "resumed": True}
        record |= {"state": "judged", "judgement": judge.judge(clip).to_json()}
    except (MissingDependency, UnwritableVideo):
        raise
    except VividFaceError as error:
        if isinstance(error, Refused) and error.status in HOPELESS:
            raise
        record |= {"state": "failed", "error": str(error)}
        if refused := getattr(error, "refused", ()):
            record["refused"] = [{"answer": refusal.answer, "reason": refusal.reason} for refusal in refused]
    records.add(record)
    return record


def _finished(record: dict[str, Any], rubric: Rubric, calibration: Calibration | None) -> dict[str, Any]:
    """A record with its verdict, which calibration and thresholds decide and which is therefore not kept."""
    if record["state"] != "judged":
        return {**record, "final": None, "tier": None, "keep": False}
    final = record["judgement"]["assessment"]["final"]
    if calibration is not None:
        final = calibration.correct(final, rubric=rubric.version, judge=record["judge"])
    return {**record, "final": final, "tier": rubric.tier(final), "keep": rubric.keeps(final)}


def _news(judge: Any) -> list[str]:
    news, told = getattr(judge, "notices", []), []
    while news:
        told.append(news.pop(0))
    return told


def _notice(text: str) -> None:
    print(f"vividface: {text}", file=sys.stderr)


def _printable(text: str) -> str:
    """What the console can show."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
