"""A folder of films: each as if it were restored alone, once, by this process or by those of a Ray cluster."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Collection
from pathlib import Path

import psutil
import pytest

from benchmarks.same_results import frames_of
from tests.assets import clip, run_ffmpeg, two_shots
from tests.command import Ended, vividface
from vividface_core.errors import WorkerLost
from vividface_core.pipeline import folder
from vividface_core.pipeline.folder import FilmWork, FolderProgress, film_of, grouped, restore_films
from vividface_core.pipeline.options import RestoreOptions
from vividface_core.runtime.engines.base import LocalEngine
from vividface_core.video.folder import folder_targets
from vividface_core.weights import load_restorer

PATIENCE = 400
"""Seconds after which something that should come counts as never."""
NAMES = {"a10.mkv": "a10.mkv", "b two.mp4": "b two.mkv"}
"""Films, and what they are called in FFV1: the suffix stays where it can hold it."""


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """One film of a shot, one of two."""
    place = tmp_path_factory.mktemp("films")
    small = ["-vf", "scale=320:180", "-frames:v", "9", "-c:v", "ffv1"]
    run_ffmpeg("-i", clip("single_face"), *small, place / "a10.mkv")
    two_shots(place / "b two.mp4", 12, 10)
    return place


@pytest.fixture(scope="module")
def model(tiny_checkpoint) -> list[str]:
    return ["--model", str(tiny_checkpoint), "--preset", "ffv1", "--identity-guard", "off", "--quiet"]


@pytest.fixture(scope="module")
def alone(films, model, tmp_path_factory) -> dict[str, str]:
    """What each film is when it is restored by itself: all its frames and times, and all its bytes of sound."""
    place = tmp_path_factory.mktemp("alone")
    for name, output in NAMES.items():
        run = vividface("restore", films / name, "-o", place / output, *model)
        assert run.returncode == 0, run.stderr
    return {output: frames_of(place / output) for output in NAMES.values()}


def digests(place: Path) -> dict[str, str]:
    return {path.name: frames_of(path) for path in sorted(place.glob("*.mkv"))}


def report(place: Path) -> dict[str, dict]:
    """The one report of a folder, by film."""
    told = json.loads((place / "restore-report.json").read_text())
    return {record["film"]: record for record in told["films"]}


def test_each_film_is_as_if_alone_and_done_once(films, model, alone, tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(films, source)
    (source / "c broken.mov").write_text("no film")
    (source / "notes.txt").write_text("no film either")
    run = vividface("restore", source, "-o", out, *model)
    assert run.returncode == 1 and "1 of 3 films failed: c broken.mov" in run.stderr, run.stderr
    assert digests(out) == alone
    told = report(out)
    assert [record["state"] for record in told.values()] == ["done", "done", "failed"]
    assert (told["b two.mp4"]["frames"], told["b two.mp4"]["shots"]) == (22, 2) and told["c broken.mov"]["error"]
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.mkv")}
    # A film that went lost meanwhile, and one that is complete now.
    (out / "a10.mkv").unlink()
    shutil.copy(films / "a10.mkv", source / "c broken.mov")
    run = vividface("restore", source, "-o", out, *model)
    assert run.returncode == 0, run.stderr
    # The new film has another container, so that its result is called otherwise.
    assert digests(out) == {**alone, "c broken.mkv": alone["a10.mkv"]}
    assert (out / "b two.mkv").stat().st_mtime_ns == before[out / "b two.mkv"], "it was done"
    assert report(out)["b two.mp4"]["earlier"] and "earlier" not in report(out)["a10.mkv"]
    assert not list(out.glob(".*.vividface")), "nothing unfinished is left"


def test_nobodys_file_is_overwritten(films, model, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "b two.mkv").write_text("mine")
    run = vividface("restore", films, "-o", out, *model)
    assert run.returncode == 1 and "b two.mkv exists already" in run.stderr, run.stderr
    assert [path.name for path in out.iterdir()] == ["b two.mkv"] and (out / "b two.mkv").read_text() == "mine"
    (out / "b two.mkv").unlink()
    (out / "restore-report.json").write_text('{"mine": true}')
    run = vividface("restore", films, "-o", out, *model)
    assert run.returncode == 1 and "restore-report.json exists already" in run.stderr, run.stderr


def test_results_of_other_options_are_asked_about(films, model, tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    shutil.copy(films / "a10.mkv", source)
    assert vividface("restore", source, "-o", out, *model).returncode == 0
    first = digests(out)
    run = vividface("restore", source, "-o", out, *model, "--strength", "0.5")
    assert run.returncode == 1 and "a10.mkv exists already" in run.stderr and digests(out) == first
    # Nor is what a person has put into a result's place since.
    whole = (out / "a10.mkv").read_bytes()
    (out / "a10.mkv").write_text("mine")
    run = vividface("restore", source, "-o", out, *model)
    assert run.returncode == 1 and "a10.mkv exists already" in run.stderr, run.stderr
    assert (out / "a10.mkv").read_text() == "mine"
    (out / "a10.mkv").write_bytes(whole)
    assert vividface("restore", source, "-o", out, *model, "--strength", "0.5", "--overwrite").returncode == 0
    assert digests(out) != first


def test_an_interrupted_film_goes_on_at_its_first_unfinished_shot(films, model, alone, tmp_path, monkeypatch):
    """Stopped in the second shot, as Ctrl-C does; then finished by the same command."""
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    shutil.copy(films / "b two.mp4", source)
    own = folder.restore_video

    def stopped(*film, callbacks, resuming):
        def frame(frame):
            if frame.index == 15:
                raise KeyboardInterrupt

        callbacks.frame = frame
        return own(*film, callbacks=callbacks, resuming=resuming)

    with monkeypatch.context() as patched:
        patched.setattr(folder, "restore_video", stopped)
        run = vividface("restore", source, "-o", out, *model)
    assert run.returncode == 130 and "the same command does the rest" in run.stderr, run.stderr
    part = out / ".b two.mkv.vividface" / "part-00000.nut"
    made = part.stat().st_mtime_ns
    resumed = []
    monkeypatch.setattr(folder, "restore_video", lambda *film, **how: resumed.append(part.stat()) or own(*film, **how))
    assert vividface("restore", source, "-o", out, *model).returncode == 0
    assert digests(out) == {"b two.mkv": alone["b two.mkv"]} and [stat.st_mtime_ns for stat in resumed] == [made]


@pytest.mark.parametrize(
    "words, told",
    [
        (["--background", "b.mp4"], "--background is for one film"),
        (["--side-by-side", "s.mp4"], "--side-by-side is for one film"),
        (["--engine", "ray", "--devices", "0,1"], "a GPU of its own"),
        (["--workers", "2"], "--workers belongs to --engine ray"),
        (["--model", "no-such-model", "--faces", "prettiest"], "prettiest"),
    ],
)
def test_what_can_not_work_is_said_before_the_work(films, tmp_path, words, told):
    run = vividface("restore", films, "-o", tmp_path / "out", *words)
    assert run.returncode == 1 and told in run.stderr.splitlines()[-1], run.stderr
    assert not list(tmp_path.glob("out/*.mkv"))


def test_folders_are_told_by_what_is_in_them(films, tmp_path, model):
    run = vividface("restore", films, "-o", films, *model)
    assert run.returncode == 1 and "is the input folder" in run.stderr
    one = vividface("restore", films / "a10.mkv", "-o", tmp_path / "a.mkv", *model, "--engine", "ray")
    assert one.returncode == 1 and "--engine ray is for a folder of films" in one.stderr
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    run_ffmpeg("-i", films / "a10.mkv", "-frames:v", "3", mixed / "%d.png")
    # Animations beside numbered pictures are left out of them, as ever.
    run_ffmpeg("-i", films / "a10.mkv", "-frames:v", "2", mixed / "x.gif")
    run = vividface("restore", mixed, "-o", tmp_path / "pictures.mkv", *model)
    assert run.returncode == 0 and "3 frames" in run.stdout and "x.gif" in run.stderr, run.stderr
    shutil.copy(films / "a10.mkv", mixed)
    run = vividface("restore", mixed, "-o", tmp_path / "out", *model)
    assert run.returncode == 1 and "holds both videos and pictures" in run.stderr


def test_neighbouring_shots_are_grouped():
    assert grouped([], 300) == []
    assert grouped([100, 250, 10, 400, 20], 300) == [[0, 1], [2, 3], [4]]
    assert grouped([5, 5, 5], 1) == [[0], [1], [2]]


class Shares(LocalEngine):
    """Like an engine of two processes: long films are shared out. Shots in ``lost`` kill whoever has them."""

    workers = 2

    def __init__(self, lost: Collection[int] = ()) -> None:
        super().__init__()
        self._lost, self.tasks = lost, []

    def map(self, make_worker, items, **how):
        kills = [item for item in items if set(self._lost) & set(item.get("shots", ()))]
        for item, answer in super().map(make_worker, [item for item in items if item not in kills], **how):
            self.tasks.append((item["film"], item["task"], item.get("shots")))
            yield item, answer
        if kills:
            raise WorkerLost("1 item killed 3 worker processes each.")


def shared(films: Path, out: Path, checkpoint: Path, engine: Shares) -> dict[str, dict]:
    (out / folder.RECORDS).mkdir(parents=True, exist_ok=True)
    options = RestoreOptions(preset="ffv1", identity_guard="off")
    targets = folder_targets(films, out, "ffv1").items()
    work = FilmWork(
        tuple(film_of(source, output, "tiny", options) for source, output in targets),
        options,
        lambda: (load_restorer(str(checkpoint)), "tiny"),
    )
    quiet = FolderProgress(lambda title, total: None, lambda: None, lambda text: None)
    return restore_films(work, engine, quiet, long=20, group=1)


def test_shots_of_a_long_film_are_tasks_of_their_own(films, alone, tiny_checkpoint, tmp_path):
    engine = Shares()
    told = shared(films, tmp_path / "out", tiny_checkpoint, engine)
    assert engine.tasks == [
        (1, "look", None),
        (1, "shots", [0]),
        (1, "shots", [1]),
        (0, "whole", None),
        (1, "join", None),
    ]
    assert digests(tmp_path / "out") == alone and told["b two.mp4"]["shots"] == 2
    again = Shares()
    assert all(record["earlier"] for record in shared(films, tmp_path / "out", tiny_checkpoint, again).values())
    assert again.tasks == [], "each film once"


def test_what_kills_its_processes_costs_its_own_film_only(films, alone, tiny_checkpoint, tmp_path):
    told = shared(films, tmp_path / "out", tiny_checkpoint, Shares(lost=[1]))
    assert told["a10.mkv"]["state"] == "done" and told["b two.mp4"]["state"] == "failed"
    assert "killed 3 worker processes" in told["b two.mp4"]["error"]
    assert digests(tmp_path / "out") == {"a10.mkv": alone["a10.mkv"]}
    # The next run does what is missing: its first shot is there.
    engine = Shares()
    assert shared(films, tmp_path / "out", tiny_checkpoint, engine)["b two.mp4"]["state"] == "done"
    assert digests(tmp_path / "out") == alone and [task for film, task, _ in engine.tasks if film == 0] == []


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.skipif(sys.version_info >= (3, 15), reason="Ray has no packages for this Python")
def test_two_workers_of_which_one_is_killed_make_the_same_films(films, model, alone, tmp_path, monkeypatch):
    """The film of two shots counts as a long one. Who writes one of them is killed while it does."""
    monkeypatch.setattr(folder, "LONG", 20)
    monkeypatch.setattr(folder, "GROUP", 1)
    out = tmp_path / "out"
    killer = Killer(out / ".b two.mkv.vividface")
    run: Ended = vividface("restore", films, "-o", out, *model, "--engine", "ray", "--workers", "2")
    killer.join()
    assert run.returncode == 0, run.stderr
    assert killer.killed, "a worker was at work on a shot of the long film"
    assert "A worker process died; what was in hand there was given out again." in run.stderr
    assert digests(out) == alone
    assert not list(out.glob(".*.vividface")) and {record["state"] for record in report(out).values()} == {"done"}


class Killer(threading.Thread):
    """Kills the process that is writing a part in a work folder, once."""

    def __init__(self, work: Path) -> None:
        super().__init__(daemon=True)
        self._work, self.killed = work, ""
        self.start()

    def run(self) -> None:
        end = time.monotonic() + PATIENCE
        while not self.killed and time.monotonic() < end:
            if list(self._work.glob(".part-*")):
                self._kill()
            time.sleep(0.005)

    def _kill(self) -> None:
        for process in psutil.Process().children(recursive=True):
            try:
                if "WorkerActor" not in "".join(process.cmdline()):
                    continue
                if writes := [file.path for file in process.open_files() if file.path.startswith(str(self._work))]:
                    process.kill()
                    self.killed = writes[0]
                    return
            except psutil.Error:
                continue
