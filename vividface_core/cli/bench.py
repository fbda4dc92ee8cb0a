"""``vividface bench``: the papers' tables, with rows measured here."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vividface_core.bench.run import INPUT, BenchCallbacks, BenchRequest, BenchRow, run_bench
from vividface_core.bench.sets import data_set
from vividface_core.bench.tables import markdown
from vividface_core.errors import InvalidOption
from vividface_core.io.atomic import write_json, write_report
from vividface_core.metrics.measure import FrameObserver
from vividface_core.metrics.report import not_measured
from vividface_core.metrics.reports.html import ReportCollector, page
from vividface_core.runtime.wording import counted


def run(args: argparse.Namespace) -> None:
    """Run it; print the tables; leave ``tables.md``, ``results.json`` and a report for each restorer."""
    request = _request(args)
    galleries: dict[str, ReportCollector] = {}

    def observers(name: str, clips: int) -> Sequence[FrameObserver]:
        return galleries.setdefault(name, ReportCollector(clips)).observers

    console = _Console(args.quiet)
    try:
        rows = run_bench(request, console, observers)
    finally:
        console.close()
    for row in rows:
        place = request.folder / "reports" / f"{_file_name(row.name)}.html"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_report(place, page(row.measurement, galleries[row.name]))
    text = tables(request, rows)
    write_report(request.folder / "tables.md", text + "\n")
    write_json(request.folder / "results.json", _results(rows))
    print(text)


def _request(args: argparse.Namespace) -> BenchRequest:
    others: dict[str, Path] = {}
    for entry in args.outputs:
        name, mark, folder = entry.partition("=")
        if not mark or not name:
            raise InvalidOption(f"--outputs {entry} isn't NAME=DIR, such as SeedVR2=results/seedvr2.")
        others[name] = Path(folder)
    chosen = data_set(args.set)
    return BenchRequest(
        set=chosen,
        data=args.data,
        folder=args.output,
        models=tuple(args.model or ["vividface-nano"]),
        others=others,
        degraded=args.degraded or chosen.degraded,
        preset=args.preset,
        seed=args.seed,
        whole_frame=not args.find_faces,
        metrics=tuple(args.only.split(",")) if args.only else None,
        limit=args.limit,
        timed_frames=args.timed_frames,
        device=args.device,
        dtype=args.dtype,
        models_folders=tuple(args.models_dir),
        weight_folders=tuple(args.weights_dir),
    )


def tables(request: BenchRequest, rows: list[BenchRow]) -> str:
    """All tables that the set fills, as Markdown, and what could not be measured."""
    parts = []
    for table in request.set.paper_tables():
        if request.degraded and table.number != "2":
            continue
        timed = "seconds" in table.columns
        shown = [row for row in rows if row.seconds is not None] if timed else rows
        if not shown:
            continue
        own = {row.name: table.own_row(row.values()) for row in shown}
        length = counted(request.timed_frames, "frame")
        told = [f"{row.name}: {length} on {row.device}." for row in shown] if timed else []
        parts.append(markdown(table, own, [*told, _clips_told(request, rows)]))
    if lost := _not_measured(rows):
        parts.append("\n".join(["Not measured:", "", *lost]))
    return "\n\n".join(parts)


def _clips_told(request: BenchRequest, rows: list[BenchRow]) -> str:
    clips = rows[0].measurement.clips
    frames, facts = sum(clip.facts.frames for clip in clips), clips[0].facts
    made = "as they came" if request.degraded else f"degraded by {request.preset}, seed {request.seed}"
    number = f"{counted(len(clips), 'clip')}, {counted(frames, 'frame')}"
    return f"{number}, the first of {facts.width}×{facts.height}, {made}."


def _not_measured(rows: list[BenchRow]) -> list[str]:
    """A line for each reason, with all metrics that it keeps from being measured."""
    reasons: dict[str, dict[str, None]] = {}
    for row in rows:
        for reason, lost in not_measured(row.measurement).items():
            reasons.setdefault(reason, {}).update(dict.fromkeys(f"`{metric.name}`" for metric in lost))
    return [f"- {', '.join(names)}: {reason}" for reason, names in reasons.items()]


def _results(rows: list[BenchRow]) -> dict[str, Any]:
    return {
        row.name: {
            "seconds": row.seconds,
            "device": row.device,
            "set": {name: score.value for name, score in row.measurement.scores.items()},
            "clips": {
                clip.facts.name: {name: score.value for name, score in clip.scores.items()}
                for clip in row.measurement.clips
            },
        }
        for row in rows
    }


def _file_name(name: str) -> str:
    return "input" if name == INPUT else "".join(c if c.isalnum() or c in "-_." else "-" for c in name)


class _Console(BenchCallbacks):
    """One bar for each kind of work."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._work = quiet, ""
        self._bar: tqdm | None = None

    def clip(self, work: str, name: str, done: int, total: int) -> None:
        if self._quiet:
            return
        bar = self._bar
        if bar is None or work != self._work:
            self.close()
            bar = tqdm(total=total, desc=work, unit="clip", file=sys.stderr)
            self._work, self._bar = work, bar
        bar.set_postfix_str(name, refresh=False)
        bar.update(done - bar.n)

    def notice(self, text: str) -> None:
        tqdm.write(f"vividface: {text}", file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.update((self._bar.total or 0) - self._bar.n)
            self._bar.close()
        self._bar, self._work = None, ""
