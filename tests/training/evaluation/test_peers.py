"""Peers get the frames as they are and the best of their settings."""

from __future__ import annotations

import ncnn
import torch
from skimage import data as pictures

from training.evaluation.peers import EXACT, FFMPEG_CHAINS, ffmpeg_filter, networks, tuned


def test_a_filter_that_does_nothing_changes_nothing():
    clip = torch.randint(0, 256, (5, 3, 32, 48)) / 255
    # RGB to YUV and back rounds.
    assert (ffmpeg_filter("null", clip) - clip).abs().max() < 3 / 255


def test_every_chain_runs_and_denoises_something():
    flat = torch.full((6, 3, 64, 64), 0.5)
    noisy = (flat + 0.05 * torch.randn(flat.shape)).clamp(0, 1)
    errors = {chain: float((ffmpeg_filter(chain, noisy) - flat).abs().mean()) for chain in FFMPEG_CHAINS}
    assert min(errors.values()) < 0.6 * float((noisy - flat).abs().mean()), errors


def test_real_esrgan_computes_exactly_and_gives_the_picture_back(monkeypatch):
    """What it makes of a picture, brought back to its size, is that picture; garbage would be far from it."""
    nets = []

    class Net(ncnn.Net):
        def load_param(self, path):
            nets.append({name: getattr(self.opt, name) for name in EXACT})
            return super().load_param(path)

    monkeypatch.setattr(ncnn, "Net", Net)
    picture = torch.from_numpy(pictures.astronaut()[40:104, 180:244].copy()).permute(2, 0, 1)[None] / 255
    for method in networks().values():
        out = method(picture)
        assert out.shape == picture.shape
        assert -10 * float((out - picture).square().mean().log10()) > 22
    assert nets == [EXACT] * 2 and not any(EXACT.values()), "told before the weights are laid out"


def test_the_best_setting_is_taken():
    truth = torch.rand(2, 3, 8, 8)
    candidates = {"worse": lambda clip: clip * 0.5, "better": lambda clip: clip * 0.98}

    def score(clip, wanted):
        return -float((clip - wanted).abs().mean())

    name, method = tuned(candidates, [(truth, truth)], score)
    assert name == "better" and torch.equal(method(truth), truth * 0.98)
