"""A run of ``vividface curate``, from the first check to the manifest."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from tqdm import tqdm

from training.curation import human_labels
from training.curation.clips import ClipRules
from training.curation.dataset import DataSet, videos_below
from training.curation.decisions import Policy, Row, Video
from training.curation.judging import Judging, ResolveIdentity, judge_stage, release_judge, shared_judge
from training.curation.record_store import digest_of
from training.curation.review.contact_sheet import save_contact_sheet
from training.curation.review.groups import dropped_groups
from training.curation.review.page import Facts, write_review
from training.curation.runner import CurationCallbacks, CurationRunner
from training.curation.stages import Recipe
from training.curation.thresholds import Thresholds
from training.data.manifest import load_pyarrow, read_manifest, write_manifest, write_parquet
from vividface_core.errors import InvalidOption
from vividface_core.faces.detect import load_detector
from vividface_core.mllm.calibration import Calibration
from vividface_core.mllm.judges.arguments import judge_options
from vividface_core.mllm.rubric import RUBRIC, read_rubric, rubric_version
from vividface_core.mllm.rubric_schema import TOTAL
from vividface_core.mllm.scoring import judge_id
from vividface_core.restorers.registry import system_named
from vividface_core.runtime.console import printable
from vividface_core.runtime.devices import pick_device
from vividface_core.runtime.engines import choose_engine
from vividface_core.runtime.engines.base import Engine, LocalEngine

INTRODUCTIONS = "judges"
"""Records of who a model on this machine turned out to be, by its options."""


def run(args: argparse.Namespace) -> int:
    """Carry out ``vividface curate``; returns 0, or 1 if a video or a clip failed.

    Raises:
        VividFaceError: an option is at fault, or nothing can be done; what is finished is kept.
    """
    data, console = DataSet(args.output), Console(args.quiet)
    data.check(args.videos)
    names, policy, recipe = videos_below(args.videos), _policy(args, data), _recipe(args, data)
    judge_runner = None if args.dry_run else JudgeRunner(args, policy)
    if args.parquet:
        load_pyarrow()  # that it is missing is said before the work
    _tell_changes(data, settings := _settings(args, policy, recipe), console)
    with data.opened(settings):
        engine = choose_engine(args.engine, args.address, args.workers, data.work.resolve(), recipe.videos)
        try:
            _restart(args.restart_from, data, recipe)
            if judge_runner:
                judge_runner.resolve_identity(engine, data, console)
                _restart_judge(args.restart_from, data, judge_runner)
            curation = CurationRunner(data, recipe, engine, console)
            videos = curation.cut(names)
            curation.measure(videos, policy)
            if judge_runner:
                judge_runner.judge(curation, curation.waiting(videos, policy))
            console.close()
            rows = curation.rows(videos, policy)
            _finish(args, data, rows, policy, judge_runner)
        finally:
            console.close()
            release_judge()
            engine.close()
    _tell_strays(policy, rows, console)
    print(printable(summary(rows, videos, data, dry=args.dry_run)))
    return 1 if any(row["state"] == "failed" for row in rows) else 0


def _policy(args: argparse.Namespace, data: DataSet) -> Policy:
    if args.threshold is not None and not 0 <= args.threshold < TOTAL:
        raise InvalidOption(
            f"--threshold is {args.threshold:g}; scores above it are kept, so give 0 or more, under {TOTAL}."
        )
    rubric = read_rubric(args.rubric) if args.rubric else RUBRIC
    calibration = Calibration.read(args.calibration) if args.calibration else None
    limits = Thresholds(**{field.name: getattr(args, field.name) for field in fields(Thresholds)})
    return Policy(
        args.frames, limits, rubric, args.threshold, calibration, human_labels.read(data.overrules), not args.dry_run
    )


def _recipe(args: argparse.Namespace, data: DataSet) -> Recipe:
    system = system_named(args.system) if args.system else None
    rules = ClipRules(args.frames, args.size, args.margin, 0, 0, args.stride, system)
    # Unless a device is named, small networks run on the CPU: the same figures on all machines, and room for the judge.
    device = "cpu" if args.device in ("auto", "spread") else args.device
    if args.engine == "local":
        pick_device(device)
    detector = load_detector(args.detector).name  # "auto" would be another one on another machine
    return Recipe(args.videos.resolve(), data.work.resolve(), rules, detector, device)


def _settings(args: argparse.Namespace, policy: Policy, recipe: Recipe) -> dict[str, Any]:
    """What decides this run's results, for people and for the next run."""
    rules = {name: value for name, value in asdict(recipe.rules).items() if name not in ("smallest", "score")}
    return {
        "videos": str(recipe.videos),
        "clips": rules,
        "detector": recipe.detector,
        "limits": asdict(policy.limits),
        "judges": args.judge,
        "model": args.model,
        "rubric": rubric_version(policy.rubric),
        "threshold": policy.keep_above,
        "calibration": str(args.calibration) if args.calibration else None,
    }


