"""Measures that see harm, against other libraries and against harm that was done on purpose."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from tests.assets import clip
from training.evaluation import levels
from training.evaluation.harm import (
    FaceMotion,
    chroma,
    chroma_error,
    eight_bits,
    face_psnr,
    false_colour,
    psnr,
    to_bytes,
)
from training.evaluation.validation_clips import validation_clips
from vividface_core.degrade.footage import grey_of
from vividface_core.errors import InvalidOption, MissingWeights
from vividface_core.faces.detect import load_detector
from vividface_core.faces.parse import load_parser
from vividface_core.video.source import VideoFrames


@pytest.fixture(scope="module")
def detector():
    return load_detector("mtcnn")


@pytest.fixture(scope="module")
def truth():
    """Six frames of a talking head, 144×144."""
    frames = torch.stack([frame.rgb() for frame in VideoFrames(clip("carphone")).read(0, 6)])
    return eight_bits(frames[..., 16:160]).contiguous()


@pytest.fixture(scope="module")
def motion(truth, detector):
    return FaceMotion(truth, detector, load_parser("landmark-hull"))


def test_psnr_and_chroma_are_those_of_other_libraries(truth):
    noisy = (truth + 0.05 * torch.randn(truth.shape)).clamp(0, 1)
    wanted = np.mean([peak_signal_noise_ratio(a, b, data_range=255) for a, b in zip(to_bytes(truth), to_bytes(noisy))])
    assert abs(psnr(noisy, truth) - wanted) < 1e-3 and psnr(truth, truth) == float("inf")
    # OpenCV's full-range YCrCb is rounded to whole numbers twice: luma, which is then subtracted times 0.713, and the
    # result.
    theirs = cv2.cvtColor(to_bytes(truth)[0], cv2.COLOR_RGB2YCrCb)[..., [2, 1]].astype(float) - 128
    assert np.abs(chroma(truth)[0].permute(1, 2, 0).numpy() - theirs).max() < 0.5 * 1.713 + 0.02


def test_psnr_of_the_face_counts_its_pixels_alone(truth, motion):
    noisy = (truth + 0.05 * torch.randn(truth.shape)).clamp(0, 1)
    frames = [
        peak_signal_noise_ratio(a[mask], b[mask], data_range=255)
        for a, b, mask in zip(to_bytes(truth), to_bytes(noisy), motion.face[:, 0].numpy())
    ]
    assert face_psnr(noisy, truth, motion.face) == pytest.approx(np.mean(frames), abs=1e-3)
    elsewhere = torch.where(motion.face, noisy, 1 - truth)
    assert face_psnr(elsewhere, truth, motion.face) == face_psnr(noisy, truth, motion.face) > psnr(elsewhere, truth)


def test_flicker_inside_the_face_is_seen_and_outside_it_is_not(truth, motion):
    still = motion.error(truth)
    seen = motion.counted
    inside = torch.zeros_like(truth[:, :1])
    inside[1:] = seen.float()
    assert 0.02 < float(seen.float().mean()) < 0.7 and 0 < still < 3
    # Every other frame brighter by 8 of 255: the difference of neighbours grows by about as much.
    flicker = torch.zeros(len(truth), 1, 1, 1)
    flicker[1::2] = 8 / 255
    assert still + 4 < motion.error(truth + flicker) < still + 9
    face = torch.nn.functional.max_pool2d(inside.amax(0, keepdim=True), 31, 1, 15)
    assert motion.error(truth + flicker * (1 - face)) == pytest.approx(still, abs=0.05)


def test_what_moves_along_is_no_flicker(detector):
    """A picture that shifts as a whole: the flow explains it, the plain frame difference doesn't."""
    frame = next(iter(VideoFrames(clip("single_face")).read(0, 1))).rgb()
    shifted = torch.stack([frame[:, 20:340, 80 + 3 * n : 400 + 3 * n] for n in range(4)]).contiguous()
    motion = FaceMotion(shifted, detector, load_parser("landmark-hull"))
    assert motion.error(shifted) < 0.4 * float(shifted.diff(dim=0).abs().mean() * 255)


