"""Presets and their steps against theory and other libraries."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats

from vividface_core.degrade import Degradation, DegradationRanges, SampledDegradation, load_preset, preset_names
from vividface_core.degrade.filters import oriented_blur, shrink
from vividface_core.degrade.parameters import Choice, Range, parse
from vividface_core.errors import InvalidOption

PARTS = [part.name for _, part in load_preset("real_world").parts]
SINGLE = [name for name in preset_names() if name != "real_world"] + PARTS
PAPER = {"sigma": (0.1, 10), "scale": (1, 4), "noise": (0, 10), "crf": (18, 25)}


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth random colours ``[H, W, 3]``, float32, 0…1, with edges."""
    noise = np.random.default_rng(seed).uniform(size=(height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return np.clip((smooth - 0.5) * 4 + 0.5, 0, 1)


def as_clip(*pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def only(step: str, seed: int = 1, **values: object) -> SampledDegradation:
    """A degradation of one step."""
    return SampledDegradation("test", (step,), seed, values)


def test_the_formula_step_by_step_with_other_libraries():
    """Blur by SciPy, anti-aliased shrinking by Pillow, noise drawn for all frames at once, the way back by OpenCV."""
    pictures = [picture(66, 90, seed) for seed in range(3)]
    got = Degradation(sigma=1.7, scale=2.4, noise=6.0, crf=None, seed=5)(as_clip(*pictures))
    grain = np.random.default_rng((5, 1)).standard_normal((3, 3, 28, 38), dtype=np.float32)
    for frame, noise, result in zip(pictures, grain, got):
        blurred = ndimage.gaussian_filter(frame, (1.7, 1.7, 0), mode="mirror", radius=math.ceil(3 * 1.7))
        planes = [Image.fromarray(np.ascontiguousarray(blurred[..., channel])) for channel in range(3)]
        small = np.stack([np.asarray(plane.resize((38, 28), Image.Resampling.BILINEAR)) for plane in planes], -1)
        noisy = np.clip(small + noise.transpose(1, 2, 0) * (6 / 255), 0, 1)
        wanted = np.clip(cv2.resize(noisy, (90, 66), interpolation=cv2.INTER_CUBIC), 0, 1)
        assert np.abs(result.permute(1, 2, 0).numpy() - wanted).max() < 2e-5


def test_the_preset_draws_what_the_ranges_draw():
    for seed in range(50):
        source = np.random.default_rng(seed)
        wanted = [source.uniform(*PAPER[name]) for name in ("sigma", "scale", "noise")] + [source.integers(18, 26)]
        a, b = DegradationRanges().sample(seed), load_preset("vividface").sample(seed)
        assert [getattr(a, name) for name in PAPER] == wanted == [b.values[name] for name in PAPER]
        assert a.drawn() == b


@pytest.mark.parametrize("name", SINGLE)
def test_draws_fill_the_ranges_and_keep_within(name):
    preset = load_preset(name)
    draws = [preset.sample(seed).values for seed in range(400)]
    for key, value in preset.values.items():
        if key in preset.each_frame:
            assert all(draw[key] == value for draw in draws)
        elif isinstance(value, Choice):
            assert {draw[key] for draw in draws} == set(value.choices)
        else:
            drawn, margin = [draw[key] for draw in draws], 0.03 * (value.high - value.low)
            assert value.low <= min(drawn) <= value.low + margin and value.high - margin <= max(drawn) <= value.high
            if isinstance(value.low, float) and value.low < value.high:
                uniform = stats.uniform(value.low, value.high - value.low)
                assert stats.kstest(drawn, uniform.cdf).pvalue > 1e-3, key


def test_fixing_a_value_leaves_the_others():
    free = load_preset("keep").sample(8).values
    fixed = load_preset("keep", {"sigma": 3, "kernel": "iso", "crf": "20"}).sample(8).values
    changed = {name for name in free if free[name] != fixed[name]}
    assert changed <= {"sigma", "kernel", "crf"} and fixed["sigma"] == 3 and fixed["crf"] == 20


def test_values_as_people_write_them():
    assert parse("sigma", "2..6") == parse("sigma", (2, 6)) == parse("sigma", Range(2, 6)) == Range(2.0, 6.0)
    assert parse("crf", "23") == parse("crf", 23) == Range(23, 23)
    assert parse("filter", "area, bicubic") == parse("filter", ["area", "bicubic"]) == Choice(("area", "bicubic"))
    preset = load_preset("keep", {"noise": "1..3"})
    assert load_preset("keep", preset.ranges()) == preset, "a record's ranges are taken back"


@pytest.mark.parametrize(
    "preset, values, word",
    [
        ("sepia", {}, "sepia"),
        ("brightness_flicker", {"sigma": 2}, "brightness_flicker has no 'sigma'; it has probability, gain"),
        ("vividface", {"sigma": "soft"}, "a number"),
        ("vividface", {"sigma": "1..2..3"}, "a range"),
        ("vividface", {"sigma": float("nan")}, "a number"),
        ("vividface", {"sigma": "6..2"}, "smaller number first"),
        ("vividface", {"scale": 0.5}, "1 to 32"),
        ("vividface", {"crf": 23.5}, "whole"),
        ("vividface", {"codec": "betamax"}, "libx264, mpeg4, none"),
    ],
)
def test_wrong_values_are_told(preset, values, word):
    with pytest.raises(InvalidOption, match=word):
        load_preset(preset, values)


def test_a_record_gives_the_same_degradation():
    for name in SINGLE:
        drawn = load_preset(name).sample(3)
        assert SampledDegradation.from_dict(drawn.as_dict()) == drawn
    with pytest.raises(InvalidOption, match="no record"):
        SampledDegradation.from_dict({"preset": "vividface"})


@pytest.mark.parametrize("scale", [2.0, 2.7, 4.0])
@pytest.mark.parametrize(
    "name, flag", [("area", cv2.INTER_AREA), ("bilinear", cv2.INTER_LINEAR), ("bicubic", cv2.INTER_CUBIC)]
)
def test_shrinking_is_opencvs(name, flag, scale):
    source = picture(67, 90)
    wanted = cv2.resize(source, (int(90 // scale), int(67 // scale)), interpolation=flag)
    got = shrink(as_clip(source), scale, name)[0].permute(1, 2, 0).numpy()
    assert got.shape == wanted.shape and np.abs(got - wanted).max() < 1e-4


def test_the_cut_off_kernel_is_opencvs():
    source = picture(50, 60)
    kernel = cv2.getGaussianKernel(11, 3.3)
    wanted = cv2.filter2D(source, -1, kernel @ kernel.T)
    drawn = only("blur", sigma=3.3, sigma_y=0.0, angle=0.0, kernel="iso", kernel_size=11)
    assert np.abs(drawn(as_clip(source))[0].permute(1, 2, 0).numpy() - wanted).max() < 1e-5


def test_the_oriented_kernel_has_the_asked_covariance():
    point = torch.zeros(1, 1, 101, 101)
    point[0, 0, 50, 50] = 1
    spread = oriented_blur(point, 5.0, 2.0, 30.0, 40)[0, 0].double().numpy()
    y, x = np.mgrid[-50:51, -50:51]
    got = [[(spread * a * b).sum() for b in (x, y)] for a in (x, y)]
    turn = np.array([[np.cos(np.pi / 6), -np.sin(np.pi / 6)], [np.sin(np.pi / 6), np.cos(np.pi / 6)]])
    assert np.allclose(got, turn @ np.diag([25.0, 4.0]) @ turn.T, rtol=5e-3)


def noise_of(clip: torch.Tensor, drawn: SampledDegradation) -> np.ndarray:
    return (drawn(clip) - clip).numpy() * 255


def test_keeps_noise_has_a_new_strength_in_each_frame_and_is_grey_half_the_time():
    grey = torch.full((600, 3, 24, 24), 0.5)
    noise = noise_of(grey, only("noise", noise=Range(0.0, 10.0), gray=0.5, pattern="fresh"))
    strengths = noise.std((1, 2, 3))
    assert stats.kstest(strengths, stats.uniform(0, 10).cdf).pvalue > 1e-3
    alike = np.array([np.allclose(frame[0], frame[1], atol=1e-3) for frame in noise])
    assert abs(alike.mean() - 0.5) < 4 * np.sqrt(0.25 / 600)
    flat = {"sigma": 0, "sigma_y": 0, "scale": 1, "codec": "none"}
    twice = noise_of(grey[:300], load_preset("keep", flat).sample(2))
    assert abs((twice**2).mean() - 2 * 100 / 3) < 6, "the sum of two uniform strengths' mean squares"


def test_bfvrs_noise_stands_still_and_ours_does_not():
    grey = torch.full((5, 3, 64, 64), 0.5)
    still = noise_of(grey, only("noise", noise=5.0, gray=0.0, pattern="fixed"))
    assert abs(still.std() - 5) < 0.1 and all(np.array_equal(frame, still[0]) for frame in still)
    fresh = noise_of(grey, only("noise", noise=5.0, gray=0.0, pattern="fresh"))
    assert abs(np.corrcoef(fresh[0].ravel(), fresh[1].ravel())[0, 1]) < 0.05
    assert load_preset("bfvr_stc").sample(0).values["pattern"] == "fixed"


def test_brightness_flickers_as_often_and_as_much_as_it_should():
    drawn = load_preset("brightness_flicker").sample(4)
    grey = torch.full((3000, 3, 2, 2), 100 / 255)
    gains = drawn(grey)[:, 0, 0, 0].numpy() * 255 / 100
    flickers = np.abs(gains - 1) > 1e-6
    # A gain within half a code value of 1 is not seen: one in a hundred.
    assert abs(flickers.mean() - 0.3 * 0.99) < 4 * np.sqrt(0.3 * 0.7 / 3000)
    assert gains.min() >= 0.5 and gains.max() <= 1.5
    assert stats.kstest(gains[flickers], stats.uniform(0.5, 1).cdf).pvalue > 1e-3


def test_brightness_saturates_as_opencv_does():
    source = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    clip = as_clip(source.astype(np.float32) / 255)
    got = only("flicker", probability=1.0, gain=1.37)(clip)[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(got - cv2.convertScaleAbs(source, alpha=1.37)).max() < 1e-3


def test_texture_has_the_asked_deviation_and_no_low_frequencies():
    grey = torch.full((3, 3, 128, 128), 0.5)
    texture = noise_of(grey, only("texture", texture=4.0))
    assert abs(texture.std() - 4) < 0.08 and np.array_equal(texture[:, 0], texture[:, 1])
    power = np.abs(np.fft.fft2(texture[:, 0] * np.outer(np.hanning(128), np.hanning(128)))) ** 2
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    # |1 − exp(−2 π² σ² f²)|² with σ = 1: below a twentieth of the sampling rate it is under 0.3 % of the full.
    assert power[:, radius < 0.05].mean() < 0.005 * power[:, radius > 0.4].mean()
    assert abs(np.corrcoef(texture[0, 0].ravel(), texture[1, 0].ravel())[0, 1]) < 0.03


def test_points_move_by_at_most_the_shift_and_differently_in_each_frame():
    slope = 0.6 / 120
    ramp = (0.2 + slope * torch.arange(120.0)).expand(6, 3, 96, 120)
    moved = ((only("warp", shift=1.0, cell=24)(ramp) - ramp) / slope)[:, 0, 4:-4, 4:-4]
    # Between the grid's points a bicubic surface may overshoot a little.
    assert 0.6 < float(moved.abs().max()) < 1.3
    assert float((moved[0] - moved[1]).abs().mean()) > 0.1
    assert float((moved[:, 1:] - moved[:, :-1]).abs().max()) < 0.2, "neighbours move together"


def test_detail_is_sharpened_and_softened_within_the_share():
    source = picture(64, 64) * 0.5 + 0.25
    clip = as_clip(*[source] * 40)
    detail = source - ndimage.gaussian_filter(source, (1.5, 1.5, 0), mode="mirror", radius=5)
    changes = (only("sharpness", sharpness=0.7)(clip) - clip).permute(0, 2, 3, 1).numpy()
    shares = [float((change * detail).sum() / (detail**2).sum()) for change in changes]
    assert -0.7 <= min(shares) < -0.5 and 0.5 < max(shares) <= 0.7
    assert np.allclose(changes[0], shares[0] * detail, atol=2e-5)
