"""One-Step Restore with ``preview``: a second of a film, against what the engine makes of the same one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.comfyui.conftest import degraded_face
from tests.comfyui.prompts import node, restore_video, saved
from tests.comfyui.test_nodes import output_of, rgb
from vividface_core.pipeline.options import RestoreOptions
from vividface_core.pipeline.preview import make_preview
from vividface_core.video.source import VideoFrames
from vividface_core.weights import load_restorer

SECOND = 24
"""Frames of the film in a second."""
OPTIONS = {"size": 64, "window": 9}


@pytest.fixture(scope="module")
def film(comfy) -> Path:
    """Three seconds of a person who speaks."""
    return degraded_face(comfy.folder / "input" / "film.mp4", 3 * SECOND, blur=4)


def look(**changes: Any) -> dict[str, Any]:
    """A preview of the film, with both of its videos saved."""
    prompt = restore_video(load={"file": "film.mp4"}, **{**OPTIONS, "preview": True, **changes})
    return {**prompt, "source": saved(["restore", 2], "before")}


def nearest(picture: torch.Tensor, clip: torch.Tensor) -> int:
    """Number of the clip's frame that looks most like a picture."""
    return int((clip - picture).abs().mean((1, 2, 3)).argmin())


def test_a_second_is_restored_as_the_engine_does_it(comfy, film, tmp_path):
    outputs = comfy.run(look())
    before, after = (rgb(output_of(comfy, outputs, name)) for name in ("source", "save"))
    assert len(before) == len(after) == SECOND
    kept = []
    preview = make_preview(
        VideoFrames(film),
        load_restorer("vividface-nano"),
        RestoreOptions(**OPTIONS),
        tmp_path / "both.mp4",
        keep=lambda _, restored: kept.append(rgb(restored)),
    )
    assert (after - kept[0]).abs().mean() < 1e-3, "the engine's passage"
    assert (after - before).abs().mean() > 2e-3, "something was restored"
    whole = rgb(film)
    first = nearest(before[0], whole)
    assert [nearest(picture, whole) for picture in before[:3]] == [first, first + 1, first + 2], "the film's own frames"
    (report,) = outputs["report"]["text"]
    assert report.startswith("A preview; switch it off for the whole video.")
    # Times differ from run to run; the rest is the engine's.
    assert f"{3 * SECOND} frames" in "\n".join(preview.estimate.lines()) and f"{3 * SECOND} frames" in report
    (sheet,) = outputs["restore"]["images"]
    assert (comfy.folder / sheet["type"] / sheet["subfolder"] / sheet["filename"]).stat().st_size > 1000


def test_a_part_of_a_film_is_previewed_within_that_part(comfy, film):
    part = look()
    part["load"]["inputs"].update(start_frame=SECOND, frame_count=SECOND // 2)
    outputs = comfy.run(part)
    before, whole = rgb(output_of(comfy, outputs, "source")), rgb(film)
    places = [nearest(picture, whole) for picture in before]
    assert places == list(range(SECOND, SECOND + SECOND // 2))


def test_a_video_of_frames_in_memory_is_previewed_too(comfy, film):
    prompt = look()
    prompt["load"]["inputs"].update(frame_count=SECOND // 2)
    prompt["parts"] = node("GetVideoComponents", video=["load", 0])
    prompt["made"] = node("CreateVideo", images=["parts", 0], audio=["parts", 1], fps=["parts", 2])
    prompt["restore"]["inputs"]["video"] = ["made", 0]
    outputs = comfy.run(prompt)
    assert len(rgb(output_of(comfy, outputs, "save"))) == SECOND // 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mask": ["mask", 0]}, "preview looks at a part of the video, mask belongs to all of it: disconnect."),
        ({"people": "1"}, "People are numbered over the whole video"),
    ],
    ids=["mask", "people"],
)
def test_what_belongs_to_the_whole_video_is_refused(comfy, film, change, said):
    prompt = look(**change)
    prompt["blank"] = node("EmptyImage", width=64, height=64, batch_size=1, color=0)
    prompt["mask"] = node("ImageToMask", image=["blank", 0], channel="red")
    with pytest.raises(RuntimeError, match=said) as caught:
        comfy.run(prompt)
    assert "--" not in str(caught.value), "the command line's options mean nothing here"
