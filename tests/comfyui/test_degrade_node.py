"""Degrade Synth on a real server, against the engine's own results."""

from __future__ import annotations

import json
import time
from pathlib import Path

import av
import pytest
import torch

from tests.comfyui.prompts import LOAD, node, saved
from tests.comfyui.server import error_of, refusal
from vividface_core.degrade import SampledDegradation, degrade_video, load_preset, preset_names, read_record
from vividface_core.video.source import VideoFrames

DEGRADE = {"preset": "vividface", "seed": 5, "sigma": -1.0, "scale": -1.0, "noise": -1.0, "crf": -1, "overrides": ""}


def rgb(path: Path) -> torch.Tensor:
    return torch.stack([frame.rgb() for frame in VideoFrames(path).read()])


def source(comfy) -> Path:
    return comfy.folder / "input" / "face.mp4"


def saved_at(comfy, outputs, name: str) -> Path:
    entry = outputs[name]["images"][0]
    return comfy.folder / entry["type"] / entry["subfolder"] / entry["filename"]


def packets(path: Path, kind: str) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(stream) if p.pts is not None]


def degrade_a_video(prefix: str, **changes: object) -> dict:
    options = {**DEGRADE, "encoding": "h264", **changes}
    return {
        "load": node("VividFaceVideoLoad", **LOAD),
        "degrade": node("VividFaceDegradeSynth", video=["load", 0], **options),
        "save": saved(["degrade", 0], prefix),
        "told": node("PreviewAny", source=["degrade", 1]),
    }


def degrade_images(**changes: object) -> dict:
    return {
        "load": node("VividFaceVideoLoad", **{**LOAD, "frame_count": 9}),
        "parts": node("GetVideoComponents", video=["load", 0]),
        "degrade": node("VividFaceDegradeSynthImages", images=["parts", 0], **{**DEGRADE, **changes}),
        "save": node("SaveImage", images=["degrade", 0], filename_prefix="degraded"),
        "told": node("PreviewAny", source=["degrade", 1]),
    }


def test_a_video_is_degraded_as_the_engine_does_it(comfy, tmp_path):
    outputs = comfy.run(degrade_a_video("degraded", sigma=2.0, overrides="noise=1..3\n\ncrf=24\n"))
    path = saved_at(comfy, outputs, "save")
    own = degrade_video(source(comfy), tmp_path / "own.mp4", seed=5, values={"sigma": 2, "noise": "1..3", "crf": 24})
    assert (rgb(path) - rgb(own.output)).abs().mean() < 1e-3
    assert (rgb(path) - rgb(source(comfy))).abs().mean() > 5e-3
    assert [data for _, data in packets(path, "audio")] == [data for _, data in packets(source(comfy), "audio")]
    times = [sorted(at for at, _ in packets(one, "video")) for one in (path, source(comfy))]
    assert times[0] == pytest.approx(times[1], abs=1e-4)
    told = json.loads(outputs["told"]["text"][0])
    assert told == {**own.record, "codec_out": "h264"}
    assert told["drawn"]["sigma"] == 2 and 1 <= told["drawn"]["noise"] <= 3 and told["drawn"]["crf"] == 24


def test_ffv1_keeps_the_result_exactly(comfy):
    comfy.run(degrade_a_video("exact", preset="brightness_flicker", encoding="ffv1"))
    made = max((comfy.folder / "temp" / "vividface").glob("*.mkv"), key=lambda path: path.stat().st_mtime)
    wanted = SampledDegradation.from_dict(read_record(made))(rgb(source(comfy)))
    assert torch.equal((rgb(made) * 255).round(), (wanted * 255).round())


def test_images_are_degraded_as_the_engine_does_it(comfy):
    outputs = comfy.run(degrade_images(preset="keep"))
    files = [comfy.folder / "output" / image["filename"] for image in outputs["save"]["images"]]
    got = torch.stack([rgb(path)[0] for path in files])
    drawn = load_preset("keep").sample(5)
    wanted = drawn(torch.stack([frame.rgb() for frame in VideoFrames(source(comfy), 0, 9).read()]))
    assert (got - wanted).abs().max() < 2 / 255 + 1e-3, "PNG has 8 bits"
    told = json.loads(outputs["told"]["text"][0])
    assert SampledDegradation.from_dict(told) == drawn and told["frames"] == 9


def test_a_video_in_memory_stays_there(comfy):
    prompt = degrade_a_video("memory", preset="pixel_flicker")
    prompt["parts"] = node("GetVideoComponents", video=["load", 0])
    prompt["made"] = node("CreateVideo", images=["parts", 0], audio=["parts", 1], fps=24.0)
    prompt["degrade"]["inputs"]["video"] = ["made", 0]
    before = set((comfy.folder / "temp" / "vividface").glob("*"))
    outputs = comfy.run(prompt)
    path = saved_at(comfy, outputs, "save")
    wanted = load_preset("pixel_flicker").sample(5)(rgb(source(comfy)))
    assert rgb(path).shape == wanted.shape and (rgb(path) - wanted).abs().mean() < 0.02
    assert len(packets(path, "audio")) > 10
    assert set((comfy.folder / "temp" / "vividface").glob("*")) == before


def test_the_seed_counts_on_by_itself_and_presets_are_the_engines(comfy):
    for name in ("VividFaceDegradeSynth", "VividFaceDegradeSynthImages"):
        inputs = comfy.get(f"/object_info/{name}")[name]["input"]["required"]
        assert inputs["seed"][1]["control_after_generate"]
        assert inputs["preset"][1]["options"] == preset_names()


def test_widgets_take_values_of_other_nodes(comfy):
    prompt = degrade_images()
    prompt["number"] = node("PrimitiveFloat", value=3.0)
    prompt["degrade"]["inputs"]["sigma"] = ["number", 0]
    told = json.loads(comfy.run(prompt)["told"]["text"][0])
    assert told["drawn"]["sigma"] == 3.0


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"preset": "sepia"}, "sepia"),
        ({"preset": "brightness_flicker", "sigma": 2.0}, "brightness_flicker has no"),
        ({"scale": 0.5}, "1 to 32"),
        ({"overrides": "sigma"}, "NAME=VALUE"),
        ({"overrides": "sigma=6..2"}, "smaller number first"),
        ({"overrides": "sigma=3", "sigma": 2.0}, "in 'overrides'"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_values_are_refused_before_anything_is_degraded(comfy, changes, message):
    for prompt in (degrade_a_video("bad", **changes), degrade_images(**changes)):
        assert message in refusal(comfy, prompt)
    assert not list((comfy.folder / "output").glob("bad*"))


def test_stop_takes_effect_and_leaves_nothing(comfy):
    folder = comfy.folder / "temp" / "vividface"
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.iterdir())
    prompt = degrade_a_video("stopped", preset="keep", overrides="kernel=aniso\nkernel_size=151", seed=99)
    prompt_id = comfy.queue(prompt)
    while set(folder.iterdir()) == before:
        assert prompt_id not in comfy.get(f"/history/{prompt_id}"), "it is done before it can be stopped"
        time.sleep(0.05)  # until the work folder appears
    comfy.post("/interrupt", {})
    assert error_of(comfy.wait(prompt_id)) == "interrupted"
    assert set(folder.iterdir()) == before
