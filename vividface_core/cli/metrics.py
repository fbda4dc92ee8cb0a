"""A run of ``vividface metrics``, from the first check to the reports."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from vividface_core.cli.overwrite import ask_to_replace
from vividface_core.cli.progress import share_bar
from vividface_core.errors import InvalidOption, VividFaceError
from vividface_core.io.atomic import write_report
from vividface_core.io.output_guard import Source, Target, check_file, check_paths, unrelated
from vividface_core.io.pictures import pillow
from vividface_core.metrics import report
from vividface_core.metrics.measure import Measurement, measure
from vividface_core.metrics.metric import Metric, MetricContext
from vividface_core.metrics.pairs import Pair, pair_up
from vividface_core.metrics.registry import METRICS, choose
from vividface_core.metrics.reports import html
from vividface_core.metrics.weights import download, missing, weight_folders
from vividface_core.runtime.devices import pick_device

NEEDS = {"needed": "needs a reference", "used": "uses a reference if there is one", "none": "needs no reference"}
WIDTH = 100
REPORTS = ("json", "csv", "markdown", "html")


def run(args: argparse.Namespace) -> int:
    """Carry out ``vividface metrics``; returns 0, or 1 if a metric that was named, or every one, has no figure.

    Raises:
        VividFaceError: an option or a clip is at fault; nothing is written then.
    """
    names = _names(args.only)
    has_reference = args.reference is not None or args.list or not args.outputs
    metrics = choose(names, has_reference)
    if args.list:
        _say(listing(METRICS.values() if names is None else metrics, args.weights_dir))
        return 0
    if not args.outputs and not args.download:
        raise InvalidOption("Name what is to be measured: a video, a folder of pictures, or a folder of videos.")
    pairs = pair_up(args.outputs, args.reference, args.input) if args.outputs else []
    _check_targets(args, pairs)
    device = pick_device(args.device)
    lost = _fetch(metrics, args.weights_dir) if args.download else 0
    if not pairs:
        return 1 if lost else 0
    if not metrics:
        raise InvalidOption("None of the usual metrics can be measured without a reference; give one with --reference.")
    measurement = _measure(args, pairs, metrics, MetricContext(device, args.weights_dir))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    _say(report.as_text(measurement, width))
    without = sum(map(len, report.not_measured(measurement).values()))
    return 1 if lost or without == len(metrics) or (without and names is not None) else 0


def _names(given: str | None) -> list[str] | None:
    if given is None:
        return None
    names = [name for name in (piece.strip() for piece in given.split(",")) if name]
    if not names:
        raise InvalidOption(f"--only names no metric; choose of {', '.join(METRICS)}.")
    return names


def _check_targets(args: argparse.Namespace, pairs: Sequence[Pair]) -> None:
    """Before the work: every report can be written, none over another or over a clip."""
    reports = [Target(path, f"--{name}") for name in REPORTS if (path := getattr(args, name))]
    clips = {path for pair in pairs for path in (pair.output, pair.reference, pair.source) if path}
    check_paths(reports, [Source(path, "a clip") for path in clips])
    for report_file in reports:
        check_file(report_file.path, report_file.name)
    ask_to_replace(unrelated(target.path for target in reports), overwrite=args.overwrite)
    if args.html:
        pillow()


def _measure(
    args: argparse.Namespace, pairs: Sequence[Pair], metrics: Sequence[Metric], context: MetricContext
) -> Measurement:
    """Measure, and write the reports that are asked for."""
    collector = html.ReportCollector(len(pairs)) if args.html else None
    bars = _Bars(args.quiet)
    try:
        measurement = measure(
            pairs, metrics, context, progress=bars, observers=collector.observers if collector else ()
        )
    finally:
        bars.close()  # an error's line stands alone
    makers = ((args.json, report.as_json), (args.csv, report.as_csv), (args.markdown, report.as_markdown))
    for target, make in makers:
        if target:
            write_report(target, make(measurement))
    if collector:
        write_report(args.html, html.page(measurement, collector))
    return measurement


class _Bars:
    """A bar a clip on stderr."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._clip = quiet, ""
        self._bar: tqdm | None = None

    def __call__(self, clip: str, done: int, total: int) -> None:
        if not done:
            return  # its frames are being counted
        bar = self._bar
        if bar is None or clip != self._clip:
            self.close()
            self._clip = clip
            bar = tqdm(total=total, desc=clip, unit="frame", file=sys.stderr, mininterval=0.3, disable=self._quiet)
            self._bar = bar
        bar.update(done - bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None


def _fetch(metrics: Iterable[Metric], folders: Sequence[Path]) -> int:
    """Bring the weights that are missing; returns how many can't be had."""
    target, lost = folders[0] if folders else weight_folders()[-1], 0
    # Metric by metric: a file that two share may be made up for in one of them only.
    each_once = {file.name: file for metric in metrics for file in missing(metric.weights, folders)}
    for file in each_once.values():
        try:
            with share_bar(f"Fetching {file.name}") as progress:
                path = download(file, target, progress)
            print(f"{path} (licence: {file.licence})", file=sys.stderr)
        except VividFaceError as error:
            print(f"vividface: {error}", file=sys.stderr)
            lost += 1
    return lost


def listing(metrics: Iterable[Metric], folders: Sequence[Path]) -> str:
    """All metrics with what they need and how they measure."""
    return "\n\n".join(_listed(metric, folders) for metric in metrics)


def _listed(metric: Metric, folders: Sequence[Path]) -> str:
    rest = "" if metric.default else ", only with --only"
    lines = [f"{metric.name}: {report.head(metric)}, {NEEDS[metric.reference]}{rest}"]
    lines += textwrap.wrap(metric.protocol, WIDTH, initial_indent="    ", subsequent_indent="    ")
    for file in metric.weights:
        state = "missing" if missing([file], folders) else "here"
        lines.append(f"    weights {state}: {file.name} ({file.licence}; {_size(file.size)}), {file.address}")
    return "\n".join(lines)


def _size(size: int | None) -> str:
    if size is None:
        return "size unknown"
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _say(text: str) -> None:
    """Print, also where the console has no arrows."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))
