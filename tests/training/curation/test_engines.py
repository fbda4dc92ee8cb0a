"""What runs the stages of a curation: threads of this process, and real Ray clusters of this machine."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from tests.curation_material import OPTIONS, make_videos
from tests.curation_work import PATIENCE, Work, note, noted, wait_for
from tests.paths import REPOSITORY
from vividface_core.cli.main import main
from vividface_core.errors import ClusterUnusable, InvalidOption, JudgeFailed, MissingWeights, WorkerLost
from vividface_core.runtime.engines import choose_engine
from vividface_core.runtime.engines.ray_actors import TRIES, RayEngine
from vividface_core.runtime.threads import parallel_map

NO_RAY = sys.version_info >= (3, 15), "Ray has no packages for this Python"
VALUES = [None, 0, -1.5, 1e-300, 0.1, 2**53, "ünï\n", [], [None, {"a": [1, "x"]}], {"deep": {"er": [True, False]}}]


@pytest.fixture(scope="module")
def ray_engine(tmp_path_factory):
    """One cluster with two workers for the whole file; another engine of this process uses it too."""
    if NO_RAY[0]:
        pytest.skip(NO_RAY[1])
    engine = choose_engine("ray", None, 2, tmp_path_factory.mktemp("shared"))
    list(engine.map(Work(tmp_path_factory.mktemp("warm")), [{"key": "x"}]))
    yield engine
    engine.close()


@pytest.fixture(params=["local", "ray"])
def engine(request):
    return request.getfixturevalue("ray_engine") if request.param == "ray" else choose_engine("local")


def items(count: int, **more: dict) -> list[dict]:
    """``i0=…`` adds to the first item."""
    return [{"key": f"i{number}", **more.get(f"i{number}", {})} for number in range(count)]


def test_what_goes_in_comes_out_as_it_is_done(engine, tmp_path):
    """The last two wait until the result of the one before them is here."""
    given = [{"key": f"i{number}", "value": value, "more": value} for number, value in enumerate(VALUES)]
    given += [{"key": "wait", "wait": [["here", "i0"]]}, {"key": "wait on", "wait": [["here", "wait"]]}]
    got = {}
    for item, result in engine.map(Work(tmp_path), given):
        got[item["key"]] = (item, result)
        note(tmp_path, "here", item["key"])
    assert [got[item["key"]][0] for item in given] == given
    for item in given:
        value = got[item["key"]][1]["value"]
        assert value == item.get("value") and type(value) is type(item.get("value"))
    assert Counter(noted(tmp_path, "done")) == Counter(item["key"] for item in given)
    processes = {result["pid"] for _, result in got.values()}
    assert len(noted(tmp_path, "made")) == engine.workers == (2 if engine.name == "ray" else 1)
    assert (os.getpid() in processes) == (engine.name == "local") and len(processes) <= engine.workers
    assert list(engine.map(Work(tmp_path), [])) == []


def test_threads_of_one_process_have_several_items_in_hand(engine, tmp_path):
    """Each of the first four goes on when all four have begun."""
    together = {"wait": [["begun", f"i{number}"] for number in range(4)]}
    given = items(9, **{f"i{number}": together for number in range(4)})
    results = [result for _, result in engine.map(Work(tmp_path), given, concurrency=4, processes=1)]
    assert {result["key"] for result in results} == {item["key"] for item in given}
    assert len({result["pid"] for result in results}) == 1 and len({result["thread"] for result in results}) == 4
    made = {f"{result['pid']}-{result['thread']}" for result in results}
    assert sorted(noted(tmp_path, "made")) == sorted(made), "one worker for each thread"


def test_after_an_error_what_is_under_way_is_finished_and_nothing_begun(engine, tmp_path):
    given = items(40, i0={"wait": [["begun", "i1"]], "raise": "JudgeFailed"})
    given[1] |= {"wait": [["raised", "i0"]], "rest": 1}
    with pytest.raises(JudgeFailed, match="^i0 can't be.$"):
        list(engine.map(Work(tmp_path), given, concurrency=2, processes=1))
    begun = noted(tmp_path, "begun")
    assert "i1" in noted(tmp_path, "done") and set(begun) - {"i0"} == set(noted(tmp_path, "done")) and len(begun) < 10
    if engine.name == "local":
        again = [{**item, "raise": None} for item in given]
        assert len(list(engine.map(Work(tmp_path), again, concurrency=2))) == 40
        assert Counter(noted(tmp_path, "done")) == Counter(item["key"] for item in given), "each once"


def test_what_no_item_can_be_done_without_is_said_as_it_is(engine, tmp_path, capfd):
    with pytest.raises(MissingWeights, match="^MissingWeights is what it is. Do something.$"):
        list(engine.map(Work(tmp_path, "MissingWeights"), items(5)))
    with pytest.raises(JudgeFailed, match="^i1 can't be.$"):
        list(engine.map(Work(tmp_path), items(2, i1={"raise": "Refused"})))
    with pytest.raises((ZeroDivisionError, RuntimeError), match="i2 can't be") as caught:
        list(engine.map(Work(tmp_path), items(5, i2={"raise": "Bug"})))
    if engine.name == "ray":
        assert "curation_work.py" in str(caught.value), "a fault of the program says where"
    assert capfd.readouterr() == ("", ""), "Ray adds nothing of its own"


def test_a_killed_worker_s_items_are_done_by_another_each_once(ray_engine, tmp_path, capfd):
    """One dies in the middle of its work, one right after it, and one whenever it is tried."""
    given = items(12, i3={"deaths": 1}, i6={"dies_done": 1}, i9={"deaths": 99})
    results = []
    with pytest.raises(WorkerLost, match=r'1 item killed 3 worker processes each, first \{"key": "i9"'):
        results += (item["key"] for item, _ in ray_engine.map(Work(tmp_path), given))
    done = {item["key"] for item in given} - {"i9"}
    assert Counter(noted(tmp_path, "done")) == Counter(done)
    begun = Counter(noted(tmp_path, "begun"))
    assert (begun.pop("i3"), begun.pop("i6"), begun.pop("i9")) == (2, 1, TRIES) and set(begun.values()) == {1}
    assert len(noted(tmp_path, "made")) <= 2 + 1 + 1 + TRIES
    assert ray_engine.notices.pop() == "2 worker processes died; what was in hand there was given out again."
    assert capfd.readouterr() == ("", ""), "Ray adds nothing of its own"


def test_whoever_stops_listening_frees_the_workers(ray_engine, tmp_path):
    for _ in ray_engine.map(Work(tmp_path), items(50, i30={"wait": [["never", "this"]]})):
        break
    assert len(list(ray_engine.map(Work(tmp_path / "."), items(4)))) == 4, "there is room again"


def test_a_machine_that_sees_other_files_is_told_before_the_work(ray_engine, tmp_path, monkeypatch):
    if not Path("/proc/self/cwd").exists():
        pytest.skip("needs a path that is another folder in every process")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)  # the workers stay where they began
    engine = RayEngine(workers=2, shared=Path("/proc/self/cwd/out"))
    with pytest.raises(ClusterUnusable, match="doesn't see the files in /proc/self/cwd/out.*same path"):
        list(engine.map(Work(tmp_path), items(2)))
    engine.close()
    (tmp_path / "videos").mkdir()
    with pytest.raises(ClusterUnusable, match="doesn't see the files in /proc/self/cwd/videos"):
        list(RayEngine(workers=2, read=Path("/proc/self/cwd/videos")).map(Work(tmp_path), items(2)))
    assert not noted(tmp_path, "made") and not list((tmp_path / "out").iterdir())
    assert list(RayEngine(workers=2, shared=tmp_path / "out").map(Work(tmp_path), items(2))), "the cluster is there"


def test_a_gpu_that_isn_t_there_is_an_error_and_no_endless_wait(ray_engine, tmp_path):
    with pytest.raises(ClusterUnusable, match="1000 GPUs.*--judge-gpus"):
        list(ray_engine.map(Work(tmp_path), items(2), gpus=1000))


@pytest.mark.parametrize(
    "how, words",
    [
        (("dask",), "no engine 'dask'; choose one of local, ray"),
        (("local", "auto"), "--address belongs to"),
        (("local", None, 2), "--workers belongs to"),
        (("ray", None, 0), "--workers is 0"),
    ],
)
def test_options_that_make_no_sense(how, words):
    with pytest.raises(InvalidOption, match=words):
        choose_engine(*how)


def test_threads_hand_over_what_they_have_before_they_stop():
    """The error of the third comes after the results of those before it; a fault of the caller stops them too."""
    got = []
    with pytest.raises(ValueError, match="3"):
        got += (result for _, result in parallel_map(lambda: _until_three, range(99), 1))
    assert got == [0, 1, 2]
    begun: list[int] = []
    for _ in parallel_map(lambda: lambda number: time.sleep(0.001) or begun.append(number), range(100_000), 4):
        break
    time.sleep(0.2)
    count = len(begun)
    time.sleep(0.2)
    assert count == len(begun) < 100_000


def _until_three(number: int) -> int:
    if number == 3:
        raise ValueError("3")
    return number


def curate(videos: Path, out: Path, *more: str) -> bytes:
    """The manifest, as bytes."""
    assert main(["curate", str(videos), "-o", str(out), *OPTIONS, "--quiet", *more]) == 1, "one video is broken"
    return (out / "manifest.jsonl").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_cluster_that_loses_workers_makes_the_same_data_set(ray_engine, tmp_path):
    videos = make_videos(tmp_path / "videos")
    for name in (
        "nobody/room.mp4",
        "nobody/bikes.mp4",
        "nobody/rabbit.mp4",
        "comes.mov",
        "goes.mov",
        "far away.mp4",
        "one face again.mkv",
        "phone/distorted.mp4",
    ):
        (videos / name).unlink()  # nothing of them goes before the judge
    alone = curate(videos, tmp_path / "local")
    assert sum(bool(json.loads(row)["judgement"]) for row in alone.splitlines()) >= 30
    killer = Killer(tmp_path / "ray", ("shots-*/*", 3), ("figures-*/*", 10), ("judge-*/*", 5))
    assert curate(videos, tmp_path / "ray", "--engine", "ray", "--workers", "2") == alone
    killer.join()
    assert len(killer.killed) == 3, "a worker at each of three stages"
    one, other = (
        {file.name: file.read_bytes() for file in (tmp_path / out / "clips").iterdir()} for out in ("local", "ray")
    )
    assert one == other and not list((tmp_path / "ray").rglob("*.partial*"))


class Killer(threading.Thread):
    """Kills a worker at work as soon as a stage has left so many records, one stage after the other."""

    def __init__(self, out: Path, *marks: tuple[str, int]) -> None:
        super().__init__(daemon=True)
        self._out, self._marks, self.killed = out, marks, []
        self.start()

    def run(self) -> None:
        end = time.monotonic() + 4 * PATIENCE
        for pattern, count in self._marks:
            while len(list(self._out.glob(f"work/{pattern}.json"))) < count and time.monotonic() < end:
                time.sleep(0.005)
            for process in psutil.Process().children(recursive=True):
                if "WorkerActor" in "".join(process.cmdline()):
                    process.kill()
                    self.killed.append(pattern)
                    break


PROGRAM = """
import sys
from pathlib import Path
from tests.curation_work import Work, note
from vividface_core.runtime.engines import choose_engine
from vividface_core.errors import VividFaceError
folder, name, address = Path(sys.argv[1]), sys.argv[2], sys.argv[3] or None
engine = choose_engine(name, address, 2 if address else None, folder)
items = [{"key": "i0"}, *({"key": f"i{n}", "wait": [["never", "this"]]} for n in (1, 2, 3) if sys.argv[4:])]
try:
    for item, result in engine.map(Work(folder), items, concurrency=1 if address else 2):
        note(folder, "here", item["key"])
