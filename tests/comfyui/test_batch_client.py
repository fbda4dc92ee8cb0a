"""``vividface run`` against real servers that are killed, restarted and cut off while it works."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.assets import clip, run_ffmpeg
from tests.comfyui.proxy import Cable
from tests.comfyui.server import ComfyServer
from tests.paths import REPOSITORY
from vividface_core.comfy_client.journal import NAME
from vividface_core.comfy_client.server import Server
from vividface_core.comfy_client.watch import Watch, listen

NODE = Path(__file__).with_name("slow_copy.py")
COPY = {"7": {"class_type": "SlowCopy", "inputs": {"file": "", "seconds": 0.2}, "_meta": {"title": "Copy"}}}
CORE = {
    "1": {"class_type": "LoadVideo", "inputs": {"file": "none.mp4"}},
    "2": {
        "class_type": "SaveVideo",
        "inputs": {"video": ["1", 0], "filename_prefix": "out/x", "format": "mp4", "codec": "h264"},
    },
}
TOKEN = "a-secret-that-nobody-may-see"


@pytest.fixture(scope="module")
def servers(tmp_path_factory) -> list[ComfyServer]:
    """Three servers that share nothing. A test that ends one starts it again."""
    made = []
    for number in range(3):
        folder = tmp_path_factory.mktemp(f"server{number}")
        (folder / "custom_nodes").mkdir()
        shutil.copy(NODE, folder / "custom_nodes")
        made.append(ComfyServer(folder, pack=None))
    try:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(ComfyServer.start, made))
        yield made
    finally:
        for server in made:
            server.stop()


@pytest.fixture(scope="module")
def pieces(tmp_path_factory) -> list[Path]:
    """Half-second pieces of a real clip, all different."""
    folder = tmp_path_factory.mktemp("pieces")
    run_ffmpeg(
        "-i",
        clip("franck"),
        "-t",
        "4",
        "-an",
        "-vf",
        "scale=160:-2",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-force_key_frames",
        "expr:gte(t,n_forced*0.5)",
        "-f",
        "segment",
        "-segment_time",
        "0.5",
        "-reset_timestamps",
        "1",
        folder / "%d.mp4",
    )
    found = sorted(folder.iterdir())
    assert len(found) >= 7
    return found[:7]


class Run:
    """A folder of videos, its results, and the command over them."""

    def __init__(self, folder: Path, videos: list[Path], graph: dict[str, Any]) -> None:
        self.input, self.output, self.report_file = folder / "in", folder / "out", folder / "report.json"
        self.input.mkdir()
        for video in videos:
            shutil.copy(video, self.input)
        self._workflow = folder / "flow.api.json"
        self._workflow.write_text(json.dumps(graph))
        self.text = ""

    def start(self, addresses: list[str], *options: str) -> subprocess.Popen:
        """The command, under way."""
        self.report_file.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "vividface_core.cli.main",
            "run",
            self._workflow,
            "--input",
            self.input,
            "--output",
            self.output,
            "--report",
            self.report_file,
            *options,
        ]
        for address in addresses:
            command += ["--server", address]
        environment = {**os.environ, "VIVIDFACE_SERVER_TOKEN": TOKEN}
        return subprocess.Popen(
            list(map(str, command)),
            cwd=REPOSITORY,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
        )

    def finish(self, process: subprocess.Popen) -> int:
        """Its exit code, once it has ended."""
        self.text = process.communicate(timeout=240)[0]
        assert TOKEN not in self.text + self.report_file.read_text() + (self.output / NAME).read_text()
        return process.returncode

    def whole(self, addresses: list[str], *options: str) -> int:
        """From start to end."""
        return self.finish(self.start(addresses, *options))

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        return {entry["name"]: entry for entry in json.loads(self.report_file.read_text())["files"]}

    @property
    def results(self) -> set[str]:
        return {file.name for file in self.output.iterdir()} - {NAME}

    def check_copies(self) -> None:
        """Every video has exactly its own bytes as its one result, and nothing else lies there."""
        assert self.results == {video.name for video in self.input.iterdir()}, self.text
        for video in self.input.iterdir():
            assert (self.output / video.name).read_bytes() == video.read_bytes()


def until(state: Callable[[], Any], seconds: float = 240.0) -> Any:
    """Wait for something to be true."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        value = state()
        if value:
            return value
        time.sleep(0.1)
    raise TimeoutError


