"""One mistake is one error at the right input, and what lies in temp goes with what refers to it."""

from __future__ import annotations

from typing import Any

import pytest

LOAD = {"file": "face.mp4", "start_frame": 0, "frame_count": 2, "stride": 1}
DEGRADE = {
    "preset": "vividface",
    "sigma": 1.0,
    "scale": 1.0,
    "noise": 0.0,
    "crf": -1,
    "overrides": "",
    "encoding": "h264",
}


def restored(**changes: Any) -> dict[str, Any]:
    """A graph that restores two frames."""
    widgets = {
        "faces": "all",
        "face_numbers": "0",
        "strength": 1.0,
        "color": "auto",
        "whole_frame": False,
        "min_face": 24,
        "window": 0,
        "overlap": -1,
        "size": 0,
        "detector": "auto",
        "encoding": "h264",
    }
    load = {name: changes.pop(name) for name in LOAD if name in changes}
    return {
        "1": {"class_type": "VividFaceVideoLoad", "inputs": {**LOAD, **load}},
        "2": {
            "class_type": "VividFaceLoadModel",
            "inputs": {"model": "vividface-nano", "precision": "auto", "device": "auto"},
        },
        "3": {
            "class_type": "VividFaceOneStepRestore",
            "inputs": {**widgets, **changes, "video": ["1", 0], "restorer": ["2", 0]},
        },
        "4": {"class_type": "PreviewAny", "inputs": {"source": ["3", 1]}},
    }


@pytest.mark.parametrize(
    ("mistake", "node", "blamed"),
    [({"window": 7}, "3", "window"), ({"file": "missing.mp4"}, "1", "file")],
    ids=["window", "file"],
)
def test_what_is_known_beforehand_is_one_error_at_its_input(comfy, mistake, node, blamed):
    answer = comfy.post("/prompt", {"prompt": restored(**mistake)})
    errors = answer["node_errors"][node]["errors"]
    assert [error["extra_info"]["input_name"] for error in errors] == [blamed]
    assert list(answer["node_errors"]) == [node]


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ({"faces": "by number", "face_numbers": "one"}, "face_numbers is 'one'; write places from 0"),
        ({"size": 500}, "size is 500; it must be a multiple of 16"),
        ({"start_frame": 900}, "so there is none from number 900 on"),
    ],
    ids=["numbers", "size", "start"],
)
def test_the_rest_is_said_by_the_node_as_it_begins(comfy, mistake, said):
    with pytest.raises(RuntimeError, match=said):
        comfy.run(restored(**mistake))


def degraded(seed: int) -> dict[str, Any]:
    """A graph whose result lies in temp."""
    return {
        "1": {"class_type": "VividFaceVideoLoad", "inputs": LOAD},
        "2": {"class_type": "VividFaceDegradeSynth", "inputs": {**DEGRADE, "seed": seed, "video": ["1", 0]}},
        "3": {
            "class_type": "SaveVideo",
            "inputs": {"video": ["2", 0], "filename_prefix": "t", "format": "auto", "codec": "auto"},
        },
    }


def test_a_result_in_temp_is_deleted_with_its_cache_entry(comfy):
    comfy.free()
    folder = comfy.folder / "temp" / "vividface"
    before = set(folder.glob("*")) if folder.is_dir() else set()
    comfy.run(degraded(1))
    kept = set(folder.glob("*")) - before
    assert {path.suffix for path in kept} == {".mp4", ".json"}, "as long as the cache has it"
    comfy.free()
    assert not set(folder.glob("*")) - before
