"""Flicker against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from tests.core.metrics.test_temporal import as_pictures, measured
from vividface_core.video.flicker import GRID, FlickerMeter, FlickerSums

LEVELS = [100, 110, 100, 110, 100]
SECOND = [-20, 20, -20]
"""x[t − 1] − 2·x[t] + x[t + 1]"""
VARIANCE = 400 - (20 / 3) ** 2


def grey(levels: list[int], height: int = 16, width: int = 24) -> torch.Tensor:
    return (torch.tensor(levels) / 255).view(-1, 1, 1, 1).expand(-1, 3, height, width).clone()


def sums_of(*parts: torch.Tensor) -> FlickerSums:
    meter = FlickerMeter()
    for part in parts:
        meter.update(part)
    return meter.sums


def test_flicker_by_hand():
    sums = sums_of(grey(LEVELS))
    assert sums.count == 3
    assert sums.frame == pytest.approx(VARIANCE) == pytest.approx(sums.blocks)


def test_luma_counts_and_not_colour():
    red = grey(LEVELS)
    red[:, 1:] = 0
    assert sums_of(red).frame == pytest.approx(0.2126**2 * VARIANCE)


def test_one_block_of_64():
    clip = grey([100] * 5)
    clip[:, :, :2, :3] = grey(LEVELS, 2, 3)
    sums = sums_of(clip)
    assert sums.blocks == pytest.approx(VARIANCE / GRID**2)
    assert sums.frame == pytest.approx(VARIANCE / GRID**4)


def test_even_changes_are_no_flicker():
    assert sums_of(grey([10, 30, 50, 70, 90])).frame == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("cut", [1, 2, 4])
def test_chunks_make_no_difference(cut):
    clip = grey(LEVELS)
    assert sums_of(clip[:cut], clip[cut:]).frame == pytest.approx(VARIANCE)


def test_shots_are_added_and_not_joined():
    sums = sums_of(grey(LEVELS)) + FlickerSums() + sums_of(grey([250, 240, 250]))
    found = [*SECOND, 20]
    mean = sum(found) / 4
    assert sums.count == 4
    assert sums.frame == pytest.approx(sum((x - mean) ** 2 for x in found) / 4)


def test_two_frames_have_none():
    assert math.isnan(sums_of(grey([1, 2])).frame)


def test_the_metrics_are_these(tmp_path):
    clip = grey(LEVELS)
    clip[:, :, :2, :3] = grey([100] * 5, 2, 3)
    scores = measured(["flicker", "flicker-blocks"], as_pictures(tmp_path / "clip", clip))
    assert scores["flicker"].value == pytest.approx(VARIANCE * (63 / 64) ** 2)
    assert scores["flicker-blocks"].value == pytest.approx(VARIANCE * 63 / 64)
    assert scores["flicker"].frames[2:] == pytest.approx([20 * 63 / 64] * 3)
    assert all(map(math.isnan, scores["flicker"].frames[:2]))
