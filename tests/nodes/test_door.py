"""The pack's door, without a ComfyUI behind it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.paths import REPOSITORY

LOAD = f"""
import asyncio, importlib.util, sys
sys.path[:] = [p for p in sys.path if p not in ("", {str(REPOSITORY)!r})]
spec = importlib.util.spec_from_file_location("pack", {str(REPOSITORY / "__init__.py")!r},
                                              submodule_search_locations=[{str(REPOSITORY)!r}])
pack = importlib.util.module_from_spec(spec)
sys.modules["pack"] = pack
spec.loader.exec_module(pack)
"""


def run(program: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", LOAD + program], capture_output=True, text=True, **options)


def test_an_old_comfyui_is_told_in_one_sentence():
    result = run("asyncio.run(pack.comfy_entrypoint())")
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1] == (
        "ImportError: ComfyUI-VividFace needs ComfyUI 0.3.75 or newer: update ComfyUI, then start it."
    )


def test_the_engine_is_that_of_the_packs_own_folder(tmp_path):
    """Even where another folder with the names of ours comes first."""
    for name in ("nodes", "training", "tests"):
        (tmp_path / f"{name}.py").write_text("raise AssertionError('another program has this name')")
    result = run(
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "pack._engine()\nimport vividface_core.pipeline.restore\nprint(vividface_core.__file__)"
    )
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()) == REPOSITORY / "vividface_core" / "__init__.py"


def test_nothing_but_the_door_is_done_at_import():
    result = run("print(pack.WEB_DIRECTORY, 'torch' in sys.modules, 'vividface_core' in sys.modules)")
    assert result.stdout.split() == ["./web", "False", "False"]


def test_nodes_know_the_engine_and_not_the_trainer():
    for path in (REPOSITORY / "nodes").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "import training" not in text and "from training" not in text, path
        assert len(text.splitlines()) < 300, f"{path} is no thin node any more"
