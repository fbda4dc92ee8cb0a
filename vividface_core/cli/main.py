"""The ``vividface`` command."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from vividface_core.cli.streams import patient_streams
from vividface_core.errors import VividFaceError
from vividface_core.runtime.signals import sigint_flag

KEPT = {
    "restore": " Finished shots are kept: run again with --resume.",
    "degrade": " Only whole files are kept.",
    "run": " Finished files are kept: the same command does the rest.",
    "bench": " Finished clips are kept: the same command does the rest.",
    "score": " Videos that were judged are kept in the file of --jsonl: the same command does the rest.",
    "curate": " Everything that was found out is kept: the same command does the rest.",
}
"""What Ctrl-C leaves behind, by command."""


TOOLS = {
    "restore": (
        "vividface_core.cli.restore",
        "restore the faces of a video",
        "Restore the faces of a video. Everything else (other pixels, audio, subtitles, timing) stays.",
    ),
    "run": (
        "vividface_core.cli.run",
        "send a folder of videos through a workflow on ComfyUI servers",
        "Send each video of a folder through a workflow on one or several ComfyUI servers, and fetch the results. A "
        "later run does only what is missing or changed.",
    ),
    "degrade": (
        "vividface_core.cli.degrade",
        "make a video worse, as papers do, to test restorers",
        "Degrade a video, a folder of pictures or a folder of videos by a recipe of the papers. Times, sound and size "
        "stay. What was drawn is written beside the output (OUT.degradation.json) and into it.",
    ),
    "metrics": (
        "vividface_core.cli.metrics_options",
        "measure videos, with or without a reference",
        "Measure videos, or folders of them, with or without a reference, and write reports.",
    ),
    "bench": (
        "vividface_core.cli.bench_options",
        "the papers' tables, with rows measured here",
        "Degrade a data set, restore it with one or several checkpoints, measure, and print the papers' tables with "
        "rows of one's own under them. A second run goes on where the first one stopped.",
    ),
    "score": (
        "vividface_core.cli.score_options",
        "grade face videos by a multimodal model, as training data",
        "Grade face videos by the paper's criteria: a multimodal model on this machine or behind a server looks at "
        "frames of each and gives five scores, bonuses and penalties. Sums are computed anew.",
    ),
    "curate": (
        "training.curation.command",
        "make a data set of face clips out of a folder of videos",
        "Cut videos into face clips, measure them, leave out what is technically poor or there already, have a judge "
        "grade the others, and keep the best: clips, a manifest with every score and every reason, a contact sheet, "
        "and a page where a person can overrule. The same command goes on where it was stopped; nothing is judged "
        "twice.",
    ),
    "calibrate": (
        "training.curation.calibrate",
        "correct a judge's scores by those of people",
        "Fit the correction that brings a judge's scores in line with people's: monotone, for one judge and one "
        "version of the criteria, from five or more clips that a person scored. Tells the rank correlation before and "
        "after.",
    ),
    "models": (
        "vividface_core.cli.models",
        "list, find, download and convert checkpoints",
        "List, find, download and convert checkpoints.",
    ),
}
"""Commands that live in rooms of their own, by name: a module with ``add_options`` and ``run``, a line and a paragraph
of help."""


def build_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """All commands with their help texts.

    Args:
        chosen: the only one whose room is opened for its options, so that no other room's imports cost time; ``None``:
            all of them.
    """
    parser = argparse.ArgumentParser(prog="vividface", description="Video face enhancement.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_tools(commands, chosen)
    return parser


def _add_tools(commands: argparse._SubParsersAction, chosen: str | None) -> None:
    for name, (module, summary, description) in TOOLS.items():
        tool = commands.add_parser(name, help=summary, description=description)
        if chosen not in (None, name):
            continue
        command = import_module(module)
        command.add_options(tool)
        tool.set_defaults(run=command.run)


def main(argv: list[str] | None = None) -> int:
    """Entry point. Returns 0, 1 after an error (one line on stderr) or with failed files, or 130 after Ctrl-C."""
    with patient_streams():
        return _main(argv)


def _main(argv: list[str] | None) -> int:
    words = sys.argv[1:] if argv is None else argv
    args = build_parser(words[0] if words else "").parse_args(argv)
    args.words = list(words)
    with sigint_flag() as interrupted:
        try:
            return args.run(args) or 0
        except (Exception, KeyboardInterrupt) as error:
            if interrupted() or isinstance(error, KeyboardInterrupt):
                print(f"\nvividface: stopped.{KEPT.get(args.command, '')}", file=sys.stderr)
                return 130
            if isinstance(error, VividFaceError):
                print(f"vividface: {error}", file=sys.stderr)
                return 1
            raise


if __name__ == "__main__":
    sys.exit(main())
