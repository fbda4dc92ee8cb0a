"""A folder of films, restored by whatever engine: this process, or the processes of a Ray cluster.

Short films are done whole, by one process each. Of a long one the first look is one task, then its shots are shared
out in groups, and joining them is the last task. All of it goes through the work folders beside the outputs
(:mod:`vividface_core.pipeline.resume`), so what a killed process had in hand is taken up by another where it stopped,
and a second run does only what is missing. What is done is recorded beside the outputs, a file a film.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from vividface_core.errors import AnotherRun, VividFaceError, WorkerLost
from vividface_core.io.atomic import write_json
from vividface_core.io.folders import size_of
from vividface_core.pipeline.options import RestoreOptions, Result
from vividface_core.pipeline.restore import Resuming, restore_shots, restore_video
from vividface_core.pipeline.resume import work_folder
from vividface_core.restorers.base import Restorer
from vividface_core.runtime.callbacks import Callbacks
from vividface_core.runtime.engines.base import Engine, Item, Worker
from vividface_core.runtime.engines.base import Result as Answer
from vividface_core.video.source import VideoFrames

RECORDS = ".vividface-restore"
"""Folder of the records, in that of the outputs."""
LONG = 1500
"""Frames from which on a film is done by its shots, where several processes share the work: a minute."""
GROUP = 300
"""Frames of neighbouring shots that are a task together: few enough to share, enough to be worth opening the film."""
Load = Callable[[], tuple[Restorer, str]]
"""Makes the restorer, and what tells its results from another's; travels to other processes."""


@dataclass(frozen=True)
class Film:
    """One film of a folder.

    Attributes:
        request: digest of all that decides its result: its own content, the model, the options.
    """

    source: Path
    output: Path
    request: str

    @property
    def record(self) -> Path:
        """Where is written what became of it."""
        return self.output.parent / RECORDS / f"{self.output.name}.json"

    def known(self) -> dict[str, Any] | None:
        """Its record; ``None``: it was never begun."""
        try:
            found = json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def done(self) -> dict[str, Any] | None:
        """Its record, if it is done as it is asked for and the result is there."""
        known = self.known()
        if known is None or known.get("state") != "done" or known.get("request") != self.request:
            return None
        return known if size_of(self.output) == known.get("bytes") else None

    def begin(self) -> None:
        """Note that the output is this run's from now on."""
        if not self.begun():
            self.write("begun")

    def begun(self) -> bool:
        """Whether a run with the same request was at it, so that what lies at the output is its own."""
        known = self.known()
        return known is not None and known.get("request") == self.request and known.get("state") == "begun"

    def write(self, state: str, **more: Any) -> dict[str, Any]:
        """Write its record, and return it."""
        content = {"film": self.source.name, "output": self.output.name, "state": state, "request": self.request}
        write_json(self.record, {**content, **more}, indent=1)
        return {**content, **more}


def film_of(source: Path, output: Path, model: str, options: RestoreOptions) -> Film:
    """A film with its request; paths become absolute."""
    source, output = source.resolve(), output.absolute()
    found = source.stat()
    asked = {"film": [source.name, found.st_size, found.st_mtime_ns], "model": model, "options": asdict(options)}
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
    return Film(source, output, digest)


@dataclass(frozen=True)
class FilmWork:
    """Makes the worker of a process.

    Attributes:
        load: see :data:`Load`.
        callbacks: of this process; ``None`` where others do the work: they only collect notices.
        threads: of torch in each process: the same number for the same bits, since sums in other orders differ in their
            last one; ``None``: as it is.
    """

    films: tuple[Film, ...]
    options: RestoreOptions
    load: Load
    playlist: bool = False
    callbacks: Callbacks | None = None
    threads: int | None = None

    def __call__(self) -> Worker:
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        restorer, model_id = self.load()
        return _FilmWorker(self, restorer, model_id).work


