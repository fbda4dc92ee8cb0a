"""Flicker goes, everything else stays: by hand-made models whose faults are known."""

from __future__ import annotations

import math
from itertools import islice

import pytest
import torch

from tests.assets import clip, run_ffmpeg
from tests.core.pipeline.steady_models import Averaging, Steady, Unchanging, flickering, psnr
from tests.core.pipeline.test_restore import packets
from vividface_core.errors import InvalidOption
from vividface_core.pipeline.deflicker import brightened, deflicker_options
from vividface_core.pipeline.flicker import brightness_correction
from vividface_core.pipeline.restore import RestoreOptions, Resuming, restore_frames, restore_video
from vividface_core.restorers.base import RESTORE
from vividface_core.video.flicker import FlickerMeter
from vividface_core.video.source import VideoFrames

FACTORS = {4: 0.6, 9: 1.4, 10: 0.75, 17: 1.25, 25: 0.55, 31: 1.3}


def real(name: str, frames: int, start: int = 0) -> torch.Tensor:
    """Frames of a real clip at half their size."""
    taken = torch.stack([frame.rgb() for frame in islice(VideoFrames(clip(name)).read(start), frames)])
    return torch.nn.functional.interpolate(taken, scale_factor=0.5, mode="area")


def flicker(frames: torch.Tensor) -> float:
    meter = FlickerMeter()
    meter.update(frames)
    return meter.sums.frame


@pytest.fixture(scope="module")
def talking() -> torch.Tensor:
    return real("franck", 36, 100)


@pytest.mark.parametrize("kind", ["brightness", "pixel"])
def test_what_the_model_leaves_alone_stays_bit_for_bit(talking, kind):
    low = flickering(talking, FACTORS)
    # Halves hold 11 bits: the model gets the frames rounded to them, and gives them back.
    got, result = restore_frames(low, Unchanging(), deflicker_options(kind))
    assert torch.equal(got, low)
    assert result.flicker.before == result.flicker.after > 0


@pytest.mark.parametrize("name, start", [("franck", 100), ("wolfgang", 220), ("carphone", 5)])
def test_brightness_flicker_goes_and_detail_stays(name, start):
    truth = real(name, 36, start)
    low = flickering(truth, FACTORS)
    got, result = restore_frames(low, Steady(), deflicker_options("brightness"))
    assert psnr(got, truth) > psnr(low, truth) + 10
    assert flicker(got) < 0.05 * flicker(low)
    assert (result.flicker.before, result.flicker.after) == (
        pytest.approx(flicker(low)),
        pytest.approx(flicker(got)),
    )
    shown, _ = restore_frames(low, Steady(), deflicker_options("brightness", keep_detail=False))
    assert psnr(shown, truth) < psnr(got, truth) - 5  # that is the model's blurred and darker picture
    clean, _ = restore_frames(truth, Steady(), deflicker_options("brightness"))
    assert psnr(clean, truth) > 45


def test_gains_are_those_that_the_frames_were_multiplied_by(talking):
    low = flickering(talking, {6: 0.7, 14: 0.85})
    correction = brightness_correction(low[:24], Steady().restore(low[:24]))
    gains = correction[:, 0].flatten(1)
    assert torch.exp(gains[6]).sub(1 / 0.7).abs().max() < 0.01
    assert torch.exp(gains[14]).sub(1 / 0.85).abs().max() < 0.01
    others = [t for t in range(24) if t not in (6, 14)]
    assert gains[others].abs().max() < 0.01


def test_half_the_strength_is_half_the_gain():
    rgb, correction = torch.full((3, 4, 4), 0.4), torch.zeros(4, 1, 1)
    correction[0] = math.log(1.5)
    assert torch.allclose(brightened(rgb, correction)[0], torch.full_like(rgb, 0.6))
    assert torch.allclose(brightened(rgb, correction, 0.5)[0], torch.full_like(rgb, 0.4 * 1.5**0.5))


def test_highlights_that_were_cut_off_come_from_the_neighbours(talking):
    truth = talking.clone()
    truth[:, :, 20:60, 20:60] = torch.tensor([0.9, 0.8, 0.7]).view(3, 1, 1)
    low = flickering(truth, {12: 1.5})
    assert low[12, :, 30, 30].tolist() == [1, 1, 1]
    got, _ = restore_frames(low, Steady(), deflicker_options("brightness"))
    assert (got[12, :, 30:50, 30:50] - truth[12, :, 30:50, 30:50]).abs().max() < 0.02  # 1/1.5 would be 0.67


@pytest.mark.parametrize("flickers", [False, True])
def test_a_lamp_that_is_switched_on_stays_on(talking, flickers):
    """Even by a model that smooths the brightness over seven frames."""
    on = torch.where(torch.arange(36) < 18, 0.5, 1.0).view(-1, 1, 1, 1)
    truth = talking * on

    class Smoothing(Steady):
        def restore(self, clip, **options):
            level = clip.mean((1, 2, 3))
            smooth = torch.stack([level[max(0, t - 3) : t + 4].mean() for t in range(len(clip))])
            return (clip * (smooth / level).view(-1, 1, 1, 1)).clamp(0, 1)

    low = flickering(truth, {5: 0.7, 27: 1.2}) if flickers else truth
    got, _ = restore_frames(low, Smoothing(), deflicker_options("brightness"))
    assert psnr(got, truth) > 35
    step = got[18:20].mean() / got[16:18].mean()
    assert step == pytest.approx(float(truth[18:20].mean() / truth[16:18].mean()), rel=0.03)