def running(server: ComfyServer) -> list[str]:
    """Files that a server's copying node works on."""
    return [entry[2]["7"]["inputs"]["file"] for entry in server.get("/queue")["queue_running"]]


def test_a_second_run_does_only_what_changed(servers, pieces, tmp_path):
    run = Run(tmp_path, pieces[:4], COPY)
    addresses = [server.address for server in servers]
    into = ("--into", "Copy.file")
    assert run.whole(addresses, *into) == 0, run.text
    run.check_copies()

    assert run.whole(addresses, *into) == 0
    assert {entry["state"] for entry in run.files.values()} == {"skipped"}

    shutil.copy(pieces[5], run.input / pieces[0].name)
    (run.output / pieces[1].name).unlink()
    assert run.whole(addresses, *into) == 0
    changed = {pieces[0].name, pieces[1].name}
    assert {name for name, entry in run.files.items() if entry["state"] == "done"} == changed
    run.check_copies()

    assert run.whole(addresses, *into, "--set", "7.seconds=0.1") == 0
    assert {entry["state"] for entry in run.files.values()} == {"done"}
    assert run.whole(addresses, *into, "--set", "7.seconds=0.1", "--again") == 0
    assert {entry["state"] for entry in run.files.values()} == {"done"}
    run.check_copies()


def test_a_bad_file_fails_alone(servers, pieces, tmp_path):
    run = Run(tmp_path, pieces[:2], CORE)
    (run.input / "bad.mp4").write_text("This is no video.")
    assert run.whole([servers[0].address]) == 1, run.text
    assert {name: entry["state"] for name, entry in run.files.items()} == {
        pieces[0].name: "done",
        pieces[1].name: "done",
        "bad.mp4": "failed",
    }
    bad = run.files["bad.mp4"]
    assert "SaveVideo (node 2) failed" in bad["reason"] and bad["sent"] == 2  # once more after the error
    assert bad["reason"].split("\n")[0] in run.text
    assert run.results == {pieces[0].name, pieces[1].name}


def test_the_websocket_tells_how_far_it_is(servers, pieces):
    told, number = [], str(uuid.uuid4())

    async def work() -> None:
        watch = Watch(1)
        watch.begin(number, lambda node, share: told.append((node, share)))
        async with Server(servers[2].address) as server:
            ear = asyncio.create_task(listen(server, watch))
            graph = {"7": {**COPY["7"], "inputs": {"file": await server.upload(pieces[0], "w.mp4"), "seconds": 1.0}}}
            await asyncio.sleep(1)
            await server.submit(graph, number)
            await asyncio.wait_for(watch.ended.wait(), 30)
            ear.cancel()

    asyncio.run(work())
    shares = [share for node, share in told if node == "7"]
    # A ComfyUI of today tells ten times a second at most.
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(set(shares)) > 5


@pytest.mark.parametrize("beside", [{}, {"8": {"class_type": "SlowCopy", "inputs": {"file": "x", "seconds": 9999.0}}}])
def test_a_refused_workflow_is_not_sent_again(servers, pieces, tmp_path, beside):
    run = Run(tmp_path, pieces[:1], {**COPY, **beside})
    # Beside a node that is at fault the server takes the other one, and has to be told to leave it.
    seconds = "300" if beside else "9999"
    assert run.whole([servers[0].address], "--into", "7.file", "--set", f"7.seconds={seconds}") == 1, run.text
    entry = run.files[pieces[0].name]
    assert entry["sent"] == 1 and f"SlowCopy (node {'8' if beside else '7'})" in entry["reason"]
    until(lambda: not running(servers[0]), 150)
    assert not run.results


