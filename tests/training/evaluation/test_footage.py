"""Sheets of real footage: which frames, which cut, what is told of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.assets import clip
from training.evaluation.footage import ENLARGED, LARGEST, face_cut, measure, read_clip, table
from vividface_core.errors import InvalidOption, UnreadableVideo
from vividface_core.faces.detect import load_detector
from vividface_core.weights import load_restorer


@pytest.fixture(scope="module")
def detector():
    return load_detector("mtcnn")


def test_a_clip_is_read_from_the_frame_on_that_is_named():
    place = clip("carphone")
    whole, later = read_clip(str(place), 4), read_clip(f"{place}@3", 2)
    assert len(whole) == 4 and torch.equal(later[0], whole[3]) and len(later) == 2
    with pytest.raises(InvalidOption, match="number of a frame"):
        read_clip(f"{place}@end", 2)
    with pytest.raises(UnreadableVideo, match="from number 99999 on"):
        read_clip(f"{place}@99999", 2)


def test_the_cut_is_a_square_around_the_face_within_the_frame(detector):
    frame = read_clip(str(clip("carphone")), 1)[0]
    top, bottom, left, right = face_cut(frame, detector)
    assert bottom - top == right - left <= LARGEST
    assert 0 <= top and 0 <= left and bottom <= frame.shape[1] and right <= frame.shape[2]
    inner = detector.detect(frame[None, :, top:bottom, left:right])[0]
    assert inner, "the face is in it"
    assert face_cut(torch.zeros(3, 96, 96), detector) is None


def test_a_sheet_shows_input_beside_output_and_its_figures_tell_the_change(detector):
    frames = read_clip(str(clip("carphone")), 5)
    figures, sheet = measure(frames, load_restorer("vividface-nano"), detector)
    side = sheet.width // (2 * ENLARGED)
    assert sheet.size == (2 * side * ENLARGED, 3 * side * ENLARGED)
    left, right = (np.asarray(sheet)[:, half].astype(int) for half in (slice(0, sheet.width // 2), slice(-side, None)))
    assert left.std() > 20 and right.std() > 20
    assert 30 < figures["change"] < 70 and figures["frames"] == 5
    row = table([{"clip": "carphone", **figures}]).splitlines()[-1]
    assert row.startswith("| carphone | 5 | ") and row.count("|") == 6