def _tell_changes(data: DataSet, settings: dict[str, Any], console: Console) -> None:
    """A changed recipe is no fault, but a dear one to type by mistake."""
    before = data.read_settings() or {}
    told = {"videos": "videos are taken from", "clips": "clips are cut as", "detector": "faces are found by"}
    for name, what in told.items():
        if name in before and before[name] != settings[name]:
            console.notice(f"{what} {_told(settings[name])} now; in the last run it was {_told(before[name])}.")


def _told(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def _restart(stage: str | None, data: DataSet, recipe: Recipe) -> None:
    """Forget what a stage and those after it found out, of this recipe."""
    if stage == "cut":
        data.store.clear(recipe.shots_stage)
        data.store.clear(recipe.cut_stage)
    if stage in ("cut", "technical"):
        data.store.clear(recipe.figures_stage)


def _restart_judge(stage: str | None, data: DataSet, judge_runner: JudgeRunner) -> None:
    if stage is not None:
        data.store.clear(judge_runner.stage)


def _finish(
    args: argparse.Namespace, data: DataSet, rows: Sequence[Row], policy: Policy, judge_runner: JudgeRunner | None
) -> None:
    """Leave everything under its final name. After a dry run only pictures, and nothing that training would take."""
    source = args.videos.resolve()
    facts: Facts = {
        "name": data.out.resolve().name,
        "source": source,
        "rubric": policy.rubric,
        "threshold": policy.keep_above,
        "judge": judge_runner.name if judge_runner else None,
        "command": _command(args),
        "calibration": args.calibration.name if args.calibration else None,
    }
    if judge_runner is None:
        write_manifest(data.out / "dry-run.jsonl", [{**row, "clip": None} for row in rows])
        save_contact_sheet(rows, data.out, data.out / "dry-run.jpg", source)
        write_review(rows, data.out, data.out / "dry-run.html", facts)
        return
    kept = [row["key"] for row in rows if row["clip"]]
    before = [row["key"] for row in read_manifest(data.manifest)] if data.manifest.exists() else []
    data.publish(kept, {*before, *(row["key"] for row in rows)} - set(kept))
    if args.parquet:
        write_parquet(data.parquet, rows)
    else:
        data.parquet.unlink(missing_ok=True)  # it would tell of an earlier run
    write_manifest(data.manifest, rows)
    save_contact_sheet(rows, data.out, data.sheet, source)
    write_review(rows, data.out, data.review, facts)


def _command(args: argparse.Namespace) -> str:
    """The same again, to apply what a person decided."""
    words, kept = iter(args.words), []
    for word in words:
        if word == "--restart-from":
            next(words, None)
        elif not word.startswith("--restart-from="):
            kept.append(word)
    return shlex.join(["vividface", *kept])


def _tell_strays(policy: Policy, rows: Sequence[Row], console: Console) -> None:
    keys = {row["key"]: row for row in rows}
    strays = [key for key in policy.overrules if key not in keys]
    if strays:
        some = ", ".join(strays[:3]) + (" …" if len(strays) > 3 else "")
        console.notice(
            f"{len(strays)} of the overrules are of clips that aren't there: {some}. Other videos or other "
            "settings of clips made them."
        )
    for key, overrule in policy.overrules.items():
        if overrule.verdict == "keep" and key in keys and keys[key]["state"] != "kept":
            console.notice(f"{key} can't be kept: {'; '.join(keys[key]['causes'])}.")


class Console:
    """One bar for each stage, and lines that stay."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: tqdm | None = None

    def begin(self, what: str, unit: str, total: int, done: int) -> None:
        self.close()
        self._bar = tqdm(total=total, initial=done, desc=what, unit=unit, file=sys.stderr, disable=self._quiet)

    def step(self, count: int) -> None:
        if self._bar is not None:
            self._bar.update(count)

    def notice(self, text: str) -> None:
        tqdm.write(f"vividface: {text}", file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None


class JudgeRunner:
    """Makes the judge, finds out its identity, and runs it over the clips.

    Args:
        policy: its rubric and calibration are the judge's too.

    Attributes:
        stage: of the record store that holds its judgements; set by :meth:`resolve_identity`.
        name: for people.
    """

    def __init__(self, args: argparse.Namespace, policy: Policy) -> None:
        self.names, self.options = tuple(args.judge), judge_options(args, policy.rubric)
        self._engine, self._gpus, self._policy = args.engine, args.judge_gpus, policy
        self.stage = self.name = ""

    def resolve_identity(self, engine: Engine, data: DataSet, callbacks: CurationCallbacks) -> None:
        """Find out the judge's identity. A local model is loaded once for that; later runs read it from the store.

        Raises:
            VividFaceError: the judge can't be made, or the calibration belongs to another one.
        """
        models = any(name.startswith("local:") for name in self.names)
        key = digest_of([self._engine, list(self.names), repr(self.options)])
        known = data.store.get(INTRODUCTIONS, key) if models else None
        if known is None and models and self._engine != "local":
            ((_, known),) = engine.map(ResolveIdentity(self.names, self.options), [{}], gpus=self.gpus, processes=1)
        if known is None:
            judge, notices = shared_judge(self.names, self.options)
            known = {"judge": judge_id(judge.identity), "name": judge.name, "notices": notices}
        if models:
            data.store.put(INTRODUCTIONS, key, {**known, "notices": []})
        for notice in known["notices"]:
            callbacks.notice(notice)
        rubric = rubric_version(self._policy.rubric)
        if self._policy.calibration is not None:
            self._policy.calibration.correct(0.0, rubric=rubric, judge=known["judge"])  # it fits, said before the work
        self.stage, self.name = judge_stage(known["judge"], rubric), known["name"]

    @property
    def gpus(self) -> float:
        """GPUs that each process with this judge needs."""
        models = any(name.startswith("local:") for name in self.names)
        return self._gpus if self._gpus is not None else float(models and self.options.device != "cpu")

    def judge(self, curation: CurationRunner, keys: Sequence[str]) -> None:
        """See :meth:`~training.curation.runner.CurationRunner.judge`."""
        judging = Judging(curation.recipe.work, self.stage, self.names, self.options)
        servers, models = (any(name.startswith(kind) for name in self.names) for kind in ("openai:", "local:"))
        if servers and not models:
            # The key is here, a server's limits hold for a process, and asking is waiting: other machines don't help.
            concurrency = shared_judge(self.names, self.options)[0].concurrency
            curation.judge(keys, judging, LocalEngine(), concurrency=concurrency)
        else:
            curation.judge(keys, judging, gpus=self.gpus, processes=1 if servers else None)


def summary(rows: Sequence[Row], videos: Sequence[Video], data: DataSet, *, dry: bool = False) -> str:
    """How many clips were kept, what the others were dropped for, and where everything lies."""
    clips = [row for row in rows if row["first"] is not None]
    states = Counter(row["state"] for row in clips)
    groups = dropped_groups(rows)
    wide = max((len(stage) for stage, _ in groups), default=0)
    lines = [f"{stage:<{wide}}  {len(found):6d}  {cause}" for (stage, cause), found in groups.items()]
    person = sum(row["overruled"] == "keep" and row["stage"] == "person" for row in clips)
    failed = sum(bool(video.error) for video in videos)
    head = f"{_counted(len(videos), 'video')}, {_counted(len(clips), 'clip')}: {states['kept']} "
    head += "would go before the judge" if dry else "kept"
    head += f" ({person} of them by a person)" if person else ""
    head += f", {states['dropped']} dropped" + (f", {states['failed']} failed" if states["failed"] else "")
    head += f"; {_counted(failed, 'video')} failed" if failed else ""
    places = (data.out / "dry-run.html", data.out / "dry-run.jsonl") if dry else (data.review, data.manifest)
    return "\n".join([*lines, head, *(str(place) for place in places)])


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
