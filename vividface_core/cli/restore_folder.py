"""``vividface restore`` of a folder of films: its options, and the run."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from vividface_core.cli.overwrite import ask_to_replace
from vividface_core.cli.progress import Console
from vividface_core.errors import InvalidOption, UnwritableVideo
from vividface_core.io.atomic import write_json_report
from vividface_core.io.locks import lock_file
from vividface_core.io.output_guard import Source, Target, check_paths, unrelated
from vividface_core.runtime.wording import counted
from vividface_core.video.folder import folder_targets

if TYPE_CHECKING:
    from vividface_core.pipeline.folder import FilmWork, Load
    from vividface_core.pipeline.options import RestoreOptions
    from vividface_core.runtime.engines.base import Engine

REPORT = "restore-report.json"
KEYS = ("folder", "films", "options")
"""Of every report, by which an earlier run's is known."""
ENGINES = ("local", "ray")
KEPT = " Finished films and shots are kept: the same command does the rest."


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Where the films of a folder are restored."""
    add = parser.add_argument_group("for a folder of films").add_argument
    add("--engine", default="local", choices=ENGINES, help="this process (default), or a Ray cluster")
    add("--address", metavar="ADDRESS", help="of a Ray cluster that runs; without it one is started on this machine")
    add(
        "--workers",
        type=int,
        metavar="N",
        help="processes of --engine ray (default: one a GPU; without any, as many as fill the cores)",
    )


def check_single(args: argparse.Namespace) -> None:
    """
    Raises:
        InvalidOption: options of a folder, and the input is none.
    """
    given = [f"--{name}" for name in ("address", "workers") if getattr(args, name) is not None]
    given += ["--engine ray"] if args.engine != "local" else []
    if given:
        raise InvalidOption(f"{given[0]} is for a folder of films, and {args.input} is none; leave it out.")


def run_folder(
    args: argparse.Namespace, options: RestoreOptions, load: Load, model_of: Callable[[], str], notice: str = ""
) -> int:
    """Restore every film of a folder; returns 1 if one failed.

    Args:
        load: makes the restorer in whatever process does the work.
        model_of: what tells its results from another's, without loading it.
        notice: said before the work; "": nothing.

    Raises:
        VividFaceError: an option is at fault, or nothing can be done; what is finished is kept.
    """
    from vividface_core.pipeline.folder import RECORDS, FilmWork, film_of
    from vividface_core.runtime.engines import choose_engine

    args.kept = KEPT
    targets = _checked(args, options)
    options = _found_anywhere(args, options)
    model = f"{model_of()} {args.dtype}"
    films = tuple(film_of(source, output, model, options) for source, output in targets.items())
    # A film of an earlier run may be gone on with; everything else that exists is somebody's.
    strange = [film.output for film in films if not (film.begun() or film.done())]
    ask_to_replace([*unrelated(strange), *unrelated([args.output / REPORT], KEYS)], overwrite=args.overwrite)
    _make(args.output / RECORDS)
    own = Console(quiet=args.quiet) if args.engine == "local" else None
    console = _Tasks(own, quiet=args.quiet)
    if notice:
        console.notice(notice)
    threads = None if own else single_run_threads()
    work = FilmWork(films, options, load, args.allow_playlist, own, threads)
    with _only_run(args.output / RECORDS):
        engine = choose_engine(args.engine, args.address, args.workers, args.output.resolve(), args.input.resolve())
        try:
            return _restore(args, work, engine, console)
        finally:
            console.close()
            engine.close()


def _restore(args: argparse.Namespace, work: FilmWork, engine: Engine, console: _Tasks) -> int:
    from vividface_core.pipeline import folder

    began = time.monotonic()
    progress = folder.FolderProgress(console.begin, console.step, console.notice)
    # Whoever names a number of processes wants so many, however many threads each has.
    cpus = 1 if args.workers else work.threads or 1
    waiting = any(not film.done() for film in work.films)  # otherwise nothing is started
    films = folder.restore_films(
        work,
        engine,
        progress,
        gpus=_gpus(args, engine) if waiting else 0,
        cpus=cpus,
        long=folder.LONG,
        group=folder.GROUP,
    )
    console.close()
    about = {
        "folder": str(args.input),
        "model": args.model,
        "options": {name: value for name, value in vars(work.options).items()},
        "engine": engine.name,
        "seconds": round(time.monotonic() - began, 2),
    }
    write_json_report(args.output / REPORT, folder.report_of(films, **about))
    for record in films.values():
        print(_line(record))
    failed = [name for name, record in films.items() if record["state"] == "failed"]
    print(f"{counted(len(films) - len(failed), 'film')}, {about['seconds']} s; {args.output / REPORT} tells of each")
    if failed:
        total = counted(len(films), "film")
        print(f"vividface: {len(failed)} of {total} failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _line(record: dict[str, Any]) -> str:
    if record["state"] == "failed":
        return f"{record['film']}: {record['error']}"
    frames, shots, tracks = (
        counted(record[name], what) for name, what in (("frames", "frame"), ("shots", "shot"), ("tracks", "face track"))
    )
    when = "done by an earlier run" if record.get("earlier") else f"{record['seconds']} s"
    return f"{record['film']} → {record['output']}: {frames}, {shots}, {tracks}, {when}"


class _Tasks:
    """A bar of tasks, and notices. Where this process does the work, it has bars of its own for each film.

    Args:
        own: this process's; ``None``: other processes do the work.
    """

    def __init__(self, own: Console | None, *, quiet: bool) -> None:
        self._own, self._quiet = own, quiet
        self._bar: tqdm | None = None

    def begin(self, title: str, total: int) -> None:
        self.close()
        if self._own is None:
            self._bar = tqdm(total=total, desc=title, unit="task", file=sys.stderr, disable=self._quiet)

    def step(self) -> None:
        if self._bar is not None:
            self._bar.update()

    def notice(self, text: str) -> None:
        if self._own is not None:
            self._own.notice(text)
        else:
            tqdm.write(f"vividface: {text}", file=sys.stderr)

    def close(self) -> None:
        if self._own is not None:
            self._own.close()
        if self._bar is not None:
            self._bar.close()
        self._bar = None


def _checked(args: argparse.Namespace, options: RestoreOptions) -> dict[Path, Path]:
    """What can be known before the work; where each film goes.

    Raises:
        VividFaceError: what is at fault.
    """
    from vividface_core.cli.restore_checks import check_choice, check_options, sources_beside

    for name, given in (("--background", args.background), ("--side-by-side", args.side_by_side)):
        if given:
            raise InvalidOption(f"{name} is for one film, and {args.input} is a folder of films; leave it out.")
    if args.engine == "ray" and (args.devices or ":" in args.device):
        raise InvalidOption("With --engine ray each process has a GPU of its own; leave out the numbers of devices.")
    check_options(options)
    if args.output.resolve() == args.input.resolve():
        raise InvalidOption(
            f"The output {args.output} is the input folder: results would be films of it. Name another."
        )
    if args.output.exists() and not args.output.is_dir():
        raise UnwritableVideo(f"{args.output} is a file; {args.input} is a folder of films, so name a folder.")
    targets = folder_targets(args.input, args.output, options.preset)
    written = [Target(path, "the output") for path in targets.values()]
    sources = [Source(film, "a film") for film in targets]
    check_paths([*written, Target(args.output / REPORT, "the report")], sources + sources_beside(args, options))
    check_choice(args, options)
    return targets


def _found_anywhere(args: argparse.Namespace, options: RestoreOptions) -> RestoreOptions:
    """Whole paths: other processes may work in other folders."""
    if Path(args.model).exists():
        args.model = str(Path(args.model).absolute())
    args.models_dir = [folder.absolute() for folder in args.models_dir]
    kind, _, picture = options.faces.partition(":")
    return replace(options, faces=f"{kind}:{Path(picture).absolute()}") if kind == "ref" else options


def _make(folder: Path) -> None:
    try:
        folder.parent.mkdir(exist_ok=True)
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UnwritableVideo(
            f"The folder {folder.parent} can't be made ({error.strerror}). Choose another."
        ) from error


@contextmanager
def _only_run(folder: Path) -> Iterator[None]:
    """Keep a second run out meanwhile.

    Raises:
        UnwritableVideo: there is one.
    """
    with (folder / "lock").open("ab") as lock:
        if not lock_file(lock.fileno()):
            raise UnwritableVideo(f"Another run works on {folder.parent}. Wait for it, or stop it.")
        yield


def single_run_threads() -> int:
    """Of torch where this process would do the work itself; ``OMP_NUM_THREADS`` sets it."""
    import torch

    return torch.get_num_threads()


def _gpus(args: argparse.Namespace, engine: Engine) -> float:
    """For each process: one, if there are any and they aren't refused."""
    there = engine.gpus()
    return 1.0 if args.device not in ("auto", "cpu") or (there and args.device == "auto") else 0.0
