import math

import pytest
import torch

from vividface_core.errors import InvalidOption
from vividface_core.restorers.windows import CrossFade, Window, fade_in, in_windows, plan_windows, usual_overlap


@pytest.mark.parametrize("frames", [1, 5, 16, 17, 18, 30, 33, 100, 301])
@pytest.mark.parametrize("length, overlap", [(17, 4), (17, 0), (17, 16), (5, 1), (1, 0)])
def test_every_frame_is_covered_with_the_asked_overlap(frames, length, overlap):
    windows = plan_windows(frames, length, overlap)
    covered = {frame for window in windows for frame in range(window.start, window.stop)}
    assert covered == set(range(frames))
    assert all(len(window) == min(length, frames) for window in windows)
    for before, after in zip(windows, windows[1:]):
        assert before.start < after.start
        assert before.stop - after.start >= overlap


def test_impossible_plans_are_refused():
    with pytest.raises(InvalidOption, match="overlap"):
        plan_windows(10, 5, 5)
    assert plan_windows(0, 5, 1) == []


def test_fade_is_a_raised_cosine_whose_two_sides_sum_to_one():
    weights = fade_in(8)
    assert torch.allclose(weights + weights.flip(0), torch.ones(8), atol=1e-6)
    assert torch.allclose(weights, (1 - torch.cos(torch.pi * (torch.arange(8) + 0.5) / 8)) / 2, atol=1e-6)
    assert (weights.diff() > 0).all()


@pytest.mark.parametrize("frames, length, overlap", [(50, 17, 4), (18, 17, 4), (40, 9, 7), (17, 17, 4), (64, 9, 0)])
def test_joined_windows_equal_a_direct_weighted_sum(frames, length, overlap):
    """Each window returns its own constant: the result must be the hand-made mixture of neighbouring constants."""
    windows = plan_windows(frames, length, overlap)
    fade, parts, at = CrossFade(windows), [], 0
    for number, window in enumerate(windows):
        start, done = fade.push(torch.full((len(window), 1, 1, 1), float(number)))
        assert start == at
        at += len(done)
        parts.append(done)
    joined = torch.cat(parts).flatten()
    assert joined.shape == (frames,)

    expected = torch.zeros(frames)
    for number, window in enumerate(windows):
        shared = windows[number - 1].stop - window.start if number else 0
        for frame in range(window.start, window.stop):
            inside = frame - window.start
            share = math.sin((inside + 0.5) / shared * math.pi / 2) ** 2 if inside < shared else 1.0
            expected[frame] = expected[frame] * (1 - share) + number * share
    assert torch.allclose(joined, expected, atol=1e-5)


def test_identity_windows_give_the_clip_back():
    clip = torch.rand(70, 3, 4, 4)
    windows = plan_windows(70, 17, 5)
    fade = CrossFade(windows)
    joined = torch.cat([fade.push(clip[w.start : w.stop])[1] for w in windows])
    assert torch.allclose(joined, clip, atol=1e-6)


def test_a_window_of_the_wrong_length_is_a_programming_error():
    with pytest.raises(ValueError, match="needs 5"):
        CrossFade([Window(0, 5)]).push(torch.zeros(4, 1, 1, 1))


@pytest.mark.parametrize("frames, length, overlap", [(30, 9, None), (5, 9, None), (9, 9, 3), (23, 8, 0)])
def test_a_clip_in_windows_is_restored_where_it_is(frames, length, overlap):
    clip, seen = torch.rand(frames, 3, 4, 4), []
    windows = plan_windows(frames, length, usual_overlap(length) if overlap is None else overlap)

    def restore(window, part):
        seen.append(window)
        assert torch.equal(part, clip[window.start : window.stop])
        return part + 1

    assert torch.allclose(in_windows(restore, clip, windows), clip + 1, atol=1e-6)
    assert seen == windows
