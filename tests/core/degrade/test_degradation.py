"""The degradation against theory: measured blur, noise and scale, reproducible bytes."""

import subprocess
import sys

import numpy as np
import torch

from vividface_core.degrade import Degradation, DegradationRanges, downscale, gaussian_blur, resize, through_h264


def test_blur_has_the_asked_standard_deviation():
    point = torch.zeros(1, 1, 101, 101)
    point[0, 0, 50, 50] = 1
    for sigma in (0.8, 2.0, 5.0):
        spread = gaussian_blur(point, sigma)[0, 0]
        at = torch.arange(101.0) - 50
        measured = float((spread.sum(0) * at**2).sum() / spread.sum()) ** 0.5
        assert abs(measured - sigma) < 0.03 * sigma
        assert abs(float(spread.sum()) - 1) < 1e-5


def test_blur_reflects_at_borders_even_beyond_the_picture():
    flat = torch.full((1, 3, 9, 7), 0.4)
    assert torch.allclose(gaussian_blur(flat, 10), flat, atol=1e-6)


def test_noise_has_the_asked_deviation_and_is_new_in_every_frame():
    grey = torch.full((4, 3, 128, 128), 0.5)
    noisy = Degradation(sigma=0, scale=1, noise=8, crf=None, seed=3)(grey)
    assert abs(float((noisy - grey).std()) * 255 - 8) < 0.1
    first, second = (noisy[:2] - grey[:2]).flatten(1)
    assert abs(float(np.corrcoef(first, second)[0, 1])) < 0.02


def test_scale_and_shape():
    clip = torch.rand(2, 3, 96, 120)
    assert downscale(clip, 3).shape == (2, 3, 32, 40)
    assert Degradation(1.0, 3.3, 2, 20, 0)(clip).shape == clip.shape


def test_codec_loses_more_at_a_higher_rate_factor():
    clip = torch.rand(5, 3, 64, 64)
    errors = [float((through_h264(clip, crf) - clip).abs().mean()) for crf in (10, 20, 35)]
    assert errors[0] < errors[1] < errors[2]
    assert through_h264(clip[:1], 20).shape == (1, 3, 64, 64)


def test_draws_stay_in_the_papers_ranges():
    draws = [DegradationRanges().sample(seed) for seed in range(300)]
    for name, low, high in (("sigma", 0.1, 10), ("scale", 1, 4), ("noise", 0, 10), ("crf", 18, 25)):
        values = [getattr(draw, name) for draw in draws]
        assert low <= min(values) < low + 0.1 * (high - low) + 0.1
        assert high - 0.1 * (high - low) - 0.1 < max(values) <= high


def test_same_seed_gives_the_same_bytes_in_another_process():
    program = (
        "import torch, hashlib; from vividface_core.degrade import DegradationRanges; "
        "x = torch.linspace(0, 1, 5 * 3 * 48 * 64).view(5, 3, 48, 64); "
        "y = DegradationRanges().sample(11)(x); print(hashlib.sha256(y.numpy().tobytes()).hexdigest())"
    )
    digests = {subprocess.check_output([sys.executable, "-c", program], text=True) for _ in range(2)}
    assert len(digests) == 1


def test_the_codec_gives_the_same_frames_again():
    """Also for sizes that aren't whole blocks, and whatever lay in memory before."""
    source = np.random.default_rng(0)
    clips = [resize(torch.rand(9, 3, 8, 8), *size) for size in ((64, 64), (34, 22), (66, 66), (50, 50))]
    first = [through_h264(clip, 20) for clip in clips]
    for _ in range(25):
        _ = [source.integers(0, 255, int(size), np.uint8) for size in source.integers(1000, 200_000, 50)]
        assert all(torch.equal(through_h264(clip, 20), known) for clip, known in zip(clips, first))
