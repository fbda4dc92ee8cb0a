"""Fixtures that several rooms share."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# Before torch is loaded, and for every program that a test starts: threads that wait in a loop slow a machine with
# other work down to a fifth.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers themselves keep the cores busy
# Weights that a machine happens to have would change what is tested. The folder needn't exist.
os.environ["VIVIDFACE_MODELS"] = os.path.join(tempfile.gettempdir(), "vividface-tests-have-no-models")

import pytest
import torch

from tests.tiny import save_tiny_checkpoint


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> Path:
    """A checkpoint folder of the project's format with small random weights: real code, meaningless pictures."""
    return save_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


LONG = ("training/curation", "browser", "comfyui", "training", "core/wan", "core/bfvr_stc", "core/restorers")
"""Rooms whose files take longest, in that order."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files come first (with ``--no-loadscope-reorder``), so that no process is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    root = Path(__file__).parent

    def rank(item: pytest.Item) -> tuple[bool, int]:
        place = item.path.relative_to(root).as_posix() if item.path.is_relative_to(root) else ""
        return item.path not in slow, next((n for n, room in enumerate(LONG) if place.startswith(room)), len(LONG))

    items.sort(key=rank)


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


@pytest.fixture
def no_judge_settings(monkeypatch, tmp_path):
    """Neither this machine's keys for judges nor its settings."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("VIVIDFACE_MLLM_KEY", "VIVIDFACE_MLLM_SETTINGS", "VIVIDFACE_MLLM_SERVERS", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
