"""The mixture of what real footage goes through, its own steps against other libraries, and its training twin."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import av
import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from tests.assets import clip
from vividface_core.degrade import Mixture, SampledDegradation, load_preset
from vividface_core.degrade.codec import Coder, through_codec
from vividface_core.errors import InvalidOption
from vividface_core.video.source import VideoFrames

MIXTURE = load_preset("real_world")


def real(count: int) -> torch.Tensor:
    return torch.stack([frame.rgb() for frame in VideoFrames(clip("carphone")).read(0, count)])


def only(step: str, seed: int = 1, **values: object) -> SampledDegradation:
    return SampledDegradation("test", (step,), seed, values)


def test_every_part_comes_as_often_as_its_share():
    count = 4000
    parts = Counter(MIXTURE.sample(seed).preset for seed in range(count))
    shares = {preset.name: share for share, preset in MIXTURE.parts}
    assert sum(shares.values()) == 100 and set(parts) == set(shares)
    wanted = [shares[name] * count / 100 for name in shares]
    assert stats.chisquare([parts[name] for name in shares], wanted).pvalue > 1e-3
    assert shares["real_world/clean"] == 10 and shares["real_world/paper"] == 45


def test_the_choice_leaves_the_values_alone():
    """A part draws what it draws by itself, and a paper part what the paper's preset draws with that seed."""
    for seed in range(40):
        drawn = MIXTURE.sample(seed)
        assert drawn == load_preset(drawn.preset).sample(seed)
        if drawn.preset == "real_world/paper":
            assert drawn.values == load_preset("vividface").sample(seed).values


def test_another_process_degrades_alike():
    seeds = [next(s for s in range(500) if MIXTURE.sample(s).preset == p.name) for _, p in MIXTURE.parts]
    script = (
        "import hashlib, torch; from vividface_core.degrade import load_preset\n"
        "clip = torch.rand(5, 3, 64, 80, generator=torch.Generator().manual_seed(3))\n"
        f"for seed in {seeds}: print(hashlib.sha256(load_preset('real_world').sample(seed)(clip).numpy().tobytes())"
        ".hexdigest())"
    )
    runs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1] and len(set(runs[0].split())) == len(seeds)


def test_values_reach_the_parts_that_have_them():
    fixed = load_preset("real_world", {"crf": 30})
    assert isinstance(fixed, Mixture)
    for _, part in fixed.parts:
        assert "crf" not in part.values or part.sample(1).values["crf"] == 30
    one = load_preset("real_world", {"real_world/web": {"scale": "2"}})
    changed = [new.name for (_, new), (_, old) in zip(one.parts, MIXTURE.parts) if new != old]
    assert changed == ["real_world/web"]
    assert load_preset("real_world", one.ranges()) == one, "a record's ranges are taken back"
    with pytest.raises(InvalidOption, match="No part of the preset real_world has 'shift'"):
        load_preset("real_world", {"shift": 1})
    with pytest.raises(InvalidOption, match="The seed is -1"):
        MIXTURE.sample(-1)


def test_clean_changes_nothing_and_nothing_but_grey_changes_the_truth():
    frames = torch.rand(3, 3, 32, 32)
    assert torch.equal(load_preset("real_world/clean").sample(0)(frames), frames)
    for _, part in MIXTURE.parts:
        truth = part.sample(0).truth(frames)
        assert torch.equal(truth, frames) == (part.name != "real_world/grey")


def test_grey_footage_is_grey_before_and_after_every_encoder():
    """The input's chroma stays at 128 within one, and the truth is OpenCV's grey."""
    frames = real(5)
    for encoder in ("libx264", "libx265", "mpeg2video", "mpeg4"):
        drawn = load_preset("real_world/grey", {"encoder": encoder}).sample(4)
        truth, low = drawn.truth(frames), drawn(drawn.truth(frames))
        wanted = cv2.cvtColor(frames[0].permute(1, 2, 0).contiguous().numpy(), cv2.COLOR_RGB2GRAY)
        assert np.abs(truth[0].numpy() - wanted).max() < 1e-4
        for frame in low:
            bytes_ = np.ascontiguousarray((frame.permute(1, 2, 0) * 255).round().byte().numpy())
            chroma = cv2.cvtColor(bytes_, cv2.COLOR_RGB2YCrCb)[..., 1:].astype(int)
            assert np.abs(chroma - 128).max() <= 1
        assert torch.equal(drawn(frames), low), "colour in the input makes no difference"


