"""The nodes on a real server, against the engine's own results and ffmpeg's reading of the files."""

from __future__ import annotations

import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.comfyui.listening import PICTURE, heard
from tests.comfyui.prompts import LOAD, MASK, MODEL, RESTORE, node, restore_video, saved
from tests.comfyui.server import error_of
from vividface_core.pipeline.restore import RestoreOptions, restore_frames
from vividface_core.pipeline.restore import restore_video as engine_restore
from vividface_core.video.source import VideoFrames
from vividface_core.weights import load_restorer


def output_of(server, outputs, name) -> Path:
    entry = outputs[name]["images"][0]
    return server.folder / entry["type"] / entry["subfolder"] / entry["filename"]


def rgb(path) -> torch.Tensor:
    return torch.stack([frame.rgb() for frame in VideoFrames(path).read()])


def packets(path, kind):
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(stream) if p.pts is not None]


@pytest.fixture(scope="module")
def restored(comfy):
    """The main workflow, run once: outputs by node, and the saved file."""
    outputs = comfy.run(restore_video())
    return outputs, output_of(comfy, outputs, "save")


def test_the_main_workflow_gives_the_engines_result(comfy, restored, tmp_path):
    source = comfy.folder / "input" / "face.mp4"
    engine_restore(source, tmp_path / "own.mp4", load_restorer("vividface-nano"))
    ours, theirs = rgb(tmp_path / "own.mp4"), rgb(restored[1])
    assert ours.shape == theirs.shape
    # Both are encoded with loss; the arithmetic may differ in its last bits with the number of threads.
    assert (ours - theirs).abs().mean() < 1e-3
    assert (theirs - rgb(source)).abs().mean() > 2e-3, "something was restored"


def test_sound_and_times_stay(comfy, restored):
    source = comfy.folder / "input" / "face.mp4"
    assert [data for _, data in packets(source, "audio")] == [data for _, data in packets(restored[1], "audio")]
    times = [sorted(at for at, _ in packets(path, "video")) for path in (source, restored[1])]
    assert times[0] == pytest.approx(times[1], abs=1e-4)


def test_the_report_tells_what_was_done(restored):
    (text,) = restored[0]["report"]["text"]
    assert "24 frames, 1 shot, 1 face track" in text and "landmark-hull" in text


def test_an_unchanged_workflow_is_not_run_again_but_a_changed_file_is(comfy, restored):
    entry = comfy.wait(comfy.queue(restore_video()))
    cached = next(details for kind, details in entry["status"]["messages"] if kind == "execution_cached")
    assert {"load", "model", "restore"} <= set(cached["nodes"])
    video = comfy.folder / "input" / "other.mp4"
    video.write_bytes((comfy.folder / "input" / "face.mp4").read_bytes())
    only = {
        "load": node("VividFaceVideoLoad", **{**LOAD, "file": "other.mp4"}),
        "show": node("PreviewAny", source=["load", 4]),
    }
    comfy.run(only)
    video.write_bytes((comfy.folder / "output" / restored[1].name).read_bytes())
    entry = comfy.wait(comfy.queue(only))
    cached = next(details for kind, details in entry["status"]["messages"] if kind == "execution_cached")
    assert "load" not in cached["nodes"]


def test_images_give_what_the_engine_gives(comfy, tmp_path):
    options = {**RESTORE, "faces": "largest", "strength": 0.75}
    outputs = comfy.run(
        {
            "load": node("VividFaceVideoLoad", **{**LOAD, "start_frame": 3, "frame_count": 9}),
            "parts": node("GetVideoComponents", video=["load", 0]),
            "model": node("VividFaceLoadModel", **MODEL),
            "restore": node("VividFaceOneStepRestoreImages", images=["parts", 0], restorer=["model", 0], **options),
            "save": node("SaveImage", images=["restore", 0], filename_prefix="images"),
        }
    )
    folder = comfy.folder / "output"
    got = torch.stack([rgb(folder / image["filename"])[0] for image in outputs["save"]["images"]])
    frames = torch.stack([frame.rgb() for frame in VideoFrames(comfy.folder / "input" / "face.mp4", 3, 12).read()])
    wanted, _ = restore_frames(frames, load_restorer("vividface-nano"), RestoreOptions(faces="largest", strength=0.75))
    assert got.shape == wanted.shape == (9, 3, *frames.shape[2:])
    assert (got - wanted).abs().max() < 2 / 255 + 1e-3, "PNG has 8 bits"


