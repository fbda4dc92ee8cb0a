"""Motion without weights: known shifts, OpenCV's own search on a degraded face, pieces of a clip, any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data

from vividface_core.metrics.networks.flow import DisFlow, warp
from vividface_core.wan.motion import FARTHEST, MotionStream, motion, moved, places


def face(left: float, top: float, size: int = 128) -> torch.Tensor:
    """``[3, size, size]``, 0…1: a window of a photograph of a face whose corner may lie between pixels."""
    picture = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].float() / 255
    rows, columns = (torch.arange(size) + start + 0.5 for start in (top, left))
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1) / 256 - 1
    return F.grid_sample(picture, grid[None], mode="bicubic", align_corners=False)[0].clamp(0, 1)


def clip(steps: list[tuple[float, float]]) -> torch.Tensor:
    """``[1, 3, T, H, W]``, −1…1: windows that are moved by ``steps``."""
    at = np.cumsum([(150.0, 20.0), *steps], axis=0)
    return torch.stack([face(*place) for place in at], 1)[None] * 2 - 1


@pytest.mark.parametrize("step", [(0.0, 0.0), (1.0, 0.0), (-2.6, 1.3), (5.0, -4.0), (0.0, 10.0)])
def test_a_shift_is_found(step):
    """A window that goes right by x shows what was x farther right: the frame before has it there."""
    found, _ = motion(clip([step]), None)
    inner = found[0, :, 1, 24:-24, 24:-24]
    assert found.shape == (1, 2, 2, 128, 128) and not found[:, :, 0].any()
    error = (inner - torch.tensor(step).view(2, 1, 1)).norm(dim=0)
    assert float(error.median()) < 0.35


def test_it_is_never_longer_than_it_may_be():
    torch.manual_seed(0)
    found, _ = motion(torch.rand(2, 3, 4, 64, 64) * 2 - 1, None)
    assert float(found.abs().max()) <= FARTHEST and found.abs().mean() > 0.01


def test_on_a_blurred_and_noisy_face_it_finds_most_of_what_opencv_does():
    """By what is left of the clean frames' difference once the one before is moved."""
    clean = clip([(2.3, -1.4)] * 5)[0].transpose(0, 1) / 2 + 0.5
    torch.manual_seed(0)
    blurred = F.avg_pool2d(F.pad(clean, (2,) * 4, mode="replicate"), 5, 1)
    low = (blurred + 0.03 * torch.randn_like(blurred)).clamp(0, 1)
    left = {
        "none": torch.zeros(5, 2, 128, 128),
        "opencv": DisFlow()(low[1:], low[:-1]),
        "ours": motion(low.transpose(0, 1)[None] * 2 - 1, None)[0][0].transpose(0, 1)[1:],
    }
    errors = {name: float((clean[1:] - warp(clean[:-1], flow)).abs().mean()) for name, flow in left.items()}
    assert errors["ours"] < 0.5 * errors["none"] and errors["ours"] < 1.5 * errors["opencv"]


def test_pieces_have_the_motion_of_the_whole():
    frames = clip([(1.5, 0.5), (-2.0, 1.0), (0.5, 3.0), (2.0, 2.0)])
    whole, stream = motion(frames, None)[0], MotionStream()
    pieces = [stream.push(frames[:, :, start:stop]) for start, stop in ((0, 1), (1, 3), (3, 5))]
    torch.testing.assert_close(torch.cat(pieces, 2), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(16, 16), (20, 36), (130, 70)])
def test_any_size_will_do(size):
    torch.manual_seed(0)
    found, _ = motion(torch.rand(1, 3, 2, *size) * 2 - 1, None)
    assert found.shape == (1, 2, 2, *size) and found.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_maps_are_moved_by_pixels(dtype):
    maps = torch.randn(1, 8, 24, 32).to(dtype).contiguous(memory_format=torch.channels_last)
    found = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 24, 32)
    result = moved(maps, places(found))
    assert result.dtype == dtype
    torch.testing.assert_close(result[..., 2:, :-3], maps[..., :-2, 3:], rtol=1e-2, atol=1e-4)
    torch.testing.assert_close(result[..., 2:, -1], maps[..., :-2, -1], rtol=1e-2, atol=1e-4)