def test_grain_stands_still_or_changes_has_its_size_and_its_strength():
    middle = torch.full((4, 3, 128, 128), 0.5)
    for pattern in ("fresh", "fixed"):
        noise = (only("grain", grain=8.0, grain_size=0.8, pattern=pattern)(middle) - middle).numpy() * 255
        assert abs(noise.std() - 8) < 0.3 and np.array_equal(noise[:, 0], noise[:, 2])
        assert np.array_equal(noise[0], noise[1]) == (pattern == "fixed")
        # White noise blurred by σ correlates with its neighbour by exp(−1 / 4σ²).
        near = np.corrcoef(noise[0, 0, :, 1:].ravel(), noise[0, 0, :, :-1].ravel())[0, 1]
        assert abs(near - np.exp(-1 / (4 * 0.8**2))) < 0.05
    dark = torch.full((1, 3, 64, 64), 0.05)
    assert (only("grain", grain=8.0, grain_size=0.8, pattern="fresh")(dark) - dark).std() * 255 < 4.5


def test_fields_are_blended_dropped_and_woven():
    frames = real(3)
    blend, drop, weave = (only("interlace", fields=word)(frames) for word in ("blend", "drop", "weave"))
    wanted = ndimage.correlate1d(frames[1].numpy(), [0.25, 0.5, 0.25], axis=1, mode="nearest")
    assert np.abs(blend[1].numpy() - wanted).max() < 1e-6
    assert torch.equal(drop[..., 0::2, :], frames[..., 0::2, :])
    middle = (frames[..., 0:-2:2, :] + frames[..., 2::2, :]) / 2
    assert torch.allclose(drop[..., 1:-1:2, :], middle, atol=1e-6)
    woven = frames[1].clone()
    woven[:, 1::2] = frames[0][:, 1::2]
    wanted = ndimage.correlate1d(woven.numpy(), [0.25, 0.5, 0.25], axis=1, mode="nearest")
    assert np.abs(weave[1].numpy() - wanted).max() < 1e-6


def test_ringing_overshoots_beside_an_edge_and_leaves_flat_parts():
    edge = torch.full((1, 3, 64, 64), 0.3)
    edge[..., 32:] = 0.7
    for values in ({"cutoff": 0.5, "sharpening": 0.0}, {"cutoff": 1.0, "sharpening": 1.0}):
        row = only("ringing", **values)(edge)[0, 0, 32].numpy()
        assert row.max() > 0.715 and row.min() < 0.285
        assert np.allclose(row[:8], 0.3, atol=2e-3) and np.allclose(row[-8:], 0.7, atol=2e-3)
    # The low-pass passes what is below its cutoff and stops what is above.
    at = torch.arange(128) / 2
    for frequency, share in ((0.3, 1.0), (0.8, 0.0)):
        wave = (0.5 + 0.3 * torch.sin(2 * np.pi * frequency * at)).expand(1, 3, 128, 128)
        got = only("ringing", cutoff=0.55, sharpening=0.0)(wave.contiguous())[..., 20:-20]
        assert abs(float((got - 0.5).square().mean().sqrt() / (0.3 / 2**0.5)) - share) < 0.1


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "mpeg2video", "mpeg4"])
def test_quality_follows_crf_or_quantiser(encoder):
    frames = real(9)
    losses = []
    for crf, quantizer in ((18, 2), (27, 6), (36, 14)):
        frames_out = torch.cat(list(through_codec(frames.split(1), encoder, crf=crf, quantizer=quantizer)))
        losses.append(-10 * float((frames_out - frames).square().mean().log10()))
    assert losses[0] > losses[1] + 2 > losses[2] + 4, losses


def test_the_bitstreams_are_those_of_the_named_encoders():
    pictures = [np.ascontiguousarray((frame.permute(1, 2, 0) * 255).byte().numpy()) for frame in real(3)]
    for encoder, decoder in (("libx265", "hevc"), ("mpeg2video", "mpeg2video"), ("mpeg4", "mpeg4")):
        coder = Coder(encoder, *pictures[0].shape[:2], crf=28, quantizer=5)
        packets = [packet for picture in [*pictures, None] for packet in coder.encode(picture)]
        reader = av.CodecContext.create(decoder, "r")
        decoded = [frame for packet in [*packets, None] for frame in reader.decode(packet)]
        assert len(decoded) == 3 and (decoded[0].height, decoded[0].width) == pictures[0].shape[:2]


@pytest.mark.parametrize("side", [1, 9, 42, 44, 48, 63])
def test_x265_takes_small_pictures(side):
    """libx265 itself writes beyond its buffers below 50 pixels; frames are padded for it."""
    frames = torch.rand(4, 3, side, side)
    for crf in (20, 34):
        assert torch.cat(list(through_codec(frames.split(1), "libx265", crf=crf))).shape == frames.shape
