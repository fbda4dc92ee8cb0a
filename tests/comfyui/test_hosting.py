"""ComfyUI's real model management hosts a restorer, a stage at a time, in each of its memory states."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.comfyui.server import comfy_folder, comfy_python
from tests.paths import REPOSITORY

pytestmark = pytest.mark.slow
DEVICE = "elsewhere"
STATES = (
    "normal",
    "low",
    "partial",
    "partial low",
    "no",
    "high",
    "offload",
    "large",
    "large no",
    "codebook",
    "codebook no",
)
STREAMED = ("partial", "partial low", "no", "large no")
DYNAMIC = "dynamic"
"""Short memory, with Dynamic VRAM on as far as it can be without its driver."""


@pytest.fixture(scope="module")
def facts():
    command = [comfy_python(), str(Path(__file__).with_name("check_hosting.py")), str(comfy_folder())]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=REPOSITORY)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.split("ANSWER")[1])


def there(facts, state: str) -> None:
    """Skip what this ComfyUI doesn't have."""
    if state == DYNAMIC and state not in facts:
        pytest.skip("a ComfyUI without Dynamic VRAM")


@pytest.mark.parametrize("state", [*STATES, DYNAMIC])
def test_every_state_computes_on_the_device_and_gives_the_same(facts, state):
    there(facts, state)
    assert {given for given, _ in facts[state]["seen"]} == {DEVICE}, "it computes where it says"
    assert facts[state]["error"] < 1e-5


@pytest.mark.parametrize("state", [*STREAMED, DYNAMIC])
def test_short_memory_streams_the_denoiser(facts, state):
    there(facts, state)
    assert "cpu" in {weight for _, weight in facts[state]["seen"]}, "weights come a layer at a time"
    assert facts[state]["resident"] < 0.9 * facts[state]["stages"]["denoiser"]


def test_room_is_used(facts):
    for state in ("normal", "low", "high"):
        assert {weight for _, weight in facts[state]["seen"]} == {DEVICE}
        assert facts[state]["kept"] >= sum(facts[state]["stages"].values()), "nothing is loaded twice for a clip"


@pytest.mark.parametrize("state", ["offload", "large", "large no"])
def test_the_peak_is_that_of_the_largest_stage(facts, state):
    said = facts[state]
    print(state, {name: f"{said[name] / 1e6:.1f} MB" for name in ("peak", "work", "kept")}, said["stages"])
    assert said["peak"] <= max(said["stages"].values()) + said["work"]
    assert said["kept"] < 1 << 20, "afterwards nothing stays"


def test_a_hosted_model_of_no_vram_needs_no_room_for_its_weights(facts):
    said = facts["large no"]
    assert said["peak"] < 0.5 * said["stages"]["denoiser"] + said["work"]


def test_weights_are_seen_by_comfyui(facts):
    for said in facts.values():
        assert said["left"] < 1 << 20, "they leave when ComfyUI says so"
        assert said["ram"] >= 0.8 * max(said["stages"].values())