def test_false_colours_are_told_in_both_measures(truth):
    grey = grey_of(truth)
    assert false_colour(grey) < 0.01 and chroma_error(truth, truth) == 0
    tinted = grey.clone()
    tinted[2, :, 40:44, 50:54] += torch.tensor([0.0, 0.0, 20 / 255])[:, None, None]
    assert 8 < false_colour(tinted) < 12, "a spot of 4×4 pixels is enough"
    assert chroma_error(grey, truth) > 2


def test_no_face_is_an_error(detector):
    with pytest.raises(ValueError, match="no face"):
        FaceMotion(torch.zeros(3, 3, 64, 64), detector, load_parser("landmark-hull"))


def test_levels_tell_who_helps_and_who_harms(truth, detector):
    """Doing nothing gains nothing anywhere; a restorer that knows the truth gains everywhere; a blur harms."""
    clips = [("head", 3, truth)]
    same = levels.measure(lambda x: x, clips, detector)
    assert [entry["level"] for entry in same] == list(levels.LEVELS)
    for entry in same[1:]:
        assert entry["input"] == entry["output"] and entry["neutral"] < 0.01
    assert same[0]["output"]["psnr"] == float("inf") and same[0]["input"]["psnr"] is None
    quality = {entry["level"]: entry["input"]["psnr"] for entry in same[1:]}
    assert quality["light"] > quality["web"] > quality["medium"] > quality["strong"] == min(quality.values())
    known = levels.summary(levels.measure(lambda x: 0.5 * x + 0.5 * truth, clips, detector))
    assert all(known[level]["gain"] > 5 for level in list(levels.LEVELS)[1:])
    blurred = levels.measure(lambda x: torch.nn.functional.avg_pool2d(x, 7, 1, 3), clips, detector)
    means = levels.summary(blurred)
    assert means["light"]["gain"] < -3 and means["light"]["worst_clip"] == "head" and means["light"]["losses"] == 1
    assert means["none"]["worst"] == means["none"]["output"]["psnr"] < 35
    tinted = levels.measure(lambda x: x * torch.tensor([1.0, 1.0, 0.9])[:, None, None], clips[:1], detector)
    assert levels.summary(tinted)["none"]["neutral"] > 5
    assert abs(means["medium"]["late"]) < 1

    def tires(clip):
        share = torch.linspace(0, 0.5, len(clip))[:, None, None, None]
        return clip + share * (torch.nn.functional.avg_pool2d(clip, 7, 1, 3) - clip)

    tired = levels.summary(levels.measure(tires, clips, detector))
    assert tired["light"]["late"] < -2 and tired["none"]["late"] < -5, "it gets worse from frame to frame"
    lines = levels.table(blurred).splitlines()
    assert len(lines) == 8 and lines[2].startswith("| none | ∞ → ") and "web: 0.3 / 1.5 / 0 / 33" in lines[4]


def test_validation_clips_are_large_faces_that_are_kept_from_training(material, detector, monkeypatch, tmp_path):
    from training.data.random_clips import Material

    stored = Material(material)
    if not any(key in stored.held_back for key in stored.faces):
        monkeypatch.setattr("training.data.people.VALIDATION_SHARE", 1)
    clips = validation_clips(material)
    held = Material(material).held_back
    assert clips and all(one.key in held for one in clips)
    for one in clips:
        frames = one.cut(5, 96, detector)
        assert frames.shape == (5, 3, 96, 96) and torch.equal(frames, one.cut(5, 96, detector))
        assert detector.detect(frames[2:3])[0], "the face is in the picture"
        assert float(frames.diff(dim=0).abs().mean()) > 1e-4, "stills move too"
    moving = [one for one in clips if len(one.material.clip(one.key)) > 1]
    for one in moving:
        with pytest.raises(InvalidOption, match="17 frames"):
            one.cut(81, 96, detector)
    with pytest.raises(MissingWeights):
        validation_clips(tmp_path)


def test_rounding_is_that_of_an_8_bit_file(truth):
    assert torch.equal(eight_bits(truth + 0.2 / 255), eight_bits(truth)) and float(eight_bits(truth * 0 + 2).max()) == 1
