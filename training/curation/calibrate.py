"""``vividface calibrate``: a judge's scores brought in line with people's."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vividface_core.cli.overwrite import add_overwrite, ask_to_replace

if TYPE_CHECKING:
    from vividface_core.mllm.calibration import Agreement, Calibration, HumanScore
    from vividface_core.mllm.results import Scored

SUMMARY = "correct a judge's scores by those of people"
DESCRIPTION = (
    "Fit the correction that brings a judge's scores in line with people's: monotone, for one judge and one version of "
    "the criteria, from five or more clips that a person scored. Tells the rank correlation before and after."
)
KEPT = ""
MOST_NAMED = 3


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``vividface calibrate``."""
    add = parser.add_argument
    add(
        "human",
        type=Path,
        metavar="HUMAN",
        help="people's scores: a CSV file with the columns video and human (0 to 100), overrules.json of a review "
        "page, or the folder of a data set that holds one",
    )
    add(
        "--scores",
        type=Path,
        metavar="FILE",
        help="the judge's: the file of --json or --jsonl of 'vividface score', manifest.jsonl of 'vividface curate', "
        "or its folder; beside overrules.json the manifest is found by itself",
    )
    add(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="calibration to write, for --calibration of 'vividface score' and 'vividface curate'",
    )
    add("--judge", metavar="NAME", help="part of the judge's name, where the scores are of several")
    add_overwrite(parser)
    add("--csv", type=Path, metavar="FILE", help="also write both scores of each clip as a table")


def run(args: argparse.Namespace) -> int:
    """Carry out ``vividface calibrate``.

    Raises:
        VividFaceError: too few clips, one that the judge didn't score, a file that is something else …
    """
    from training.curation.human_labels import human_csv
    from vividface_core.io.atomic import write_report
    from vividface_core.mllm.calibration import fit_calibration
    from vividface_core.mllm.results import of_one_judge, read_scored

    people, scores = _people(args.human, args.scores)
    _check_targets(args, scores)
    judged = of_one_judge(read_scored(scores), args.judge)
    rows = _joined(people, judged, scores)
    calibration = fit_calibration(rows, rubric=judged[0].rubric, judge=judged[0].judge)
    calibration.write(args.output)
    if args.csv:
        write_report(args.csv, human_csv(rows))
    print(as_text(calibration, args.output))
    return 0


def as_text(calibration: Calibration, path: Path) -> str:
    """What was fitted, and how near the scores were to people's before and are after."""
    lines = [
        f"{path}: {calibration.rows} clips, judge {calibration.judge}, rubric {calibration.rubric}",
        f"{'':<10}{'Spearman':>10}{'Kendall':>10}{'mean error':>12}",
        _line("before", calibration.before),
        _line("after", calibration.after) + "   each clip by a fit to the others",
        "A score becomes: " + ", ".join(f"{own:g} → {people:.4g}" for own, people in _some(calibration.knots)),
    ]
    if calibration.after.mae >= calibration.before.mae:
        lines.append("On clips that weren't fitted the error doesn't fall: score as before, or give more human scores.")
    return "\n".join(lines)


def _line(name: str, agreement: Agreement) -> str:
    ranks = [f"{value:.3f}" if value is not None else "–" for value in (agreement.spearman, agreement.kendall)]
    return f"{name:<10}{ranks[0]:>10}{ranks[1]:>10}{agreement.mae:>12.2f}"


def _some(knots: Sequence[tuple[float, float]], most: int = 6) -> list[tuple[float, float]]:
    if len(knots) <= most:
        return list(knots)
    return [knots[round(step * (len(knots) - 1) / (most - 1))] for step in range(most)]


def _people(human: Path, scores: Path | None) -> tuple[list[HumanScore], Path]:
    """People's scores, and the file of the judge's."""
    from training.curation import human_labels
    from vividface_core.errors import InvalidOption
    from vividface_core.mllm.calibration import read_human_scores

    human = human / "overrules.json" if human.is_dir() else human
    if human.suffix.lower() != ".json":
        if scores is None:
            raise InvalidOption("Say where the judge's scores of these clips are with --scores.")
        return read_human_scores(human), scores
    if not human.is_file():
        raise InvalidOption(f"There is no {human}. Give clips a score on the page review.html and save them there.")
    people = human_labels.human_scores(human_labels.read(human))
    if not people:
        raise InvalidOption(f"Nobody gave a clip a score in {human}. Do that on the page review.html.")
    return people, scores or human.parent / "manifest.jsonl"


def _check_targets(args: argparse.Namespace, scores: Path) -> None:
    from vividface_core.io.output_guard import Source, Target, check_file, check_paths, unrelated

    targets = [Target(args.output, "--output")] + ([Target(args.csv, "--csv")] if args.csv else [])
    human = args.human / "overrules.json" if args.human.is_dir() else args.human
    scores = scores / "manifest.jsonl" if scores.is_dir() else scores
    check_paths(targets, [Source(human, "the human scores"), Source(scores, "the judge's scores")])
    for target in targets:
        check_file(target.path, target.name)
    ask_to_replace(unrelated(target.path for target in targets), overwrite=args.overwrite)


def _joined(people: Sequence[HumanScore], judged: Sequence[Scored], scores: Path) -> list[HumanScore]:
    """People's scores with the judge's of the same clips.

    Raises:
        InvalidOption: clips that the judge didn't score, or another score of the judge in the table.
    """
    from vividface_core.errors import InvalidOption
    from vividface_core.mllm.calibration import HumanScore
    from vividface_core.mllm.results import find

    rows, missing = [], []
    for person in people:
        try:
            own = find(person.video, judged)
        except InvalidOption as error:
            missing.append(str(error))
            continue
        if person.judge is not None and abs(person.judge - own.score) > 0.05:
            raise InvalidOption(
                f"{person.video}: the table says that the judge gave {person.judge:g}, {scores} says "
                f"{own.score:g}. Leave the column out, or name the scores that it is of."
            )
        rows.append(HumanScore(own.name, person.human, own.score))
    if missing:
        more = f" (and {len(missing) - MOST_NAMED} more)" if len(missing) > MOST_NAMED else ""
        raise InvalidOption(
            f"Of {len(people)} human scores {len(missing)} can't be put beside one in {scores}: "
            f"{' '.join(missing[:MOST_NAMED])}{more} Score these first, or take them out."
        )
    return rows
