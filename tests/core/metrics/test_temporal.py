"""Flow against known motion, warping error and RAFT against independent computations, each ladder in order."""

from __future__ import annotations

import math
import sys
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import map_coordinates
from torch import Tensor

from tests.assets import clip
from vividface_core.errors import UnsupportedCheckpoint
from vividface_core.metrics.measure import measure
from vividface_core.metrics.metric import Chunk, ClipFacts, MetricContext
from vividface_core.metrics.networks import flow
from vividface_core.metrics.networks.flow import DisFlow, RaftFlow, load_raft
from vividface_core.metrics.pairs import pair_up
from vividface_core.metrics.registry import METRICS
from vividface_core.metrics.temporal import PairMeter, flow_score, warping_error
from vividface_core.video.source import VideoFrames

FIELDS = {
    "whole pixels": lambda x, y: (3 + 0 * x, -2 + 0 * y),
    "parts of pixels": lambda x, y: (1.5 + 0 * x, 0.25 + 0 * y),
    "turned by 2°": lambda x, y: (-0.0006 * x - 0.0349 * y, 0.0349 * x - 0.0006 * y),
    "larger by 3 %": lambda x, y: (0.03 * x, 0.03 * y),
    "waves": lambda x, y: (2 * torch.sin(y / 40) + 1, 1.5 * torch.cos(x / 50)),
}


def real(name: str, frames: int, size: tuple[int, int] | None = None) -> Tensor:
    """First frames of a real clip, their middle cut out, as 8 bits hold them: ``[n, 3, H, W]``."""
    taken = torch.stack([frame.rgb() for frame in islice(VideoFrames(clip(name)).read(), frames)])
    height, width = size or taken.shape[-2:]
    top, left = (taken.shape[-2] - height) // 2, (taken.shape[-1] - width) // 2
    return (taken[..., top : top + height, left : left + width] * 255).round() / 255


