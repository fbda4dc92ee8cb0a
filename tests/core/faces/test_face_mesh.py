"""The 478 points against MediaPipe's own on real frames, and what it can't show: small, turned, absent faces.

``data/face_mesh.json`` holds what mediapipe 0.10.14 printed. Faces: ``FaceMesh(static_image_mode=True,
refine_landmarks=True)`` with the crop and the box that its graph gave out; landmarks in 1e-5 of the frame's width,
height and width. Crops: its landmark model's outputs for 192×192 pixels of a frame, in 1e-2 pixels, the face's logit
before the sigmoid. ``points`` says which of the 478 are kept.
"""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.assets import clip
from vividface_core.errors import MissingWeights
from vividface_core.faces import blazeface, face_mesh
from vividface_core.faces.detect import load_detector

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "face_mesh.json").read_text())
KEPT = REFERENCE["points"]
FACES = {f"{face['clip']}-{face['frame']}": face for face in REFERENCE["faces"]}


def read(name: str, indices: list[int]) -> Tensor:
    """Those frames of a clip, [T,3,H,W] RGB 0…1."""
    frames = []
    with av.open(str(clip(name))) as container:
        for i, frame in enumerate(container.decode(video=0)):
            if i in indices:
                frames.append(torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1) / 255)
            if i == max(indices):
                break
    assert len(frames) == len(indices)
    return torch.stack(frames)


def eye_distance(points: np.ndarray) -> float:
    """Between the eyes' outer corners."""
    return float(np.linalg.norm(points[263, :2] - points[33, :2]))


@pytest.fixture(scope="module")
def detector():
    return load_detector("mtcnn")


@pytest.fixture(scope="module")
def mesher():
    return face_mesh.load_mesher()


def found(detector, frames: Tensor) -> np.ndarray:
    return np.stack([faces[0].landmarks for faces in detector.detect(frames)])


@pytest.mark.parametrize("crop", REFERENCE["crops"], ids=lambda crop: crop["clip"])
def test_the_network_equals_the_original_on_the_same_pixels(mesher, crop):
    x, y = crop["x"], crop["y"]
    pixels = read(crop["clip"], [crop["frame"]])[..., y : y + 192, x : x + 192]
    with torch.no_grad():
        points, presence = mesher.net(pixels)
        logit = mesher.net.presence(mesher.net.trunk(mesher.net.stem(pixels)))
    assert np.abs(points[0, KEPT].numpy() - np.array(crop["landmarks"]) / 100).max() < 0.02
    assert abs(float(logit) - crop["logit"]) < 0.01
    assert points.shape == (1, 478, 3) and float(presence) > 0.99


@pytest.mark.parametrize("face", FACES.values(), ids=FACES)
def test_box_and_crop_are_mediapipes(mesher, detector, face):
    frame = read(face["clip"], [face["frame"]])
    (boxes, _, scores), *_ = mesher.detector.find(frame, blazeface.whole(frame))
    assert len(boxes) == 1 and abs(scores[0] - face["score"]) < 0.005
    # It cuts with 5 bits of a pixel's fraction and rounds to 8 bits, which shows in the tenths of a pixel.
    assert np.abs(boxes[0] - face["box"]).max() < 0.3
    square = mesher.squares(frame, found(detector, frame).astype(float))[0]
    assert np.abs(square[:3] - face["square"][:3]).max() < 0.4
    assert abs(square[3] - face["square"][3]) < 0.005


@pytest.mark.parametrize("face", FACES.values(), ids=FACES)
def test_landmarks_are_mediapipes(mesher, detector, face):
    frame = read(face["clip"], [face["frame"]])
    points, presence = mesher.landmarks(frame, found(detector, frame))
    height, width = frame.shape[-2:]
    error = points[0, KEPT] - np.array(face["landmarks"]) * 1e-5 * [width, height, width]
    unit = eye_distance(points[0])
    assert np.linalg.norm(error[:, :2], axis=1).mean() < 0.002 * unit
    assert np.abs(error).max() < 0.01 * unit
    assert presence[0] > 0.99
    assert points.dtype == presence.dtype == np.float32


def test_a_small_face_is_looked_for_in_a_window_of_its_own(mesher, detector):
    face = FACES["franck-0"]
    frame = read("franck", [0])
    height, width = frame.shape[-2:]
    landmarks = found(detector, frame)
    around = 800
    large = F.pad(frame, (around,) * 4, mode="replicate")
    assert len(mesher.detector.find(large, blazeface.whole(large))[0][0]) == 0, "or there were no need"
    points, presence = mesher.landmarks(large, landmarks + around)
    error = points[0, KEPT, :2] - around - np.array(face["landmarks"])[:, :2] * 1e-5 * [width, height]
    # Another picture before the detector gives another box; MediaPipe's own two ways to a box differ by as much.
    assert np.linalg.norm(error, axis=1).mean() < 0.02 * eye_distance(points[0])
    assert presence[0] > 0.99


