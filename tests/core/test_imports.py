"""The engine imports with every optional library broken, quickly, and without the network."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys

import vividface_core

BREAKABLE = (
    "accelerate",
    "cv2",
    "diffusers",
    "facexlib",
    "gguf",
    "grpc",
    "huggingface_hub",
    "peft",
    "PIL",
    "pydantic",
    "pyarrow",
    "pyiqa",
    "ray",
    "scenedetect",
    "scipy",
    "skimage",
    "torchvision",
    "transformers",
)
MODULES = sorted(m.name for m in pkgutil.walk_packages(vividface_core.__path__, "vividface_core."))


def run(program: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, **environment}
    )


def test_all_modules_import_beside_broken_libraries(tmp_path):
    for name in BREAKABLE:
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('{name} is broken')")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + "\n".join(f"import {m}" for m in MODULES)
    assert run(program).returncode == 0, run(program).stderr


def test_a_broken_diffusers_is_one_sentence_where_it_is_wanted(tmp_path, tiny_checkpoint):
    (tmp_path / "diffusers.py").write_text("raise RuntimeError('no such symbol')")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from vividface_core.cli.main import main\n"
        f"sys.exit(main(['restore', {str(tmp_path / 'x.mp4')!r}, '-o', 'y.mp4', '--model', {str(tiny_checkpoint)!r}, "
        "'--plain']))"
    )
    from tests.assets import clip

    (tmp_path / "x.mp4").write_bytes(clip("single_face").read_bytes())
    result = run(program)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "diffusers" in result.stderr.strip().splitlines()[-1]


def test_imports_open_no_connection_load_nothing_heavy_and_take_less_work_than_torch():
    program = (
        "import socket, sys, time\n"
        "began = time.process_time()\n"
        "import torch\n"
        "beside = time.process_time() - began\n"
        "import numpy, av, safetensors.torch\n"
        "def refuse(*a, **k): raise AssertionError('network at import')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        "before, began = set(sys.modules), time.process_time()\n" + "\n".join(f"import {m}" for m in MODULES) + "\n"
        "print((time.process_time() - began) / beside)\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    shares = []
    for _ in range(5):  # processor time, not the clock's; a first import may read everything from a cold disk
        result = run(program)
        assert result.returncode == 0, result.stderr
        share, loaded = result.stdout.splitlines()
        assert not set(loaded.split()) & set(BREAKABLE), "a library that few calls need"
        shares.append(float(share))
        if shares[-1] < 0.75:
            return
    raise AssertionError(f"the package's own modules take {min(shares):.2f} of the work of importing torch")