def test_flicker_of_a_part_of_the_frame():
    truth = real("carphone", 24, 5)
    low = truth.clone()
    low[11, :, :, :44] *= 0.6  # the left half

    class Local(Steady):
        def restore(self, clip, **options):
            return torch.where((torch.arange(len(clip)) == 11).view(-1, 1, 1, 1), clip[10], clip)

    got, _ = restore_frames(low, Local(), deflicker_options("brightness"))
    assert psnr(got[11], truth[11]) > psnr(low[11], truth[11]) + 4
    assert torch.equal(got[:8], truth[:8])


def test_pixel_flicker_goes_and_a_colour_cast_of_the_model_does_not_come(talking):
    still = talking[:1].expand(24, -1, -1, -1)
    noise = torch.randn(24, 3, 9, 12, generator=torch.Generator().manual_seed(1)) * 0.03
    low = (still + torch.nn.functional.interpolate(noise, size=still.shape[-2:], mode="bilinear")).clamp(0, 1)
    got, _ = restore_frames(low, Averaging(), deflicker_options("pixel", size=128))
    assert psnr(got, still) > psnr(low, still) + 3
    assert (got - still).mean((0, 2, 3)).abs().max() < 0.01


@pytest.mark.parametrize("frames", [1, 2])
def test_too_few_frames_tell_nothing(talking, frames):
    got, result = restore_frames(talking[:frames], Steady(), deflicker_options("brightness"))
    assert torch.equal(got, talking[:frames])
    assert math.isnan(result.flicker.before)


def test_a_model_for_something_else_is_told(talking):
    class Restoring(Steady):
        tasks = (RESTORE,)

    _, result = restore_frames(talking[:4], Restoring(), deflicker_options("brightness"))
    assert "trained to restore, not to deflicker brightness" in result.notices[0]


def test_bad_requests_are_refused():
    with pytest.raises(InvalidOption, match="no flicker of kind 'colour'"):
        deflicker_options("colour")
    with pytest.raises(InvalidOption, match="whole_frame"):
        RestoreOptions(deflicker="pixel")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Two takes with a cut at frame 30, every fifth frame darkened, with sound."""
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    dark = "lutyuv=y=val*0.7:enable='not(mod(n+2,5))'"
    same = "scale=180:144,setsar=1,fps=24"
    graph = (
        f"[0:v]trim=start_frame=100:end_frame=130,{same}[a];[1:v]trim=end_frame=26,{same}[b];"
        f"[a][b]concat=n=2:v=1,{dark}[v]"
    )
    tone = ("-f", "lavfi", "-i", "sine=440:duration=2.3")
    inputs = ("-i", clip("franck"), "-i", clip("wolfgang"), *tone)
    how = ("-c:v", "ffv1", "-c:a", "flac", "-pix_fmt", "yuv444p", "-colorspace", "bt709")
    run_ffmpeg(*inputs, "-filter_complex", graph, "-map", "[v]", "-map", "2:a", *how, path)
    return path


def test_a_file_keeps_cuts_times_sound_and_tags(film, tmp_path):
    output = tmp_path / "out.mkv"
    result = restore_video(film, output, Steady(), deflicker_options("brightness", preset="ffv1"))
    assert result.shots == 2 and result.whole_frame
    assert result.flicker.after < 0.1 * result.flicker.before
    before, after = VideoFrames(film), VideoFrames(output)
    assert [f.pts * before.file.time_base for f in before.read()] == [
        f.pts * after.file.time_base for f in after.read()
    ]
    assert packets(film, "audio") == packets(output, "audio")
    assert before.file.color.matrix == after.file.color.matrix == "bt709"
    # Frames 29 and 30 are each side of the cut: neither takes on the other's brightness.
    pairs = [(f.rgb(), g.rgb()) for f, g in zip(before.read(29, 31), after.read(29, 31))]
    assert all((a - b).abs().mean() < 0.01 for a, b in pairs)


def test_a_resumed_run_tells_the_same_figures(film, tmp_path):
    options = deflicker_options("brightness", preset="ffv1")
    whole = restore_video(film, tmp_path / "whole.mkv", Steady(), options)

    class Breaking(Steady):
        calls = 0

        def restore(self, clip, **rest):
            self.calls += 1
            if self.calls > 2:  # the second shot
                raise KeyboardInterrupt
            return super().restore(clip, **rest)

    with pytest.raises(KeyboardInterrupt):
        restore_video(film, tmp_path / "out.mkv", Breaking(), options)
    result = restore_video(film, tmp_path / "out.mkv", Breaking(), options, resuming=Resuming(resume=True))
    assert result.resumed_shots == 1
    assert str(result.flicker) == str(whole.flicker)