def test_landmarks_turn_and_grow_with_the_picture(mesher, detector):
    frame = read("single_face", [24])
    straight, _ = mesher.landmarks(frame, found(detector, frame))
    height, width = frame.shape[-2:]
    centre = np.array([width / 2, height / 2])
    angle, scale = np.deg2rad(20), 0.8
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    y, x = np.mgrid[:height, :width] + 0.5
    at = (np.stack([x, y], -1) - centre) @ np.linalg.inv(turn).T + centre
    grid = torch.from_numpy(at * 2 / [width, height] - 1).float()[None]
    turned = F.grid_sample(frame, grid, padding_mode="border", align_corners=False)
    points, _ = mesher.landmarks(turned, found(detector, turned))
    expected = (straight[0, :, :2] - centre) @ turn.T + centre
    error = np.linalg.norm(points[0, :, :2] - expected, axis=1)
    assert error.mean() < 0.02 * eye_distance(points[0])


def test_every_face_of_a_group(mesher, detector):
    frame = read("group_photo", [0])
    faces = detector.detect(frame)[0]
    landmarks = np.stack([face.landmarks for face in faces])
    points, presence = mesher.landmarks(frame.expand(len(faces), -1, -1, -1), landmarks)
    assert len(faces) == 3 and (presence > 0.99).all()
    for mine, five in zip(points, landmarks, strict=True):
        # Middles of the irises, the nose's tip and the corners of the mouth.
        error = np.linalg.norm(mine[[468, 473, 1, 61, 291], :2] - five, axis=1)
        assert error.max() < 0.15 * eye_distance(mine)


def test_a_batch_gives_each_frame_its_own(mesher, detector):
    frames = read("wolfgang", list(range(60, 80)))
    landmarks = found(detector, frames)
    landmarks[[0, 7, 17]] = np.nan
    points, presence = mesher.landmarks(frames, landmarks)
    for t in range(len(frames)):
        alone, sure = mesher.landmarks(frames[t : t + 1], landmarks[t : t + 1])
        if t in (0, 7, 17):
            assert np.isnan(points[t]).all() and presence[t] == 0 and np.isnan(alone).all()
        else:
            assert np.abs(points[t] - alone[0]).max() < 0.02 and abs(presence[t] - sure[0]) < 1e-3


def test_where_there_is_no_face(mesher):
    frames = read("no_face", [0, 40, 80])
    height, width = frames.shape[-2:]
    five = np.array([[-0.2, -0.2], [0.2, -0.2], [0, 0], [-0.2, 0.2], [0.2, 0.2]]) * height / 2 + [width / 2, height / 2]
    points, presence = mesher.landmarks(frames, np.tile(five, (3, 1, 1)))
    assert np.isnan(points).all() and (presence == 0).all(), "the detector sees nothing"
    _, presence = mesher.in_squares(frames, np.tile([width / 2, height / 2, height, 0], (3, 1)))
    assert (presence < 0.01).all(), "nor does the network"
    nothing, none = mesher.landmarks(frames[:0], np.zeros((0, 5, 2)))
    assert nothing.shape == (0, 478, 3) and none.shape == (0,)
    for shape in ((1, 3, 1, 1), (1, 3, 5, 900)):
        points, _ = mesher.landmarks(torch.rand(shape), np.zeros((1, 5, 2)))
        assert np.isnan(points).all()


def test_overlapping_boxes_become_their_weighted_mean():
    faces = [[[0, 0], [10, 10]], [[0, 2], [10, 12]], [[30, 30], [40, 40]], [[0, 8], [10, 18]]]
    points = np.array([np.concatenate([face, np.full((6, 2), i)]) for i, face in enumerate(faces)], float)
    merged, scores = blazeface._merge(points, np.array([0.9, 0.6, 0.55, 0.5]))
    assert scores.tolist() == [0.9, 0.55, 0.5]
    assert merged[0, :2].tolist() == [[0, pytest.approx(0.8)], [10, pytest.approx(10.8)]]
    assert merged[0, 2].tolist() == [pytest.approx(0.4)] * 2
    # The last one shares a ninth with the first and so stays, though it shares a quarter with the second.
    assert merged[2, :2].tolist() == faces[3]


def test_missing_weights_are_named(tmp_path):
    for load in (face_mesh.load_mesher, blazeface.load_blazeface):
        with pytest.raises(MissingWeights, match=r"gone\.safetensors.*convert_face_assets"):
            load(path=tmp_path / "gone.safetensors")