def test_a_server_cut_off_goes_on_with_its_file(servers, pieces, tmp_path):
    run = Run(tmp_path, pieces[:1], COPY)
    server = servers[0]
    before = len(server.get("/history"))
    with Cable(server.port) as cable:
        process = run.start([cable.address], "--into", "7.file", "--set", "7.seconds=8")
        until(lambda: running(server))
        cable.cut()
        time.sleep(6)  # a look every two seconds, and two more over the next two: then it is lost
        cable.mend()
        assert run.finish(process) == 0, run.text
    run.check_copies()
    assert "answers again" in run.text
    assert run.files[pieces[0].name]["sent"] == 1
    assert len(server.get("/history")) == before + 1


def test_a_file_that_another_server_took_is_withdrawn(servers, pieces, tmp_path):
    run = Run(tmp_path, pieces[:2], COPY)
    cut, other = servers[0], servers[1]
    with Cable(cut.port) as cable:
        process = run.start([cable.address, other.address], "--into", "7.file", "--set", "7.seconds=8")
        until(lambda: running(cut) and running(other))
        lost = running(cut)
        cable.cut()
        until(lambda: running(other) == lost)
        cable.mend()
        until(lambda: not running(cut))
        assert run.finish(process) == 0, run.text
    run.check_copies()
    assert {entry["server"] for entry in run.files.values()} == {other.address}


def test_ctrl_c_takes_back_its_own_prompts_only(servers, pieces, tmp_path):
    run = Run(tmp_path, pieces[:3], COPY)
    working, busy = servers[0], servers[1]
    shutil.copy(pieces[0], busy.folder / "input" / "foreign.mp4")
    foreign = {"7": {"class_type": "SlowCopy", "inputs": {"file": "foreign.mp4", "seconds": 12.0}}}
    prompt = busy.queue(foreign)
    process = run.start([working.address, busy.address], "--into", "7.file", "--set", "7.seconds=60")
    until(lambda: running(working) and busy.get("/queue")["queue_pending"])
    process.send_signal(signal.SIGINT)
    assert run.finish(process) == 130, run.text
    assert "the same command does the rest" in run.text
    until(lambda: not running(working), 45)
    assert not busy.get("/queue")["queue_pending"]
    assert busy.wait(prompt, 60)["status"]["status_str"] == "success"
    assert not run.results
    assert {entry["state"] for entry in run.files.values()} == {"not done"}


def test_a_server_killed_at_work_costs_nothing_and_comes_back(servers, pieces, tmp_path):
    run = Run(tmp_path, pieces, COPY)
    victim, *others = servers
    process = run.start([server.address for server in servers], "--into", "7.file", "--set", "7.seconds=2")
    until(lambda: running(victim))
    victim.kill()
    assert run.finish(process) == 0, run.text
    run.check_copies()
    report = json.loads(run.report_file.read_text())
    assert report["counts"] == {"done": 7, "skipped": 0, "failed": 0, "not done": 0}
    by_address = {entry["address"]: entry for entry in report["servers"]}
    assert by_address[victim.address]["lost"] == 1 and by_address[others[0].address]["lost"] == 0
    assert sum(entry["done"] for entry in report["servers"]) == 7
    assert {entry["server"] for entry in report["files"]} <= {server.address for server in servers}
    assert all(entry["sent"] <= 2 for entry in report["files"])

    # The victim alone, still dead: the run waits for it, and gives up when that takes too long.
    assert run.whole([victim.address], "--into", "7.file", "--patience", "1") == 1
    assert "No server has answered for 1 s" in run.text
    process = run.start([victim.address], "--into", "7.file")
    victim.start()
    assert run.finish(process) == 0, run.text
    assert "answers again" in run.text
    run.check_copies()
