"""What stands before a face is found, stays as it is, and its mask doesn't flicker."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks.occluder_drawings import KINDS, draw_over
from tests.assets import clip
from tests.command import one_sentence, vividface
from tests.core.faces.test_identity_guard import Untouched, read
from vividface_core.errors import InvalidOption
from vividface_core.faces.compose import compose
from vividface_core.faces.crop import crop_clip
from vividface_core.faces.detect import load_detector
from vividface_core.faces.masks import face_masks
from vividface_core.faces.occluders import REACH, SIDE, SURE, UNSURE, SteadyCover, load_occluder_finder, soft_cover
from vividface_core.faces.parse import LandmarkHull
from vividface_core.pipeline.analysis import find_faces
from vividface_core.pipeline.options import Given, RestoreOptions
from vividface_core.pipeline.restore import restore_frames
from vividface_core.video.shots import Shot
from vividface_core.video.source import ClipFrames

FRAMES = 7


@pytest.fixture(scope="module")
def film():
    """Seven frames of a real clip, and the track of its face."""
    frames = read("wolfgang", 280, 280 + FRAMES)
    tracks = find_faces(ClipFrames(frames), Shot(0, FRAMES), load_detector("mtcnn"), lambda *_: None)
    assert len(tracks) == 1 and len(tracks[0].boxes) == FRAMES
    return frames, tracks[0]


@pytest.fixture(scope="module")
def finder():
    return load_occluder_finder()


def head(film):
    """Where the face is, ``[T, 1, H, W]`` bool."""
    frames, track = film
    height, width = frames.shape[-2:]
    square = torch.zeros(FRAMES, 3, max(height, width), max(height, width))
    return LandmarkHull().parse(square, track.landmarks)[..., :height, :width] > 0.5


def drawn(film, kind):
    """Frames with a thing before the face, where it is, and the face's own area; bool ``[T, 1, H, W]``."""
    frames, track = film
    covered, alpha = draw_over(frames, track.landmarks, kind, read("carphone", 5, 6)[0])
    face = head(film)
    return covered, face & (alpha > 0.95), face & (alpha < 0.02)


class Told:
    """A finder that finds what it is told, frame after frame."""

    def __init__(self, found):
        self._found = iter(found)

    def find(self, crops):
        assert crops.shape[0] == 1
        return next(self._found)[None]


def test_a_clear_face_is_clear_and_things_before_it_are_found(film, finder):
    frames, track = film
    for kind in (None, *KINDS):
        shown, there, clear = frames, None, head(film)
        if kind is not None:
            shown, there, clear = drawn(film, kind)
        crops = torch.stack([crop_clip(frame, crop, 256) for frame, crop in zip(shown, track.crops)])
        found = finder.find(crops)
        assert found.shape == (FRAMES, 1, SIDE, SIDE) and 0 <= found.min() and found.max() <= 1
        cut = [crop_clip(clear[at].float(), crop, SIDE) for at, crop in enumerate(track.crops)]
        assert found[torch.stack(cut) > 0.99].mean() < (0.05 if kind is None else 0.15), kind
        if there is not None and kind in ("card", "microphone", "sunglasses"):
            cut = [crop_clip(there[at].float(), crop, SIDE) for at, crop in enumerate(track.crops)]
            assert (found[torch.stack(cut) > 0.99] >= SURE).float().mean() > 0.5, kind