class _FilmWorker:
    """Does one task after the other with one restorer."""

    def __init__(self, what: FilmWork, restorer: Restorer, model_id: str) -> None:
        self._what, self._restorer, self._model_id = what, restorer, model_id

    def work(self, item: Item) -> Answer:
        """A task: ``film`` is its number; ``task``: ``whole``, ``look``, ``shots`` or ``join``."""
        film, news = self._what.films[item["film"]], _News(self._what.callbacks)
        try:
            answer = self._shots(film, item, news) if item["task"] in ("look", "shots") else self._whole(film, news)
        except VividFaceError as error:
            return {"error": str(error), "notices": news.notices}
        return {**answer, "notices": news.notices}

    def _whole(self, film: Film, news: _News) -> Answer:
        if known := film.done():
            return {"record": known}  # by a process that died before it could say so
        film.begin()
        result = self._resumed(film, lambda how: restore_video(*self._of(film), callbacks=news, resuming=how))
        return {"record": film.write("done", bytes=size_of(film.output), **_told(result))}

    def _shots(self, film: Film, item: Item, news: _News) -> Answer:
        if film.done():
            return {"shots": []}
        film.begin()
        shots = item.get("shots", ())
        there = self._resumed(film, lambda how: restore_shots(*self._of(film), shots, callbacks=news, resuming=how))
        return {"shots": there}

    def _of(self, film: Film) -> tuple[VideoFrames, Path, Restorer, RestoreOptions]:
        options = self._what.options
        source = VideoFrames(film.source, deinterlace=options.deinterlace, playlist=self._what.playlist)
        return source, film.output, self._restorer, options

    def _resumed(self, film: Film, work: Callable[[Resuming], Any]) -> Any:
        """Go on where an earlier run or a killed process stopped; anew where that was asked for something else."""
        here = work_folder(film.output).exists()
        try:
            return work(Resuming(here, model_id=self._model_id))
        except AnotherRun:
            return work(Resuming(False, model_id=self._model_id))


class _News(Callbacks):
    """Keeps the notices of a task; passes everything on to this process's own callbacks, if there are any."""

    def __init__(self, own: Callbacks | None) -> None:
        self.notices: list[str] = []
        self._own = own or Callbacks()

    def plan(self, plan: Any) -> None:
        self._own.plan(plan)

    def progress(self, stage: str, done: float, total: float | None) -> None:
        self._own.progress(stage, done, total)

    def frame(self, frame: Any) -> None:
        self._own.frame(frame)

    def notice(self, text: str) -> None:
        self.notices.append(text)


def _told(result: Result) -> dict[str, Any]:
    worst = min((figure.lowest for figure in result.identity), default=None)
    return {
        "frames": result.frames,
        "shots": result.shots,
        "tracks": result.tracks,
        "mask": result.mask_source,
        "identity": worst,
        "seconds": round(result.seconds, 2),
    }


@dataclass
class FolderProgress:
    """What the restoration of a folder tells while it goes on.

    Attributes:
        begin: of a stage: its title and number of tasks.
        step: a task is done.
        notice: what the user should know.
    """

    begin: Callable[[str, int], None]
    step: Callable[[], None]
    notice: Callable[[str], None]


def restore_films(
    work: FilmWork,
    engine: Engine,
    progress: FolderProgress,
    *,
    gpus: float = 0.0,
    cpus: float = 1.0,
    long: int = LONG,
    group: int = GROUP,
) -> dict[str, dict[str, Any]]:
    """Restore all films that aren't done; one that fails is told, the others are done all the same.

    Args:
        gpus, cpus: that each process needs; see :meth:`~vividface_core.runtime.engines.base.Engine.map`.
        long, group: see :data:`LONG` and :data:`GROUP`.

    Returns:
        By the films' names: their records, with ``earlier`` where a former run made it; or ``state`` ``failed`` and
        the ``error``.

    Raises:
        VividFaceError: nothing can be done: the model can't be loaded, the cluster is lost. What is finished is kept.
    """
    run = _FolderRun(work, engine, progress, {"gpus": gpus, "cpus": cpus})
    waiting = [number for number, film in enumerate(work.films) if not run.skipped(film)]
    shared = [n for n in waiting if engine.workers > 1 and _frames(work, n) >= long]
    whole: list[Item] = [{"film": n, "task": "whole"} for n in waiting if n not in shared]
    groups: list[Item] = []
    for item, answer in run.tasks("Looking at long films", [{"film": n, "task": "look"} for n in shared]):
        groups += [{"film": item["film"], "task": "shots", "shots": s} for s in grouped(answer["shots"], group)]
    # The longest work begins first, so that no process is left alone with it.
    for item, answer in run.tasks("Restoring", groups + sorted(whole, key=lambda item: -_frames(work, item["film"]))):
        run.finished(item, answer)
    joins: list[Item] = [{"film": n, "task": "join"} for n in shared if run.complete(n, groups)]
    for item, answer in run.tasks("Joining long films", joins):
        run.finished(item, answer)
    return run.records()