except VividFaceError as error:
    sys.exit(str(error))
finally:
    engine.close()
    note(folder, "closed", "yes")
"""


LACKS = """
import sys
from pathlib import Path
class Finder:
    def find_spec(name, *_):
        if name == "vividface_core" and not Path({0!r}).exists():
            raise ImportError("half of it is missing")
sys.meta_path.insert(0, Finder)
"""
"""Of an interpreter: without the package until a file is there."""


def start(folder: Path, engine: str, address: str = "", *more: str, **environment: str) -> subprocess.Popen:
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, folder, engine, address, *more],
        text=True,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )


def interrupted(run: subprocess.Popen, folder: Path) -> str:
    wait_for(folder, "here", "i0")
    run.send_signal(signal.SIGINT)
    said = run.communicate(timeout=PATIENCE / 2)[1]  # an item waits longer than that
    assert noted(folder, "closed") and not noted(folder, "done")[1:]
    return said


def test_ctrl_c_waits_for_no_thread(tmp_path):
    assert interrupted(start(tmp_path, "local", "", "slow"), tmp_path).strip().endswith("KeyboardInterrupt")


@pytest.mark.slow
@pytest.mark.skipif(NO_RAY[0], reason=NO_RAY[1])
def test_a_cluster_of_others_is_used_proved_and_left_alone(tmp_path):
    """By its address: without the package, with it until Ctrl-C, and from outside."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(LACKS.format(str(tmp_path / "present")))
    keys = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    port, door = str(free_port()), str(free_port())
    head = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--head",
            "--block",
            "--port",
            port,
            "--num-cpus",
            "2",
            "--ray-client-server-port",
            door,
            "--include-dashboard",
            "false",
            "--object-store-memory",
            "100000000",
        ],
        env={**os.environ, **keys, "PYTHONPATH": f"{tmp_path / 'path'}{os.pathsep}{REPOSITORY}"},
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        for line in head.stdout:
            if "runtime started" in line:
                break
        use = {"engine": "ray", "address": f"127.0.0.1:{port}", **keys}
        run = start(tmp_path / "broken", **use)
        said = run.communicate(timeout=2 * PATIENCE)[1]
        assert run.returncode == 1 and "can't load vividface: ImportError: half of it is missing." in said, said
        assert len(said.strip().splitlines()) == 1 and not noted(tmp_path / "broken", "made")
        (tmp_path / "present").touch()
        stopped = tmp_path / "stopped"
        assert interrupted(start(stopped, "ray", use["address"], "slow", **keys), stopped).strip().endswith("Interrupt")
        run = start(tmp_path / "good", **{**use, "address": f"ray://127.0.0.1:{door}"})
        assert run.communicate(timeout=2 * PATIENCE) == ("", "") and run.returncode == 0, "there is room again"
        assert noted(tmp_path / "good", "done") == ["i0"] and head.poll() is None
    finally:
        end_of(head)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end_of(process: subprocess.Popen) -> None:
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        member.kill()
    process.communicate()
    psutil.wait_procs(family, timeout=20)
