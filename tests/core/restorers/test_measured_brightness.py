"""The de-flickerer without a network, alone and as the tool's default."""

from __future__ import annotations

import pytest
import torch

from vividface_core.degrade import load_preset
from vividface_core.pipeline.deflicker import deflicker_options
from vividface_core.pipeline.restore import restore_frames
from vividface_core.restorers.measured_brightness import MeasuredBrightness
from vividface_core.video.colorspace import luma
from vividface_core.weights import DEFLICKERERS, inspect, load_restorer, where


def textured(frames: int = 24) -> torch.Tensor:
    """A moving texture of constant brightness, ``[T, 3, 48, 64]``."""
    generator = torch.Generator().manual_seed(3)
    wide = torch.nn.functional.interpolate(
        torch.rand(1, 3, 12, 16, generator=generator), scale_factor=4, mode="bicubic"
    )
    return torch.stack([wide[0].roll(t // 2, -1) for t in range(frames)]).clamp(0, 1) * 0.6 + 0.1


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean()))


def test_its_picture_has_the_median_brightness_of_eleven_frames():
    clip = textured(11) * torch.tensor([1, 1, 1.4, 1, 1, 0.6, 1, 1, 1, 1, 1]).view(-1, 1, 1, 1)
    out = MeasuredBrightness().restore(clip)
    level = luma(clip).mean((1, 2, 3)).sort().values
    assert luma(out[5]).mean() == pytest.approx(float(level[5]), rel=1e-4), "all eleven are around the middle one"
    assert torch.equal(MeasuredBrightness().restore(clip, strength=0), clip)
    half = MeasuredBrightness().restore(clip, strength=0.5)
    torch.testing.assert_close(half, (clip + out) / 2)


def test_the_tool_takes_it_where_none_is_named():
    assert DEFLICKERERS["brightness"] == "measured-brightness"
    restorer = load_restorer("measured-brightness")
    found = inspect(where("measured-brightness"))
    assert isinstance(restorer, MeasuredBrightness) and found.tasks == restorer.tasks == ("deflicker brightness",)
    truth = textured()
    low = load_preset("brightness_flicker").sample(1)(truth)
    steady, _ = restore_frames(low, restorer, deflicker_options("brightness"))
    assert psnr(low, truth) < 30 and psnr(steady, truth) > psnr(low, truth) + 15
    kept, _ = restore_frames(truth, restorer, deflicker_options("brightness"))
    assert psnr(kept, truth) > 55


def test_a_lamp_that_is_switched_on_stays_on():
    lamp = textured() * torch.where(torch.arange(24) < 12, 0.5, 1.0).view(-1, 1, 1, 1)
    kept, _ = restore_frames(lamp, load_restorer("measured-brightness"), deflicker_options("brightness"))
    assert psnr(kept, lamp) > 50