def grouped(frames: Sequence[int], least: int) -> list[list[int]]:
    """Numbers of neighbouring shots, together at least ``least`` frames long; the last group may be shorter.

    Args:
        frames: of each shot.
    """
    groups: list[list[int]] = []
    length = least
    for number, count in enumerate(frames):
        if length >= least:
            groups.append([])
            length = 0
        groups[-1].append(number)
        length += count
    return groups


def _frames(work: FilmWork, number: int) -> int:
    """As its header tells; 0: it doesn't, or the film can't be read, which is said when it is its turn."""
    try:
        return VideoFrames(work.films[number].source, deinterlace="off", playlist=work.playlist).count or 0
    except VividFaceError:
        return 0


class _FolderRun:
    """What is known of the films so far."""

    def __init__(self, work: FilmWork, engine: Engine, progress: FolderProgress, how: dict[str, Any]) -> None:
        self._work, self._engine, self._progress, self._how = work, engine, progress, how
        self.told: dict[str, dict[str, Any]] = {}
        self._groups: Counter[int] = Counter()
        self._lost = ""
        self._noticed: dict[str, list[str]] = {}

    def skipped(self, film: Film) -> bool:
        """Whether an earlier run has done it."""
        if (known := film.done()) is None:
            return False
        self.told[film.source.name] = {**known, "earlier": True}
        return True

    def tasks(self, title: str, items: Sequence[Item]) -> Iterator[tuple[Item, Answer]]:
        """Tasks with their answers, as they are done; those of films that failed are told and left out. Of a task that
        killed its processes there is no answer; all others are done."""
        if not items:
            return
        self._progress.begin(title, len(items))
        try:
            for item, answer in self._engine.map(self._work, items, **self._how):
                name = self._work.films[item["film"]].source.name
                self._notices(name, answer["notices"])
                self._progress.step()
                if error := answer.get("error"):
                    self._fails(name, error)
                elif name not in self.told:
                    yield item, answer
        except WorkerLost as error:
            self._lost = str(error)
            self._progress.notice(self._lost)
        finally:
            while self._engine.notices:
                self._progress.notice(self._engine.notices.pop(0))

    def finished(self, item: Item, answer: Answer) -> None:
        """A film is done, or a group of shots of one."""
        film = self._work.films[item["film"]]
        self._groups[item["film"]] += item["task"] == "shots"
        if record := answer.get("record"):
            self.told[film.source.name] = {**record, "notices": self._noticed.get(film.source.name, [])}

    def complete(self, number: int, groups: Sequence[Item]) -> bool:
        """Whether all groups of shots of a film are done, and it isn't done itself nor has failed."""
        wanted = sum(item["film"] == number for item in groups)
        return self._groups[number] == wanted and self._work.films[number].source.name not in self.told

    def records(self) -> dict[str, dict[str, Any]]:
        """Of all films, by their names."""
        names = [film.source.name for film in self._work.films]
        return {name: self.told.get(name) or _failed(name, self._lost) for name in names}

    def _notices(self, name: str, lines: Sequence[str]) -> None:
        known = self._noticed.setdefault(name, [])
        for line in lines:
            if line not in known:
                known.append(line)
                self._progress.notice(line if name in line else f"{name}: {line}")

    def _fails(self, name: str, error: str) -> None:
        if name not in self.told:
            self.told[name] = _failed(name, error)
            self._progress.notice(error if name in error else f"{name}: {error}")


def _failed(name: str, error: str) -> dict[str, Any]:
    return {"film": name, "state": "failed", "error": error}


def report_of(films: dict[str, dict[str, Any]], **about: Any) -> dict[str, Any]:
    """The one report of a folder; ``about`` tells of the run."""
    return {**about, "films": list(films.values()), "written": time.strftime("%Y-%m-%dT%H:%M:%S")}
