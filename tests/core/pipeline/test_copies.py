"""Faces on their side, upside down and in the dark: found in copies where nothing else was, said so, restored."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.assets import clip
from vividface_core.faces.crop import turn_points
from vividface_core.faces.detect import load_detector
from vividface_core.faces.masks import face_masks
from vividface_core.faces.parse import load_parser
from vividface_core.faces.track import FaceTrack
from vividface_core.pipeline.analysis import find_faces
from vividface_core.pipeline.copies import Copy, brighter, points_back
from vividface_core.pipeline.restore import RestoreOptions, restore_frames
from vividface_core.video.shots import Shot
from vividface_core.video.source import ClipFrames, VideoFrames
from vividface_core.weights import load_restorer


@pytest.fixture(scope="module")
def detector():
    return load_detector("mtcnn")


@pytest.fixture(scope="module")
def upright() -> torch.Tensor:
    return torch.stack([frame.rgb() for frame in VideoFrames(clip("franck")).read(0, 3)])


def look(frames: torch.Tensor, detector) -> tuple[list[FaceTrack], list[str]]:
    told: list[str] = []
    return find_faces(ClipFrames(frames), Shot(0, len(frames)), detector, lambda *_: None, notice=told.append), told


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_points_go_where_the_pixels_go(turn):
    """Against a picture of its own coordinates, turned by torch."""
    height, width = 5, 7
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    turned = torch.rot90(torch.stack([columns, rows]), turn, (-2, -1))
    for y in range(turned.shape[1]):
        for x in range(turned.shape[2]):
            wanted = turned[:, y, x].numpy() + 0.5
            assert np.allclose(points_back(np.array([x + 0.5, y + 0.5]), turn, (width, height)), wanted)
    square = np.array([[1.5, 4.0], [0.0, 6.0]])
    assert np.allclose(points_back(turn_points(square, turn, 6), turn, (6, 6)), square)


@pytest.mark.parametrize("turn, words", [(1, "turned by 90°"), (2, "turned by 180°"), (3, "turned by 90°")])
def test_a_turned_face_is_found_where_it_is(turn, words, upright, detector):
    (straight,), told = look(upright, detector)
    assert not told and straight.turn == 0
    (track,), told = look(torch.rot90(upright, -turn, (-2, -1)), detector)
    assert len(told) == 1 and words in told[0] and "frames 0 to 2" in told[0]
    assert track.turn == turn
    height, width = upright.shape[-2:]
    there = (width, height) if turn == 2 else (height, width)
    eyes = points_back(straight.landmarks, turn, there)
    assert np.abs(track.landmarks - eyes).max() < 3 and np.abs(track.crops[:, 2] - straight.crops[:, 2]).max() < 6
    assert (track.boxes[:, 2:] > track.boxes[:, :2]).all()
    assert FaceTrack.from_json(track.to_json()).turn == turn and track.between(1, 2).turn == turn


def test_a_face_in_the_dark_is_found(upright, detector):
    dark = (upright * 8).round() / 255  # eight levels of grey are left
    assert not any(face.score > 0.9 for frame in dark for face in detector.detect(frame[None])[0])
    (track,), told = look(dark, detector)
    assert track.turn == 0 and len(told) == 1 and "brightened" in told[0]
    (straight,), _ = look(upright, detector)
    assert np.abs(track.landmarks - straight.landmarks).max() < 8
    assert torch.equal(brighter(torch.zeros(3, 8, 8)), torch.zeros(3, 8, 8))
    assert 0.3 < float(brighter(dark[0]).mean()) < 0.6
    assert str(Copy(2, True)) == "turned by 180° and brightened"


def test_nothing_is_found_where_there_is_no_face(detector):
    for name in ("no_face", "bikes"):
        frames = torch.stack([frame.rgb() for frame in VideoFrames(clip(name)).read(0, 2)])
        assert look(frames, detector) == ([], [])
        assert look(frames * 0.05, detector) == ([], [])


def test_a_turned_face_is_restored_upright(upright, tiny_checkpoint):
    """What the restorer sees doesn't depend on how the camera was held."""
    options = RestoreOptions(size=64, window=5, overlap=0, color="none")
    restorer = load_restorer(str(tiny_checkpoint))
    straight, _ = restore_frames(upright, restorer, options)
    turned, result = restore_frames(torch.rot90(upright, 2, (-2, -1)), restorer, options)
    assert result.tracks == 1 and any("turned by 180°" in line for line in result.notices)
    back = torch.rot90(turned, 2, (-2, -1))
    changed = (straight - upright).abs().amax(1) > 0.02
    assert changed.float().mean() > 0.02
    assert (back - straight).abs().mean() < 0.15 * (straight - upright).abs().mean()


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_masks_of_turned_faces_are_those_of_upright_ones(upright, detector, turn):
    """A parser that knows upright faces only, as the networks do."""

    class UprightOnly:
        def parse(self, clip: torch.Tensor, landmarks: np.ndarray) -> torch.Tensor:
            eyes, mouth = landmarks[0, :2].mean(0), landmarks[0, 3:].mean(0)
            assert mouth[1] > eyes[1] + abs(mouth[0] - eyes[0])
            return load_parser("landmark-hull").parse(clip, landmarks)

    def masks(frames: torch.Tensor) -> torch.Tensor:
        tracks, _ = look(frames, detector)
        assert len(tracks) == 1
        return torch.stack(list(face_masks(ClipFrames(frames).read(), tracks, UprightOnly(), 128)))

    wanted = masks(upright)
    found = torch.rot90(masks(torch.rot90(upright, turn, (-2, -1)).contiguous()), -turn, (-2, -1))
    common = torch.minimum(wanted, found).sum() / torch.maximum(wanted, found).sum()
    assert common > 0.85
