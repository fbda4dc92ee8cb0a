"""The Metrics node on a real server, against the engine's figures of the same files."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from PIL import Image

from tests.assets import run_ffmpeg
from tests.comfyui.prompts import LOAD, node
from tests.comfyui.server import comfy_version, error_of
from tests.measured import coded, lossless
from vividface_core.metrics.measure import measure
from vividface_core.metrics.metric import MetricContext
from vividface_core.metrics.pairs import pair_up
from vividface_core.metrics.registry import METRICS
from vividface_core.metrics.reports.plot import COLORS

FRAMES = 12
NEEDY = next(name for name, metric in METRICS.items() if metric.weights)


@pytest.fixture(scope="module")
def clips(comfy):
    """``truth``, ``better`` and ``worse`` in the input folder."""
    folder = comfy.folder / "input"
    truth = lossless(folder / "truth.mkv", 0, FRAMES)
    coded(folder / "better.mkv", truth, 26)
    coded(folder / "worse.mkv", truth, 40)
    return folder


def load(file):
    return node("VividFaceVideoLoad", **{**LOAD, "file": f"{file}.mkv"})


def measured(metrics="psnr,ssim", output="better", **others):
    """Video Load → Metrics → all its texts."""
    prompt = {"output": load(output)} | {name: load(file) for name, file in others.items()}
    links = {name: [name, 0] for name in ("output", *others)}
    prompt["measure"] = node("VividFaceMetrics", metrics=metrics, **links)
    for place, name in enumerate(("table", "values", "value")):
        prompt[name] = node("PreviewAny", source=["measure", place])
    return prompt


def text(outputs, name):
    (one,) = outputs[name]["text"]
    return one


def engine(clips, output, *names):
    told = measure(
        pair_up([clips / f"{output}.mkv"], clips / "truth.mkv"), [METRICS[name] for name in names], MetricContext()
    )
    return {name: told.scores[name].value for name in names}


def test_figures_are_the_engines(comfy, clips):
    outputs = comfy.run(measured("ssim, psnr", reference="truth", source="worse"))
    values = json.loads(text(outputs, "values"))
    for name, file in (("output", "better"), ("input", "worse")):
        assert values[name] == pytest.approx(engine(clips, file, "psnr", "ssim"), rel=1e-6)
    assert float(text(outputs, "value")) == pytest.approx(values["output"]["ssim"], rel=1e-6), "it was named first"
    table = text(outputs, "table")
    rows = {line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("| ")}
    assert list(rows) == ["clip", "input", "output"] and "PSNR ↑" in rows["clip"]
    assert all(f"{values[name]['psnr']:.2f}" in rows[name] for name in ("input", "output"))
    assert outputs["measure"]["text"] == [table], "for those who read the history"


def test_the_plot_is_shown_with_both_curves(comfy, clips):
    outputs = comfy.run(
        measured(reference="truth", source="worse")
        | {"save": node("SaveImage", images=["measure", 3], filename_prefix="plot")}
    )
    saved, shown = outputs["save"]["images"][0], outputs["measure"]["images"][0]
    paths = [comfy.folder / one["type"] / one["subfolder"] / one["filename"] for one in (saved, shown)]
    first, second = (np.asarray(Image.open(path).convert("RGB"), int) for path in paths)
    assert np.array_equal(first, second) and first.shape[0] > 200 and first.shape[1] > 800
    for color in COLORS.values():
        assert (np.abs(first - color).max(2) < 8).sum() > 300, "a curve and a figure"


def test_images_and_videos_are_measured_alike(comfy, clips):
    prompt = measured(reference="truth") | {
        "a": node("GetVideoComponents", video=["output", 0]),
        "b": node("GetVideoComponents", video=["reference", 0]),
        "images": node("VividFaceMetrics", output=["a", 0], reference=["b", 0], metrics="psnr,ssim"),
        "mixed": node("VividFaceMetrics", output=["a", 0], reference=["reference", 0], metrics="psnr,ssim"),
        "of images": node("PreviewAny", source=["images", 1]),
        "of both": node("PreviewAny", source=["mixed", 1]),
    }
    outputs = comfy.run(prompt)
    wanted = json.loads(text(outputs, "values"))
    # ComfyUI decodes the same RGB samples; only the engine rounds. A newer one decodes to floating point, which the
    # engine's eight bits are half a level away from: more than nothing where an error is of a few levels.
    near = 1e-5 if comfy_version() < (0, 13) else 2e-3
    assert json.loads(text(outputs, "of images"))["output"] == pytest.approx(wanted["output"], rel=near)
    assert json.loads(text(outputs, "of both"))["output"] == pytest.approx(wanted["output"], rel=near)


def test_what_lacks_its_weights_is_said_and_the_rest_measured(comfy, clips):
    outputs = comfy.run(measured(f"{NEEDY},psnr", reference="truth"))
    values = json.loads(text(outputs, "values"))["output"]
    assert values[NEEDY] is None and values["psnr"] > 20 and text(outputs, "value") == "nan"
    table = text(outputs, "table")
    assert f"({NEEDY}) not measured" in table and str(comfy.folder / "models" / "vividface" / "metrics") in table
    assert METRICS[NEEDY].weights[0].address in table, "where it can be had: nothing is downloaded here"


def test_without_a_reference_and_names_the_usual_ones_are_measured(comfy, clips):
    values = json.loads(text(comfy.run(measured("")), "values"))["output"]
    assert set(values) == {name for name, metric in METRICS.items() if metric.default and metric.reference != "needed"}


def test_an_unknown_name_is_refused_before_anything_runs(comfy, clips):
    with pytest.raises(ValueError, match="There is no metric beauty; choose of psnr, ssim"):
        comfy.queue(measured("psnr,beauty", reference="truth"))


@pytest.mark.parametrize(
    "metrics, others, words",
    [
        ("psnr", {}, ["psnr can't be measured", "'reference'"]),
        ("psnr", {"reference": "small"}, ["'output' is 176x144", "'reference' is 88x72"]),
        ("psnr", {"reference": "short"}, [f"'output' has {FRAMES} frames", "'reference' has 5"]),
        ("psnr", {"reference": "truth", "source": "short"}, ["'input' has 5 frames"]),
    ],
)
def test_what_does_not_fit_is_one_sentence(comfy, clips, metrics, others, words):
    if not (clips / "small.mkv").exists():
        lossless(clips / "small.mkv", 0, FRAMES, "88:72")
        lossless(clips / "short.mkv", 0, 5)
    entry = comfy.wait(comfy.queue(measured(metrics, **others)))
    assert all(word in error_of(entry) for word in words), error_of(entry)


def test_stop_stops_and_progress_rises(comfy, clips):
    import aiohttp

    run_ffmpeg("-stream_loop", -1, "-i", clips / "truth.mkv", "-frames:v", 600, "-c", "copy", clips / "long.mkv")

    async def listen():
        shares = []
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(f"{comfy.address}/ws?clientId=stopper", max_msg_size=0) as socket:
                prompt = measured("psnr,ssim", "long", reference="long")
                prompt_id = await asyncio.to_thread(comfy.queue, prompt, "stopper")
                async for message in socket:
                    said = json.loads(message.data) if message.type == aiohttp.WSMsgType.TEXT else {}
                    if said.get("type") == "progress" and said["data"]["node"] == "measure":
                        if share := said["data"]["value"] / said["data"]["max"]:  # 0 while frames are counted
                            shares.append(share)
                        if len(shares) == 3:
                            await asyncio.to_thread(comfy.post, "/interrupt", {})
                    if said.get("type") in ("execution_interrupted", "execution_error", "execution_success"):
                        return prompt_id, shares

    prompt_id, shares = asyncio.run(asyncio.wait_for(listen(), 120))
    assert error_of(comfy.wait(prompt_id, 20)) == "interrupted"
    assert 3 <= len(shares) < 15 and shares == sorted(shares) and 0 < shares[0] < shares[-1] < 0.6
