"""Faces in ComfyUI's own types, out of Face Mask and into Face Mask and Restore."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.comfyui.prompts import LOAD, MASK, MODEL, RESTORE, node
from tests.comfyui.server import comfy_version
from vividface_core.video.source import VideoFrames

CLIP = {
    "load": node("VividFaceVideoLoad", **{**LOAD, "frame_count": 5}),
    "faces": node("VividFaceFaceMask", source=["load", 0], **MASK),
}


def masks(server, prompt, source, prefix) -> torch.Tensor:
    """What a MASK of a graph looks like, ``[T, H, W]``."""
    shown = {
        "picture": node("MaskToImage", mask=source),
        "save": node("SaveImage", images=["picture", 0], filename_prefix=prefix),
    }
    outputs = server.run(prompt | shown)
    folder = server.folder / "output"
    return torch.stack([_picture(folder / image["filename"]) for image in outputs["save"]["images"]])


def _picture(path: Path) -> torch.Tensor:
    return next(VideoFrames(path).read()).rgb()[0]


def restored(server, **told) -> str:
    """The report of a restoration with faces told from elsewhere."""
    options = {**RESTORE, "encoding": "h264", "size": 64, "window": 5, **told}
    prompt = {
        **CLIP,
        "blank": node("SolidMask", value=0.0, width=64, height=64),
        "model": node("VividFaceLoadModel", **MODEL),
        "restore": node("VividFaceOneStepRestore", video=["load", 0], restorer=["model", 0], **options),
        "report": node("PreviewAny", source=["restore", 1]),
    }
    return server.run(prompt)["report"]["text"][0]


def test_landmarks_go_round(comfy):
    """A face that is followed by the mesh's points is the face that was found."""
    found = masks(comfy, CLIP, ["faces", 0], "found")
    again = {**CLIP, "again": node("VividFaceFaceMask", source=["load", 0], landmarks=["faces", 3], **MASK)}
    told = masks(comfy, again, ["again", 0], "told")
    both, either = ((found > 0.5) & (told > 0.5)).sum(), ((found > 0.5) | (told > 0.5)).sum()
    assert found.shape == told.shape and either > 0 and both / either > 0.8


@pytest.mark.parametrize("told", [{"landmarks": ["faces", 3]}, {"boxes": ["faces", 4]}, {"person": ["faces", 0]}])
def test_restore_takes_faces_from_elsewhere(comfy, told):
    assert "1 face track" in restored(comfy, **told)


def test_a_person_elsewhere_is_nobody(comfy):
    assert "0 face tracks" in restored(comfy, person=["blank", 0])


def test_two_ways_at_once_are_refused(comfy):
    with pytest.raises(RuntimeError, match="leave one way out"):
        restored(comfy, tracks=["faces", 1], boxes=["faces", 4])


def test_landmarks_of_other_frames_are_refused(comfy):
    other = {
        **CLIP,
        "longer": node("VividFaceVideoLoad", **{**LOAD, "frame_count": 6}),
        "again": node("VividFaceFaceMask", source=["longer", 0], landmarks=["faces", 3], **MASK),
    }
    with pytest.raises(RuntimeError, match="take the same video"):
        masks(comfy, other, ["again", 0], "other")


@pytest.mark.skipif(comfy_version() < (0, 13), reason="this ComfyUI has no MediaPipe nodes")
def test_the_cores_own_nodes_take_the_landmarks(comfy):
    """The core draws the oval of the mesh where the pack sees the face."""
    assert "MediaPipeFaceMask" in comfy.get("/object_info"), json.dumps(comfy_version())
    oval = {**CLIP, "oval": node("MediaPipeFaceMask", face_landmarks=["faces", 3], regions="all")}
    drawn, found = masks(comfy, oval, ["oval", 0], "oval"), masks(comfy, CLIP, ["faces", 0], "seen")
    assert drawn.shape == found.shape and 0 < drawn.mean() < 0.5
    assert ((drawn > 0.5) & (found > 0.5)).sum() / (drawn > 0.5).sum() > 0.8
