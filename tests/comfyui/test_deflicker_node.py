"""Deflicker on a real server: a model of random weights, and the engine's own result beside it."""

from __future__ import annotations

import pytest
import torch

from tests.comfyui.prompts import LOAD, node, saved
from tests.comfyui.test_degrade_node import DEGRADE, packets, rgb, saved_at, source
from tests.core.bfvr_stc.drawn import narrow_codeformer
from vividface_core.bfvr_stc.checkpoint import save
from vividface_core.pipeline.deflicker import deflicker_options
from vividface_core.pipeline.restore import restore_frames
from vividface_core.weights import load_restorer

DEFLICKER = {"kind": "brightness", "keep_detail": True, "strength": 1.0, "window": 0, "overlap": -1, "size": 0}


@pytest.fixture(scope="module")
def model(comfy):
    folder = comfy.folder / "models" / "vividface" / "steady"
    options = {"kind": "deflicker_brightness", "native_size": 32, "native_frames": 8, "dtype": torch.float32}
    return save(folder, narrow_codeformer("frames"), **options)


def deflicker(node_id: str, **inputs: object) -> dict:
    """A node; ``kind`` is one of its inputs."""
    return {"class_type": node_id, "inputs": {**DEFLICKER, "restorer": ["model", 0], **inputs}}


def load_model() -> dict:
    return node("VividFaceLoadModel", model="steady", precision="fp32", device="cpu")


def test_a_video_is_deflickered_as_the_engine_does_it(comfy, model):
    flicker = {**DEGRADE, "preset": "brightness_flicker", "encoding": "ffv1"}
    prompt = {
        "load": node("VividFaceVideoLoad", **LOAD),
        "flicker": node("VividFaceDegradeSynth", video=["load", 0], **flicker),
        "model": load_model(),
        "steady": deflicker("VividFaceDeflicker", video=["flicker", 0], encoding="ffv1"),
        "before": saved(["flicker", 0], "flickering"),
        "save": saved(["steady", 0], "steady"),
        "report": node("PreviewAny", source=["steady", 1]),
        "tasks": node("PreviewAny", source=["model", 1]),
    }
    outputs = comfy.run(prompt)
    before, after = (saved_at(comfy, outputs, name) for name in ("before", "save"))
    own, _ = restore_frames(rgb(before), load_restorer(model), deflicker_options("brightness"))
    assert (rgb(after) - own).abs().mean() < 3e-3
    assert [data for _, data in packets(after, "audio")] == [data for _, data in packets(source(comfy), "audio")]
    report = outputs["report"]["text"][0]
    assert "whole frames" in report and "flicker" in report and "faces outlined" not in report
    assert outputs["tasks"]["text"][0] == "deflicker brightness"


def test_images_keep_their_number_and_size(comfy, model):
    prompt = {
        "load": node("VividFaceVideoLoad", **{**LOAD, "frame_count": 9}),
        "parts": node("GetVideoComponents", video=["load", 0]),
        "model": load_model(),
        "steady": deflicker("VividFaceDeflickerImages", images=["parts", 0], kind="pixel", keep_detail=False),
        "save": node("SaveImage", images=["steady", 0], filename_prefix="steady"),
        "report": node("PreviewAny", source=["steady", 1]),
    }
    outputs = comfy.run(prompt)
    assert len(outputs["save"]["images"]) == 9
    assert "not to deflicker pixel" in outputs["report"]["text"][0]


def test_bad_values_are_refused_before_a_run(comfy, model):
    prompt = {
        "load": node("VividFaceVideoLoad", **LOAD),
        "model": load_model(),
        "steady": deflicker("VividFaceDeflicker", video=["load", 0], encoding="h264", window=3),
        "save": saved(["steady", 0], "refused"),
    }
    with pytest.raises(ValueError, match="window is 3"):
        comfy.run(prompt)