def test_crops_of_any_size_show_the_same(film, finder):
    covered, _, _ = drawn(film, "card")
    large = crop_clip(covered[3], film[1].crops[3], 512)
    small = F.interpolate(large[None], (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    assert torch.allclose(finder.find(large[None]), finder.find(small), atol=1e-4)


def test_the_cover_holds_what_was_found_and_fades():
    found = torch.zeros(12, 1, SIDE, SIDE)
    found[6, :, 40:120, 40:120] = 1.0
    found[:, :, 140:160, 20:60] = 1.0
    cover = SteadyCover(Told(found), 12)
    taken = []
    for _ in range(12):
        cover.look(torch.zeros(3, SIDE, SIDE))
        while len(taken) < 12 and cover.knows(len(taken)):
            taken.append(cover.take(len(taken)))
    assert len(taken) == 12
    passing = torch.stack(taken)[:, 0, 80, 80]
    assert passing[6] > 0.9999 and passing[: 6 - 2 * REACH].max() == 0 and passing[6 + 2 * REACH + 1 :].max() == 0
    assert passing.diff().abs().max() < 0.9
    still = torch.stack(taken)[:, 0, 150, 40]
    assert torch.allclose(still, torch.ones(12))
    for at, one in enumerate(taken):
        assert (one >= soft_cover(found[at]) - 1e-6).all()


def test_what_is_unsure_covers_nothing():
    assert soft_cover(torch.full((1, SIDE, SIDE), UNSURE)).max() == 0
    assert torch.allclose(soft_cover(torch.full((1, SIDE, SIDE), SURE)), torch.ones(1))


def test_covered_pixels_are_the_sources_own(film):
    frames, track = film
    crop, mask = track.crops[0], torch.ones(1, 128, 128)
    restored = 1 - crop_clip(frames[0], crop, 128)
    covered = torch.zeros(1, SIDE, SIDE)
    covered[:, :, : SIDE // 2] = 1.0
    whole, _ = compose(frames[0], restored, mask, crop, color="none")
    kept, changed = compose(frames[0], restored, mask, crop, color="none", covered=covered)
    x, y, side = crop
    left = slice(int(x - side / 2) + 4, int(x) - 6)
    right = slice(int(x) + 6, int(x + side / 2) - 4)
    rows = slice(max(0, int(y - side / 2)), int(y + side / 2))
    assert torch.equal(kept[:, rows, left], frames[0][:, rows, left]) and not changed[rows, left].any()
    assert torch.equal(kept[:, rows, right], whole[:, rows, right]) and changed[rows, right].any()


class Negative(Untouched):
    """Makes a negative of everything, so that what was restored can be told."""

    name = "negative"

    def restore(self, clip, *, mask=None, strength=1.0, progress=None):
        return 1 - clip


@pytest.mark.parametrize("kind", ["card", "sunglasses"])
def test_the_pipeline_leaves_things_before_the_face(film, kind):
    covered, there, clear = drawn(film, kind)
    outputs = {}
    for mode in ("restore", "keep"):
        options = RestoreOptions(occluders=mode, identity_guard="off", color="none", window=5, overlap=1)
        outputs[mode] = restore_frames(covered, Negative(), options, given=Given([film[1]]))[0]
    change = {mode: (output - covered).square().mean(1, keepdim=True) for mode, output in outputs.items()}
    inside = {mode: float(value[there].mean().sqrt()) for mode, value in change.items()}
    assert inside["keep"] <= 0.3 * inside["restore"]
    assert change["keep"][clear].mean().sqrt() > 0.9 * change["restore"][clear].mean().sqrt()
    # The same whatever the windows are.
    longer = RestoreOptions(occluders="keep", identity_guard="off", color="none", window=17, overlap=0)
    again = restore_frames(covered, Negative(), longer, given=Given([film[1]]))[0]
    assert torch.allclose(again, outputs["keep"], atol=2e-3)


def test_a_face_on_its_side_is_looked_at_upright(film, finder):
    covered, there, _ = drawn(film, "card")
    crops = torch.stack([crop_clip(frame, crop, SIDE) for frame, crop in zip(covered, film[1].crops)])
    takes = []
    for turn in (0, 1):
        cover = SteadyCover(finder, FRAMES, turn)
        for crop in crops:
            cover.look(torch.rot90(crop, -turn, (-2, -1)))
        takes.append(torch.stack([torch.rot90(cover.take(at), turn, (-2, -1)) for at in range(FRAMES)]))
    assert torch.allclose(takes[0], takes[1], atol=1e-5)


def test_masks_leave_things_out(film, finder):
    covered, there, clear = drawn(film, "card")
    track = replace(film[1])
    whole, without = (
        torch.stack(list(face_masks(ClipFrames(covered).read(), [track], LandmarkHull(), 256, finder=one)))[:, None]
        for one in (None, finder)
    )
    assert whole.shape == without.shape == there.shape
    assert without[there].mean() < 0.2 * whole[there].mean()
    assert without[clear].mean() > 0.88 * whole[clear].mean()
    assert (without <= whole + 1e-6).all()


def test_masks_come_for_every_frame_though_the_film_ends_early(film, finder):
    frames, track = film
    masks = list(face_masks(ClipFrames(frames[:4]).read(), [track], LandmarkHull(), 64, finder=finder))
    assert len(masks) == 4 and all(mask.max() > 0.9 for mask in masks)


def test_another_word_is_refused(tmp_path):
    with pytest.raises(InvalidOption, match="occluders is 'blur'; choose one of keep, restore"):
        RestoreOptions(occluders="blur")
    run = vividface("restore", clip("wolfgang"), "-o", tmp_path / "out.mp4", "--occluders", "blur")
    assert run.returncode == 1 and "choose one of keep, restore" in run.stderr
    one_sentence(run)
    assert not list(tmp_path.iterdir())


def test_the_same_is_found_in_one_crop_and_in_many(film, finder):
    covered, _, _ = drawn(film, "hand")
    crops = torch.stack([crop_clip(frame, crop, SIDE) for frame, crop in zip(covered, film[1].crops)])
    alone = torch.cat([finder.find(crop[None]) for crop in crops])
    assert np.abs((finder.find(crops) - alone).numpy()).max() < 1e-4
