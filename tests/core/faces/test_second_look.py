"""Single pictures and clips of a few frames: false faces go, real ones stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.assets import clip
from vividface_core.faces.detect import load_detector
from vividface_core.faces.face_mesh import PRESENT
from vividface_core.faces.second_look import SecondLook, confirmed
from vividface_core.pipeline.analysis import find_faces
from vividface_core.video.shots import Shot
from vividface_core.video.source import ClipFrames, VideoFrames


@pytest.fixture(scope="module")
def detector():
    return load_detector("mtcnn")


def picture(name: str, number: int = 0) -> torch.Tensor:
    return next(iter(VideoFrames(clip(name)).read(number, number + 1))).rgb()


def faces(frames: torch.Tensor, detector) -> list:
    return find_faces(ClipFrames(frames), Shot(0, len(frames)), detector, lambda *_: None)


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_a_wheel_that_the_detector_takes_for_a_face(frames, detector):
    still = picture("bikes", 120)
    (found,) = detector.detect(still[None])
    assert found and found[0].score > 0.9, "the premise: the detector is sure of something that is no face"
    assert SecondLook().presence(still, found[0].landmarks) < PRESENT
    assert faces(still.expand(frames, -1, -1, -1), detector) == []


@pytest.mark.parametrize("spoil", ["", "small", "blurred", "noisy", "dark"])
@pytest.mark.parametrize("name", ["single_face", "franck", "carphone"])
def test_a_real_face_stays(name, spoil, detector):
    still = picture(name)
    if spoil == "small":
        still = F.interpolate(still[None], scale_factor=0.5, mode="area")[0]
    elif spoil == "blurred":
        small = F.interpolate(still[None], scale_factor=0.25, mode="area")
        still = F.interpolate(small, still.shape[1:], mode="bicubic")[0].clamp(0, 1)
    elif spoil == "noisy":
        still = (still + 0.08 * torch.randn(still.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    elif spoil == "dark":
        still = still * 0.4
    seen = [face for face in detector.detect(still[None])[0] if face.score > 0.9]
    assert len(faces(still[None], detector)) == len(seen) == 1


def test_a_group_keeps_its_people(detector):
    still = picture("multi_face")
    seen = [face for face in detector.detect(still[None])[0] if face.score > 0.99]
    assert len(seen) >= 3 and len(faces(still[None], detector)) >= len(seen)


def test_what_looks_say_together():
    assert confirmed([]) and confirmed([0.9]) and confirmed([0.1, 0.9, 0.9]) and not confirmed([0.1, 0.1, 0.9])
    nothing = SecondLook()
    assert nothing.presence(torch.zeros(3, 8, 8), np.full((5, 2), np.nan)) == 0.0