def test_masks_and_tracks_guide_the_restoration(comfy):
    outputs = comfy.run(
        {
            "load": node("VividFaceVideoLoad", **{**LOAD, "frame_count": 9}),
            "parts": node("GetVideoComponents", video=["load", 0]),
            "faces": node("VividFaceFaceMask", source=["load", 0], **{**MASK, "require_face": True}),
            "picture": node("MaskToImage", mask=["faces", 0]),
            "masks": node("SaveImage", images=["picture", 0], filename_prefix="mask"),
            "cells": node("MaskToImage", mask=["faces", 2]),
            "grid": node("SaveImage", images=["cells", 0], filename_prefix="grid"),
            "model": node("VividFaceLoadModel", **MODEL),
            "restore": node(
                "VividFaceOneStepRestoreImages",
                images=["parts", 0],
                restorer=["model", 0],
                mask=["faces", 0],
                tracks=["faces", 1],
                **RESTORE,
            ),
            "save": node("SaveImage", images=["restore", 0], filename_prefix="guided"),
            "plain": node("SaveImage", images=["parts", 0], filename_prefix="plain"),
        }
    )

    def pictures(name):
        return torch.stack([rgb(comfy.folder / "output" / one["filename"])[0] for one in outputs[name]["images"]])

    masks, before, after = pictures("masks")[:, :1], pictures("plain"), pictures("save")
    # A mask below 1/255 is black in a PNG and may still tip the rounding of a value by one.
    changed = ((before - after).abs() > 1.5 / 255).any(1, keepdim=True)
    assert changed.any() and not (changed & (masks == 0)).any(), "nothing changes outside the mask"
    height, width = masks.shape[2:]
    assert pictures("grid").shape == (3, 3, -(-height // 8), -(-width // 8)), "1 + (9 - 1) / 4 latent frames"


def test_a_part_keeps_its_own_sound(comfy):
    outputs = comfy.run(
        {
            "load": node("VividFaceVideoLoad", **{**LOAD, "start_frame": 6, "frame_count": 12}),
            "model": node("VividFaceLoadModel", **MODEL),
            "restore": node(
                "VividFaceOneStepRestore",
                video=["load", 0],
                restorer=["model", 0],
                **{**RESTORE, "strength": 0.0, "encoding": "h264"},
            ),
            "save": saved(["restore", 0], "part"),
            "core": saved(["load", 0], "core"),
        }
    )
    path = output_of(comfy, outputs, "save")
    assert len(rgb(path)) == 12 and abs(packets(path, "audio")[-1][0] - 0.5) < 0.06
    assert len(rgb(output_of(comfy, outputs, "core"))) == 12, "the core's own nodes read it too"


def test_a_lossless_result_keeps_every_other_sample(comfy):
    comfy.run(
        restore_video(encoding="ffv1", load={"frame_count": 9}, strength=0.95)
        | {"save": node("PreviewAny", source=["restore", 1])}
    )
    made = max((comfy.folder / "temp" / "vividface").glob("*.mkv"), key=lambda path: path.stat().st_mtime)
    with av.open(str(made)) as after, av.open(str(comfy.folder / "input" / "face.mp4")) as before:
        for a, b in zip(before.decode(video=0), after.decode(video=0)):
            same = a.to_ndarray()[: a.height] == b.to_ndarray()[: b.height]
            assert same[:, :40].all() and same[:, -40:].all() and same.mean() > 0.4 and not same.all()


def test_widgets_take_values_of_other_nodes(comfy):
    prompt = restore_video(prefix="linked")
    prompt["number"] = node("PrimitiveInt", value=9)
    prompt["words"] = node("PrimitiveString", value="0")
    for name, key, source in (
        ("restore", "window", "number"),
        ("restore", "face_numbers", "words"),
        ("load", "frame_count", "number"),
    ):
        prompt[name]["inputs"][key] = [source, 0]
    (text,) = comfy.run(prompt)["report"]["text"]
    assert text.startswith("9 frames") and "of up to 9 frames" in text


@pytest.mark.parametrize(
    "change, message",
    [
        ({"load": {"file": "absent.mp4"}}, "absent.mp4"),
        ({"restore": {"window": 7}}, "4k + 1"),
        ({"restore": {"strength": 1.5}}, "strength"),
        ({"model": {"model": "vividface"}}, "Download VividFace Model"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(comfy, change, message):
    prompt = restore_video()
    for name, inputs in change.items():
        prompt[name]["inputs"].update(inputs)
    with pytest.raises(ValueError, match="(?s).*") as caught:
        comfy.queue(prompt)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"faces": "like the reference"}, "no picture is connected"),
        ({"size": 33}, "multiple of 16"),
        ({"faces": "by number", "face_numbers": "one"}, "with commas"),
        ({"restorer": None}, "No model is connected"),
        ({"mask": ["mask", 0]}, "masks for 24 frames"),
    ],
)
def test_an_error_while_running_is_one_sentence_of_the_node(comfy, change, message):
    prompt = restore_video()
    prompt["blank"] = node("EmptyImage", width=64, height=64, batch_size=5, color=0)
    prompt["mask"] = node("ImageToMask", image=["blank", 0], channel="red")
    for name, value in change.items():
        prompt["restore"]["inputs"].pop(name) if value is None else prompt["restore"]["inputs"].update({name: value})
    entry = comfy.wait(comfy.queue(prompt))
    assert message in error_of(entry) and "VividFaceOneStepRestore" in error_of(entry)
    assert comfy.get("/system_stats"), "the server goes on"


def test_broken_files_are_told(comfy):
    (comfy.folder / "input" / "broken.mp4").write_bytes(b"no video" * 1000)
    with pytest.raises(ValueError, match="input/broken.mp4") as caught:
        comfy.queue(restore_video(load={"file": "broken.mp4"}))
    assert str(comfy.folder) not in str(caught.value), "the page isn't told where the server keeps things"


def test_a_missing_model_names_the_node_first(comfy):
    with pytest.raises(ValueError, match="run the node Download VividFace Model once") as caught:
        comfy.queue(restore_video(model={"model": "vividface"}))
    said = str(caught.value)
    assert said.index("run the node") < said.index("vividface.ckpt") and str(comfy.folder) not in said


def test_errors_while_running_name_folders_as_the_page_does(comfy):
    """A file that goes between the check and the run."""
    (comfy.folder / "models" / "vividface").mkdir(parents=True, exist_ok=True)
    path = comfy.folder / "models" / "vividface" / "rotten.safetensors"
    path.write_bytes(b"\x00" * 64)
    entry = comfy.wait(comfy.queue(restore_video(model={"model": "rotten.safetensors"})))
    assert "rotten.safetensors" in error_of(entry) and str(comfy.folder) not in error_of(entry)


def test_errors_of_the_file_system_name_folders_as_the_page_does_too(comfy):
    """Where the pack wants its folder for results lies a file."""
    comfy.free()
    folder = comfy.folder / "temp" / "vividface"
    moved = folder.with_name("moved")
    if folder.exists():
        folder.rename(moved)
    folder.write_text("in the way")
    try:
        entry = comfy.wait(comfy.queue(restore_video(prefix="blocked", strength=0.7)))
    finally:
        folder.unlink()
        if moved.exists():
            moved.rename(folder)
    assert "FileExistsError" in error_of(entry) and "temp/vividface" in error_of(entry)
    assert str(comfy.folder) not in error_of(entry)


def test_a_stopped_run_ends_and_leaves_nothing(comfy):
    prompt = restore_video(prefix="stopped", window=17, strength=0.9, load={"stride": 1})
    prompt_id = comfy.queue(prompt)
    while not _is_restoring(comfy):
        assert prompt_id not in comfy.get(f"/history/{prompt_id}"), "it is done before it can be stopped"
        time.sleep(0.05)
    time.sleep(0.5)
    before = comfy.cpu_seconds()
    comfy.post("/interrupt", {})
    entry = comfy.wait(prompt_id)
    assert error_of(entry) == "interrupted" and "save" not in entry["outputs"]
    # By what it still computed, which a busy machine doesn't change; the rest of the video would take far more.
    assert comfy.cpu_seconds() - before < 5
    left = [path for path in (comfy.folder / "temp").rglob("*") if ".vividface" in path.name]
    assert not left, "no work folder stays behind"


def _is_restoring(server) -> bool:
    return bool(server.get("/queue")["queue_running"]) and server.log.count("VividFace: 1 shot") > 0


def test_the_bar_moves_within_windows_and_a_picture_follows_the_first(comfy):
    news, end = heard(comfy, restore_video(prefix="heard", strength=0.8, window=9), "restore")
    shares = [share for share in news if share != PICTURE]
    assert end == "execution_success"
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert sum(0.25 < share < 1 for share in shares) > 20, "three windows, and steps within each of them"
    assert any(share < 0.25 for share in shares), "the analysis is told too"
    after = [share for share in news[news.index(PICTURE) :] if share != PICTURE]
    assert after[0] < 0.85, "before the last window is done"


def test_compare_shows_both_as_they_are(comfy):
    outputs = comfy.run(
        {
            "load": node("VividFaceVideoLoad", **{**LOAD, "frame_count": 9}),
            "parts": node("GetVideoComponents", video=["load", 0]),
            "small": node(
                "ImageScale", image=["parts", 0], upscale_method="bilinear", width=160, height=128, crop="disabled"
            ),
            "compare": node("VividFaceCompareVideo", before=["load", 0], after=["small", 0], fps=24.0),
        }
    )
    (shown,) = outputs["compare"]["vividface_compare"]
    assert (shown["before"]["width"], shown["after"]["width"]) == (320, 160)
    for side in shown.values():
        path = comfy.folder / side["type"] / side["subfolder"] / side["filename"]
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec.name == "h264"
        assert len(rgb(path)) == side["frames"] == 9


def test_fp8_weights_are_close_to_full_precision(comfy, restored):
    outputs = comfy.run(restore_video(prefix="fp8", model={"precision": "fp8 weights"}))
    a, b = rgb(restored[1]), rgb(output_of(comfy, outputs, "save"))
    error = float((a - b).square().mean())
    assert 0 < error < 10 ** (-3.5), f"PSNR {-10 * np.log10(error):.1f} dB"
