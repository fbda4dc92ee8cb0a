"""The people of a video: Face Mask's sheet, and the restore node's choice and strengths by its numbers."""

from __future__ import annotations

import pytest

from tests.comfyui.prompts import LOAD, MASK, MODEL, RESTORE, node
from vividface_core.video.source import VideoFrames

CLIP = {"load": node("VividFaceVideoLoad", **{**LOAD, "frame_count": 5})}


def restored(server, **told) -> str:
    """The report of a restoration."""
    options = {**RESTORE, "encoding": "ffv1", "size": 64, "window": 5, **told}
    prompt = {
        **CLIP,
        "model": node("VividFaceLoadModel", **MODEL),
        "restore": node("VividFaceOneStepRestore", video=["load", 0], restorer=["model", 0], **options),
        "report": node("PreviewAny", source=["restore", 1]),
    }
    return server.run(prompt)["report"]["text"][0]


def test_the_sheet_is_shown_in_the_node_and_handed_on(comfy):
    prompt = {
        **CLIP,
        "faces": node("VividFaceFaceMask", source=["load", 0], **MASK, people="1"),
        "save": node("SaveImage", images=["faces", 5], filename_prefix="people"),
    }
    outputs = comfy.run(prompt)
    (saved,), (shown,) = outputs["save"]["images"], outputs["faces"]["images"]
    sheet = next(VideoFrames(comfy.folder / "output" / saved["filename"]).read()).rgb()
    own = next(VideoFrames(comfy.folder / "temp" / shown["subfolder"] / shown["filename"]).read()).rgb()
    assert sheet.shape == own.shape and (sheet - own).abs().max() <= 1 / 255
    # The face's blue wall is on it; paper and ink are grey.
    blue = ((sheet[2] - sheet[0]) > 0.3).float()
    assert blue.mean() > 0.01
    # Where the page cuts the card's picture out, there are the faces and nothing else.
    (told,) = outputs["faces"]["vividface_people"]
    (left, top, wide, high), (rows, columns) = told["box"], blue.shape
    faces = (
        slice(round(top * rows), round((top + high) * rows)),
        slice(round(left * columns), round((left + wide) * columns)),
    )
    assert blue[faces].sum() == blue.sum() and round(told["ratio"], 2) == 1 and told["number"] == 1
    assert told["text"].startswith("5 frames in 1 of 1 shot")


def test_people_by_number(comfy):
    report = restored(comfy, people="1", person_strengths="1=0.5")
    assert "1 face track\n" in report and "1 person over all cuts" in report
    assert "The strength is 0" in restored(comfy, person_strengths="1=0", strength=0.0)
    for told, words in (
        ({"people": "2"}, "There is no person 2: one person was found"),
        ({"people": "1", "faces": "largest"}, "set faces to all"),
        ({"people": "first"}, "write numbers from 1"),
        ({"person_strengths": "one"}, "strength is 'one'"),
    ):
        with pytest.raises(RuntimeError, match=words):
            restored(comfy, **told)
