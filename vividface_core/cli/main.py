"""The ``vividface`` command."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from vividface_core.cli.streams import patient_streams
from vividface_core.errors import VividFaceError
from vividface_core.runtime.allocator import reuse_memory
from vividface_core.runtime.signals import sigint_flag
from vividface_core.runtime.threads import wait_asleep

KEPT = {
    "restore": " Finished shots are kept: run again with --resume.",
    "deflicker": " Finished shots are kept: run again with --resume.",
    "degrade": " Only whole files are kept.",
    "run": " Finished files are kept: the same command does the rest.",
    "bench": " Finished clips are kept: the same command does the rest.",
    "score": " Videos that were judged are kept in the file of --jsonl: the same command does the rest.",
}
"""What Ctrl-C leaves behind, by command."""
GROUP = "vividface.commands"
"""Entry points of this group are commands of other packages. Each names a module with ``add_options`` and ``run``, the
texts ``SUMMARY`` and ``DESCRIPTION`` for the help, and ``KEPT``: what Ctrl-C leaves behind."""

TOOLS = {
    "restore": (
        "vividface_core.cli.restore",
        "restore the faces of a video",
        "Restore the faces of a video. Everything else (other pixels, audio, subtitles, timing) stays.",
    ),
    "deflicker": (
        "vividface_core.cli.deflicker",
        "take the flicker out of a video",
        "Take the flicker out of whole frames of a video: of old film, projectors, lamps or image generators. Detail, "
        "audio, subtitles and timing stay.",
    ),
    "preview": (
        "vividface_core.cli.preview",
        "restore some faces and a second, and tell what the whole takes",
        "Restore a second of a video, and its smallest, largest and most turned face, into a sheet of pictures and "
        "a comparison, and tell time, memory and faces of the whole run. The options are those of 'vividface restore'.",
    ),
    "faces": (
        "vividface_core.cli.faces",
        "draw the people of a video with their numbers",
        "Find the people of a video, the same person over all its cuts, and draw a sheet of them with their numbers, "
        "for --faces and --strength of 'vividface restore'. The video isn't changed.",
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
    "models": (
        "vividface_core.cli.models",
        "list, find, download and convert checkpoints",
        "List, find, download and convert checkpoints.",
    ),
}
"""The engine's own commands by name: a module with ``add_options`` and ``run``, a line and a paragraph of help."""


def build_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """All commands with their help texts.

    Args:
        chosen: the only command whose module is imported, so that the others' imports cost no time; ``None``: all.
    """
    parser = argparse.ArgumentParser(prog="vividface", description="Video face enhancement.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_tools(commands, chosen)
    if chosen not in TOOLS:
        _add_other_tools(commands)
    return parser


def _add_tools(commands: argparse._SubParsersAction, chosen: str | None) -> None:
    for name, (module, summary, description) in TOOLS.items():
        tool = commands.add_parser(name, help=summary, description=description)
        if chosen not in (None, name):
            continue
        command = import_module(module)
        command.add_options(tool)
        tool.set_defaults(run=command.run)


def _add_other_tools(commands: argparse._SubParsersAction) -> None:
    for name, module in other_commands().items():
        command = import_module(module)
        tool = commands.add_parser(name, help=command.SUMMARY, description=command.DESCRIPTION)
        command.add_options(tool)
        tool.set_defaults(run=command.run, kept=command.KEPT)


def other_commands() -> dict[str, str]:
    """Modules of commands that other packages add, by the command's name.

    A checkout that isn't installed, or was before it had them, says so in its ``pyproject.toml``.
    """
    found = {point.name: point.value for point in entry_points(group=GROUP)}
    checkout = Path(__file__).parents[2] / "pyproject.toml"
    if sys.version_info >= (3, 11) and checkout.is_file():
        import tomllib

        project = tomllib.loads(checkout.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == "vividface":
            found |= project.get("entry-points", {}).get(GROUP, {})
    return found


def print_what_can_be_printed() -> None:
    """A console of an older code page gets escapes for the signs that it lacks, rather than an error after the work."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def main(argv: list[str] | None = None) -> int:
    """Entry point. Returns 0, 1 after an error (one line on stderr) or with failed files, or 130 after Ctrl-C."""
    print_what_can_be_printed()
    wait_asleep()
    reuse_memory()
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
                print(f"\nvividface: stopped.{getattr(args, 'kept', KEPT.get(args.command, ''))}", file=sys.stderr)
                return 130
            if isinstance(error, VividFaceError):
                print(f"vividface: {error}", file=sys.stderr)
                return 1
            raise


if __name__ == "__main__":
    sys.exit(main())