def as_pictures(folder: Path, frames: Tensor) -> Path:
    """A clip whose values a file holds exactly, as 8 bits."""
    from PIL import Image

    folder.mkdir(parents=True)
    for number, frame in enumerate((frames.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()):
        Image.fromarray(frame).save(folder / f"{number:04d}.png")
    return folder


def measured(names: list[str], output: Path, reference: Path | None = None, context: MetricContext | None = None):
    return (
        measure(pair_up([output], reference), [METRICS[name] for name in names], context or MetricContext())
        .clips[0]
        .scores
    )


def moved(frame: Tensor, field) -> tuple[Tensor, Tensor]:
    """A frame seen through a known flow, ``first(p) = frame(p + flow(p))``, and the flow, ``[2, H, W]``."""
    height, width = frame.shape[-2:]
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    known = torch.stack(field(x - (width - 1) / 2, y - (height - 1) / 2))
    at = torch.stack([2 * (x + known[0]) / (width - 1) - 1, 2 * (y + known[1]) / (height - 1) - 1], -1)
    seen = F.grid_sample(frame[None], at[None], mode="bicubic", padding_mode="border", align_corners=True)
    return seen[0].clamp(0, 1), known


@pytest.mark.parametrize("field", FIELDS)
def test_dis_finds_a_known_motion_of_a_real_face(field):
    frame = real("franck", 1)[0]
    first, known = moved(frame, FIELDS[field])
    found = DisFlow()(first[None], frame[None])[0]
    middle = (..., slice(16, -16), slice(16, -16))
    error, length = (found - known).norm(dim=0)[middle].mean(), known.norm(dim=0)[middle].mean()
    assert error < 0.3 and error < 0.15 * length
    # The score is the length alone, which forgives more.
    score = float(flow_score(torch.stack([first, frame]), DisFlow())[0])
    assert score == pytest.approx(float(known.norm(dim=0).mean()), rel=0.05)


def test_warp_equals_scipy():
    source = torch.Generator().manual_seed(1)
    pictures, shift = torch.rand(2, 3, 23, 31, generator=source), 8 * torch.randn(2, 2, 23, 31, generator=source)
    found, inside = flow.warp(pictures, shift), flow.inside(shift)
    rows, columns = np.mgrid[:23, :31]
    for i in range(2):
        at = np.stack([rows + shift[i, 1].numpy(), columns + shift[i, 0].numpy()])
        wanted = [map_coordinates(channel, at, order=1, mode="nearest") for channel in pictures[i].numpy()]
        assert np.allclose(found[i], wanted, atol=1e-4)
        within = (at[0] >= 0) & (at[0] <= 22) & (at[1] >= 0) & (at[1] <= 30)
        assert np.array_equal(inside[i, 0], within) and 0.2 < within.mean() < 0.9


def test_what_a_moving_square_hides_and_its_edges_are_not_visible():
    """A square at columns 8–15 goes six to the right over a still background."""
    forward, backward = torch.zeros(1, 2, 24, 32), torch.zeros(1, 2, 24, 32)
    forward[0, 0, 8:16, 8:16], backward[0, 0, 8:16, 14:22] = 6, -6
    wanted = torch.ones(24, 32, dtype=torch.bool)
    wanted[8:16, 16:22] = False  # comes to lie behind the square
    wanted[8:16, 7] = False  # before the left edge, by differences to the next pixel
    wanted[7, 8:16] = False
    # The last row and column of the square: 36 + 0 > 0.01 · 36 + 0.002.
    wanted[15, 8:16] = wanted[8:16, 15] = False
    assert torch.equal(flow.visible(forward, backward)[0, 0], wanted)


def test_a_clip_of_exact_translation_has_no_warping_error(tmp_path):
    """A window slides over a real frame by (8, 4) pixels a frame, so by whole pixels at half size, too."""
    scene = real("wolfgang", 1)[0]
    frames = torch.stack([scene[:, 20 + 4 * i : 276 + 4 * i, 60 + 8 * i : 380 + 8 * i] for i in range(6)])

    def exact(first: Tensor, second: Tensor) -> Tensor:
        sign = -1 if torch.equal(first[:, :, 2:, 4:], second[:, :, :-2, :-4]) else 1
        return sign * torch.tensor([4.0, 2.0]).view(1, 2, 1, 1).expand(len(first), 2, *first.shape[-2:])

    assert float(warping_error(frames, exact, within=True).abs().max()) < 1e-9
    still = warping_error(frames, lambda first, _: torch.zeros_like(first[:, :2]), within=True)
    scores = measured(["ewarp-dis", "flow-score-dis"], as_pictures(tmp_path / "clip", frames))
    assert 0 < scores["ewarp-dis"].value < 0.03 * float(still.mean())
    assert scores["flow-score-dis"].value == pytest.approx(math.hypot(8, 4), rel=0.03)


def test_a_pair_without_a_common_pixel_has_no_figure():
    meter = PairMeter(lambda frames: warping_error(frames, lambda a, _: torch.full_like(a[:, :2], 9.0), within=True))
    assert np.isnan(meter.update(Chunk(0, torch.rand(3, 3, 32, 32), None, faces=None))).all()
    result = meter.compute()
    assert math.isnan(result.value) and result.notes == ("no pixel is seen in both frames of 2 of 2 pairs",)


def test_temporal_equals_its_formula_over_chunks(tmp_path):
    truth = real("carphone", 37)
    output = (truth + 0.05 * torch.randn(truth.shape)).clamp(0, 1)
    folders = as_pictures(tmp_path / "out", output), as_pictures(tmp_path / "ref", truth)
    score = measured(["temporal"], *folders)["temporal"]
    ours, theirs = ((x * 255).round().numpy().astype(np.float64) for x in (output, truth))
    wanted = [np.abs((ours[t] - ours[t - 1]) - (theirs[t] - theirs[t - 1])).mean() for t in range(1, 37)]
    assert math.isnan(score.frames[0]) and np.allclose(score.frames[1:], wanted, atol=1e-4)
    assert score.value == pytest.approx(np.mean(wanted), abs=1e-4)
    assert measured(["temporal"], folders[1], folders[1])["temporal"].value == 0


def test_a_pair_across_two_chunks_counts_like_any_other(tmp_path):
    frames = real("carphone", 19)
    score = measured(["ewarp-dis"], as_pictures(tmp_path / "clip", frames))["ewarp-dis"]
    wanted = [float(warping_error(frames[t - 1 : t + 1], DisFlow(), within=True)) for t in range(1, 19)]
    assert np.allclose(score.frames[1:], wanted, rtol=1e-3, atol=1e-7) and len(score.frames) == 19


@pytest.mark.parametrize("how", ["noise", "flicker"])
def test_the_more_a_clip_flickers_the_higher_the_figures(how, tmp_path):
    truth = real("franck", 12, (192, 192))
    source, ladder = torch.Generator().manual_seed(2), []
    grain, light = torch.randn(truth.shape, generator=source), torch.randn(12, 1, 1, 1, generator=source)
    reference = as_pictures(tmp_path / "ref", truth)
    for step in (0, 0.01, 0.02, 0.04, 0.08):
        output = truth + step * grain if how == "noise" else truth * (1 + step * light)
        # Light that comes and goes moves nothing, so it says little of the flow.
        names = ["temporal", "ewarp-dis", *(["flow-score-dis"] if how == "noise" else [])]
        scores = measured(names, as_pictures(tmp_path / f"{step}", output), reference)
        ladder.append([scores[name].value for name in names])
    assert all(a < b for column in zip(*ladder) for a, b in pairwise(column)), ladder


@pytest.fixture(scope="module")
def raft_file(tmp_path_factory) -> Path:
    """torchvision's own network with random weights, in a file as the published one.

    Its last layer is weakened until the flows there and back, which know nothing of each other, agree in some places.
    """
    from torchvision.models.optical_flow import raft_large

    torch.manual_seed(5)
    network = raft_large(weights=None)
    last = network.update_block.flow_head.conv2
    last.load_state_dict({"weight": 0.02 * last.weight, "bias": 0 * last.bias})
    path = tmp_path_factory.mktemp("raft") / flow.RAFT.name
    torch.save(network.state_dict(), path)
    return path


def padded_flow(path: Path, first: Tensor, second: Tensor, contrast: float) -> np.ndarray:
    """torchvision's flow of one pair, called as its documentation says; ``[2, H, W]``."""
    from torchvision.models.optical_flow import raft_large

    network = raft_large(weights=None).eval()
    network.load_state_dict(torch.load(path, weights_only=True))
    height, width = first.shape[-2:]
    tall, wide = 8 * math.ceil(height / 8) - height, 8 * math.ceil(width / 8) - width
    top, left = tall // 2, wide // 2
    pads = ((0, 0), (top, tall - top), (left, wide - left))
    pair = [np.pad(x.numpy(), pads, mode="edge") for x in (first, second)]
    with torch.no_grad():
        found = network(*(torch.from_numpy(x)[None] * contrast * 2 - 1 for x in pair), num_flow_updates=20)[-1][0]
    return found[:, top : top + height, left : left + width].numpy()


def warping_error_by_numpy(first: np.ndarray, second: np.ndarray, there: np.ndarray, back: np.ndarray) -> float:
    """EvalCrafter's definition, pixel arrays ``[3, H, W]`` and flows ``[2, H, W]``."""
    rows, columns = np.mgrid[: first.shape[1], : first.shape[2]]
    at = np.stack([rows + there[1], columns + there[0]])
    look = lambda x: np.stack([map_coordinates(c, at, order=1, mode="nearest") for c in x])  # noqa: E731
    back = look(back)
    hidden = ((there + back) ** 2).sum(0) > 0.01 * ((there**2).sum(0) + (back**2).sum(0)) + 0.5
    slope = np.zeros(first.shape[1:])
    slope[:, :-1] += (np.diff(there, axis=2) ** 2).sum(0)
    slope[:-1] += (np.diff(there, axis=1) ** 2).sum(0)
    seen = ~(hidden | (slope > 0.01 * (there**2).sum(0) + 0.002))
    assert 0.2 < seen.mean() < 0.9
    return float(((look(second) - first) ** 2).sum(0)[seen].sum() / seen.sum())


def test_ewarp_is_the_published_script_with_torchvisions_raft(raft_file, tmp_path):
    frames = real("franck", 3, (264, 280))
    score = measured(
        ["ewarp"], as_pictures(tmp_path / "clip", frames), context=MetricContext(folders=[raft_file.parent])
    )["ewarp"]
    small = frames.view(3, 3, 132, 2, 140, 2).mean((3, 5))
    wanted = []
    for first, second in pairwise(small):
        there, back = (padded_flow(raft_file, a, b, 1 / 255) for a, b in ((first, second), (second, first)))
        wanted.append(warping_error_by_numpy(first.numpy(), second.numpy(), there, back))
    assert np.allclose(score.frames[1:], wanted, rtol=1e-3) and score.value == pytest.approx(np.mean(wanted), rel=1e-3)


def test_flow_score_is_the_length_of_torchvisions_raft(raft_file, tmp_path):
    frames = real("carphone", 3, (132, 140))
    context = MetricContext(folders=[raft_file.parent])
    score = measured(["flow-score"], as_pictures(tmp_path / "clip", frames), context=context)["flow-score"]
    wanted = [np.linalg.norm(padded_flow(raft_file, a, b, 1.0), axis=0).mean() for a, b in pairwise(frames)]
    assert np.allclose(score.frames[1:], wanted, rtol=1e-4)
    assert score.value == pytest.approx(np.mean(wanted), rel=1e-4)


def test_raft_in_parts_equals_raft_at_once(raft_file, monkeypatch):
    frames = real("carphone", 3, (128, 128))
    estimator = RaftFlow(load_raft(raft_file))
    whole = estimator(frames[:-1], frames[1:])
    monkeypatch.setattr(flow, "BATCH_PIXELS", 1)
    assert torch.allclose(estimator(frames[:-1], frames[1:]), whole, rtol=1e-3, atol=1e-3)


def test_files_of_another_network_are_refused(tmp_path):
    from torchvision.models.optical_flow import raft_small

    torch.save(raft_small(weights=None).state_dict(), tmp_path / flow.RAFT.name)
    with pytest.raises(UnsupportedCheckpoint, match=flow.RAFT.name):
        load_raft(tmp_path / flow.RAFT.name)


def test_what_cannot_be_measured_says_why_and_the_rest_goes_on(raft_file, tmp_path, monkeypatch):
    monkeypatch.setenv("VIVIDFACE_MODELS", str(tmp_path / "none"))
    names = ["ewarp", "flow-score", "ewarp-dis", "flow-score-dis"]
    path = as_pictures(tmp_path / "clip", real("carphone", 3))
    scores = measured(names, path)
    assert [scores[name].value is None for name in names] == [True, True, False, False]
    assert flow.RAFT.address in scores["ewarp"].reason
    scores = measured(names, path, context=MetricContext(folders=[raft_file.parent]))
    assert scores["ewarp"].reason == "it needs sides of 256 pixels or more, and clip is 176×144"
    assert scores["flow-score"].value is not None
    monkeypatch.setitem(sys.modules, "cv2", None)
    scores = measured(names[2:], path)
    assert all("pip install opencv-python" in score.reason for score in scores.values())
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", None)
    scores = measured(["flow-score"], path, context=MetricContext(folders=[raft_file.parent]))
    assert "torchvision" in scores["flow-score"].reason


def test_a_single_frame_has_no_motion(tmp_path):
    scores = measured(["ewarp-dis", "flow-score-dis"], as_pictures(tmp_path / "clip", real("carphone", 1)))
    assert {score.reason for score in scores.values()} == {"it has a single frame"}


def test_sides_of_the_smallest_frame(tmp_path):
    for name, side in (("flow-score-dis", 16), ("ewarp-dis", 32)):
        frames = real("carphone", 3, (side, side))
        assert measured([name], as_pictures(tmp_path / name, frames))[name].value >= 0
        with pytest.raises(Exception, match="pixels or more"):
            METRICS[name].make(MetricContext(), ClipFacts("x", 3, side - 1, 400, 25.0, False))
