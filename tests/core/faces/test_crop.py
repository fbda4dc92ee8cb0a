from __future__ import annotations

import av
import numpy as np
import pytest
import torch

from tests.assets import clip
from vividface_core.faces.crop import crop_clip, crop_points, paste, smooth_crops, square_crop


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    with av.open(str(clip("wolfgang"))) as container:
        frame = next(container.decode(video=0))
    rgb = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1).float() / 255
    assert rgb.shape == (3, 360, 640)
    return rgb


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(-10 * torch.log10((one - other).square().mean()))


def test_the_crop_holds_hair_and_chin_and_follows_the_tilt():
    upright = np.array([[[-20, -15], [20, -15], [0, 5], [-15, 25], [15, 25]]], float) + 200
    box = np.array([[150, 140, 250, 260]], float)
    ((cx, cy, side),) = square_crop(box, upright)
    assert side == 1.75 * 120
    assert cx == pytest.approx(200)
    assert 170 < cy < 200, "the centre moves up"
    assert cy - side / 2 < 140 - 0.3 * 120 and cy + side / 2 > 260 + 0.1 * 120
    lying = (upright - 200)[..., ::-1] * [-1, 1] + 200
    ((cx, cy, _),) = square_crop(box, lying)
    assert cx > 200 and cy == pytest.approx(200)


def test_smoothing_removes_jitter_and_follows_a_pan():
    random = np.random.default_rng(0)
    frames = np.arange(90.0)
    path = np.stack([300 + 4 * frames, 200 + 1.5 * frames, np.full(90, 240.0)], axis=1)
    raw = path + random.normal(0, 1.5, path.shape)
    smooth = smooth_crops(raw)
    jitter = [np.abs(np.diff(values, 2, axis=0)).mean(0) for values in (raw, smooth)]
    assert (jitter[0] > 5 * jitter[1]).all()
    assert np.abs(smooth - path).max() < 3, "also at both ends of the pan"


def test_smoothing_ignores_outliers_and_keeps_short_and_straight_paths():
    still = np.tile([100.0, 80.0, 60.0], (30, 1))
    hit = still.copy()
    hit[11] += 90
    hit[20:22] -= 70
    assert np.allclose(smooth_crops(hit), still)
    line = np.stack([np.arange(25.0) * 7, np.arange(25.0), 100 + np.arange(25.0)], 1)
    for length in (1, 2, 3, 7, 25):
        assert np.allclose(smooth_crops(line[:length]), line[:length])


def test_an_aligned_crop_is_the_picture_itself(picture):
    assert torch.equal(crop_clip(picture, (100 + 64, 50 + 64, 128), 128), picture[:, 50:178, 100:228])


def test_outside_the_picture_lies_its_mirror_image(picture):
    crop = crop_clip(picture, (0, 100, 64), 64)
    assert torch.equal(crop[:, :, :32], crop[:, :, 32:].flip(-1))
    far = crop_clip(picture[:, :10, :10], (5, 5, 64), 32)
    assert far.shape == (3, 32, 32) and torch.isfinite(far).all()


def test_sub_pixel_places_are_exact_for_a_ramp():
    ramp = (torch.arange(64) + 0.5).expand(3, 64, 64) / 64
    crop = crop_clip(ramp, (30.3, 32.0, 20.0), 25)
    expected = (20.3 + (torch.arange(25) + 0.5) * 0.8) / 64
    assert torch.allclose(crop[0, 12], expected, atol=1e-6)


def test_shrinking_does_not_alias():
    stripes = (torch.arange(256) % 2).float().expand(3, 256, 256)
    crop = crop_clip(stripes, (128.3, 128, 200), 60)
    assert (crop[:, 5:-5, 5:-5] - 0.5).abs().max() < 0.02


@pytest.mark.parametrize("size", [256, 512])
def test_crop_and_paste_are_inverse(picture, size):
    cx, cy, side = 310.37, 181.81, 243.6
    cut = crop_clip(picture, (cx, cy, side), size)
    patch, (top, left) = paste(cut, (cx, cy, side), 360, 640)
    assert (top, left) == (60, 189) and patch.shape == (3, 244, 243)
    inner = (slice(None), slice(4, -4), slice(4, -4))
    source = picture[:, top : top + patch.shape[1], left : left + patch.shape[2]]
    exact = psnr(patch[inner], source[inner])
    assert exact > 41
    for moved in (-0.1, 0.1):
        off, corner = paste(cut, (cx + moved, cy - moved, side), 360, 640)
        assert abs(corner[0] - top) <= 1 and abs(corner[1] - left) <= 1
        rows, columns = (min(a, b) for a, b in zip(off.shape[1:], patch.shape[1:]))
        beside = picture[:, corner[0] : corner[0] + rows, corner[1] : corner[1] + columns]
        assert psnr(off[:, :rows, :columns][inner], beside[inner]) < exact - 1


def test_paste_is_limited_to_the_frame(picture):
    crop = (10.0, 350.0, 100.0)
    patch, corner = paste(crop_clip(picture, crop, 100), crop, 360, 640)
    assert corner == (300, 0) and patch.shape == (3, 60, 60)
    assert torch.equal(patch, picture[:, 300:, :60])
    outside, _ = paste(torch.ones(3, 32, 32), (-100, -100, 50), 360, 640)
    assert outside.shape[1:] == (0, 0)


def test_points_land_on_the_pixels_they_marked():
    spot = torch.zeros(3, 200, 200)
    spot[:, 90, 120] = 1
    crop = np.array([[110.2, 95.4, 80.0]])
    seen = crop_clip(spot, crop[0], 160)[0]
    weights = seen / seen.sum()
    place = torch.arange(160) + 0.5
    found = [float((weights.sum(0) * place).sum()), float((weights.sum(1) * place).sum())]
    points = crop_points(np.tile([120.5, 90.5], (1, 5, 1)), crop, 160)
    assert points.shape == (1, 5, 2)
    assert np.allclose(points[0, 0], found, atol=0.3)
