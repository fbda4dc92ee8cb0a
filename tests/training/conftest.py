"""Training material that several files share."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from skimage import data as pictures

from tests.assets import clip
from training.nano.find_faces import main as find_faces
from vividface_core.video.reader import VideoReader


@pytest.fixture(scope="session")
def material(tmp_path_factory):
    """A portrait and another still, a real clip of 17 frames, and a scene."""
    folder = tmp_path_factory.mktemp("material")
    with VideoReader(clip("single_face"), end_frame=17) as reader:
        moving = torch.stack([frame.rgb() for frame in reader])
    clips = {
        "00000": torch.from_numpy(np.ascontiguousarray(pictures.astronaut()[None, :400, 60:420])),
        "00001": torch.from_numpy(np.ascontiguousarray(pictures.coffee()[None, :300, :400])),
        "00002": (moving * 255).round().byte().permute(0, 2, 3, 1).contiguous(),
        "00003": torch.from_numpy(np.ascontiguousarray(pictures.rocket()[None, :300, :400])),
    }
    save_file(clips, folder / "clips.safetensors")
    (folder / "clips.json").write_text(json.dumps({key: {"package": "scikit-image"} for key in clips}))
    arguments = ["find_faces", str(folder), "--smallest", "60"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", arguments)
        find_faces()
    return folder
