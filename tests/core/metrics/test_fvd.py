"""FVD against SciPy, closed formulas and the reference's preparation, with a random network in TorchScript."""

from __future__ import annotations

import math
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor, nn

from tests.assets import clip
from vividface_core.degrade import gaussian_blur
from vividface_core.errors import UnsupportedCheckpoint
from vividface_core.metrics import fvd
from vividface_core.metrics.fvd import Moments, frechet_distance, load_i3d, merged, prepare
from vividface_core.metrics.measure import Measurement, measure
from vividface_core.metrics.metric import Chunk, MetricContext
from vividface_core.metrics.pairs import pair_up
from vividface_core.metrics.registry import METRICS
from vividface_core.video.source import VideoFrames

WIDTH = 12
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


class StandIn(nn.Module):
    """Random features that are called as I3D is, and that mind whether they are."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(3, 16, (3, 7, 7), (2, 4, 4))
        self.second = nn.Conv3d(16, WIDTH, (3, 3, 3), (1, 2, 2))

    def forward(self, x: Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False) -> Tensor:
        if rescale or resize or not return_features or x.shape[2] < 10:
            raise RuntimeError("called otherwise")
        x = self.second(torch.relu(self.first(x)))
        return 20 * torch.cat([x.mean([2, 3, 4]), x.std([2, 3, 4])], 1)


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("i3d") / fvd.I3D.name
    torch.jit.script(StandIn()).save(str(path))
    return path


def real(name: str, first: int, frames: int, size: tuple[int, int]) -> Tensor:
    """Frames of a real clip, their middle cut out, as 8 bits hold them: ``[n, 3, H, W]``."""
    found = islice(VideoFrames(clip(name)).read(), first, first + frames)
    taken = torch.stack([frame.rgb() for frame in found])
    top, left = ((a - b) // 2 for a, b in zip(taken.shape[-2:], size))
    return (taken[..., top : top + size[0], left : left + size[1]] * 255).round() / 255


def as_pictures(folder: Path, frames: Tensor) -> Path:
    from PIL import Image

    folder.mkdir(parents=True)
    for number, frame in enumerate((frames.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()):
        Image.fromarray(frame).save(folder / f"{number:04d}.png")
    return folder


def measured(name: str, network: Path, output: Path, reference: Path) -> Measurement:
    return measure(pair_up([output], reference), [METRICS[name]], MetricContext(folders=[network.parent]))


def by_scipy(one: np.ndarray, other: np.ndarray) -> float:
    """The textbook's formula with NumPy's covariance and SciPy's root of a matrix."""
    a, b = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    shift = np.square(one.mean(0) - other.mean(0)).sum()
    return float(shift + np.trace(a + b - 2 * np.real(sqrtm(a @ b))))


def by_eigenvalues(one: np.ndarray, other: np.ndarray) -> float:
    """The same for covariances without full rank, whose product SciPy's root may not take."""
    a, b = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    roots = np.sqrt(np.linalg.eigvals(a @ b).real.clip(0))
    return float(np.square(one.mean(0) - other.mean(0)).sum() + np.trace(a + b) - 2 * roots.sum())


def test_streamed_and_merged_moments_equal_numpy():
    source = np.random.default_rng(0)
    rows = source.normal(1000, 3, (500, 7)) @ source.normal(size=(7, 7))  # far from zero: cancels in naive sums
    streamed = Moments(rows[:0])
    for row in rows:
        streamed.add(row[None])
    parts = [Moments(part) for part in np.split(rows, [1, 60, 60, 333])]
    before = parts[0].mean.copy(), parts[0].count
    for moments in (Moments(rows), streamed, merged(parts)):
        assert moments.count == 500 and len(moments.root) <= 14
        assert np.allclose(moments.mean, rows.mean(0), rtol=1e-12)
        assert np.allclose(moments.covariance, np.cov(rows, rowvar=False), rtol=1e-9)
    assert np.array_equal(parts[0].mean, before[0]) and parts[0].count == before[1]


@pytest.mark.parametrize("numbers", [(60, 90), (500, 400)])
def test_the_distance_equals_scipy(numbers):
    source = np.random.default_rng(1)
    one, other = (source.normal(i, 1 + i, (n, 20)) @ source.normal(size=(20, 20)) for i, n in enumerate(numbers))
    assert frechet_distance(Moments(one), Moments(other)) == pytest.approx(by_scipy(one, other), rel=1e-9)


def test_the_distance_of_known_gaussians():
    """Samples with exactly these moments; for diagonal covariances d² = |Δμ|² + Σ (σ₁ − σ₂)²."""
    source = np.random.default_rng(2)
    centred = source.normal(size=(40, 5))
    centred -= centred.mean(0)
    white = np.linalg.qr(centred)[0] * np.sqrt(39)
    one, other = np.array([1.0, 2, 3, 0.5, 0]), np.array([2.0, 2, 1, 0.1, 4])
    moments = Moments(white * one + 1), Moments(white[::-1] * other - 1)
    assert frechet_distance(*moments) == pytest.approx(5 * 4 + np.square(one - other).sum(), rel=1e-9)
    # In one dimension the same holds whatever the order.
    single = Moments(white[:, :1] * 3), Moments(white[:, :1] * -5)
    assert frechet_distance(*single) == pytest.approx(4, rel=1e-9)


def test_fewer_samples_than_dimensions_have_a_distance():
    """Turned into the few dimensions that they span, where covariances have full rank, they are as far apart."""
    source = np.random.default_rng(3)
    one, other = source.normal(0, 1, (9, 4)), source.normal(1, 2, (7, 4))
    turn = np.linalg.qr(source.normal(size=(300, 4)))[0].T
    wanted = by_scipy(one, other)
    assert frechet_distance(Moments(one @ turn), Moments(other @ turn)) == pytest.approx(wanted, rel=1e-9)
    lone = frechet_distance(Moments(one[:1]), Moments(other[:1]))
    assert lone == pytest.approx(np.square(one[0] - other[0]).sum())
    assert frechet_distance(Moments(one @ turn), Moments(one[::-1] @ turn)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("size", [(144, 176), (480, 270), (512, 512), (224, 224)])
def test_preparation_equals_scipy(size):
    """Bilinear about pixel centres, short side 224, the middle square."""
    from scipy.ndimage import map_coordinates

    frame = torch.rand(1, 3, *size)
    found = prepare(frame)[0]
    assert found.shape == (3, 224, 224)
    long = math.ceil(max(size) * 224 / min(size))
    tall, wide = (224 if side == min(size) else long for side in size)
    rows = (np.arange(224) + (tall - 224) // 2 + 0.5) * size[0] / tall - 0.5
    columns = (np.arange(224) + (wide - 224) // 2 + 0.5) * size[1] / wide - 0.5
    at = np.meshgrid(rows, columns, indexing="ij")
    wanted = [map_coordinates(channel, at, order=1, mode="nearest") * 2 - 1 for channel in frame[0].numpy()]
    assert np.allclose(found, wanted, atol=3e-4)


def features(network: Path, frames: Tensor, *windows: slice) -> np.ndarray:
    """What the file itself says of windows of a clip."""
    module, ready = torch.jit.load(str(network)), prepare(frames).transpose(0, 1)
    with torch.no_grad():
        found = [module(ready[None, :, w], rescale=False, resize=False, return_features=True) for w in windows]
    return torch.cat(found).double().numpy()


def test_the_set_pools_the_windows_of_all_clips(network, tmp_path):
    """Clips of 42, 37, 33 and 9 frames: windows of 16, a rest of 10, rests of 5 and 1 that don't count, none."""
    windows = {
        "a": (42, slice(0, 16), slice(16, 32), slice(32, 42)),
        "b": (37, slice(0, 16), slice(16, 32)),
        "c": (33, slice(0, 16), slice(16, 32)),
        "d": (9,),
    }
    pooled = [[], []]
    for start, (name, (count, *parts)) in enumerate(windows.items()):
        truth = real("franck", 200 * start, count, (120, 140))
        output = ((truth + 0.1 * torch.randn(truth.shape)).clamp(0, 1) * 255).round() / 255
        as_pictures(tmp_path / "ref" / name, truth), as_pictures(tmp_path / "out" / name, output)
        for side, frames in zip(pooled, (output, truth)):
            side.append(features(network, frames, *parts) if parts else np.zeros((0, 2 * WIDTH)))
    result = measured("fvd", network, tmp_path / "out", tmp_path / "ref")
    for number, clip_scores in enumerate(result.clips[:3]):
        one, other = pooled[0][number], pooled[1][number]
        score = clip_scores.scores["fvd"]
        assert score.value == pytest.approx(by_eigenvalues(one, other), rel=1e-4)
        assert score.notes == (f"of {len(one)} windows",)
    assert result.clips[3].scores["fvd"].reason == "it has fewer than 10 frames"
    wanted = by_eigenvalues(*map(np.concatenate, pooled))
    assert result.scores["fvd"].value == pytest.approx(wanted, rel=1e-4)
    assert wanted != pytest.approx(np.mean([clip.scores["fvd"].value for clip in result.clips[:3]]), rel=0.02)


def test_fvd_of_short_clips_is_the_distance_of_their_features(network, tmp_path):
    truth = real("carphone", 0, 12, (144, 176))
    output = (gaussian_blur(truth, 2) * 255).round() / 255
    folders = as_pictures(tmp_path / "out", output), as_pictures(tmp_path / "ref", truth)
    score = measured("fvd", network, *folders).clips[0].scores["fvd"]
    a, b = (features(network, frames, slice(0, 12)) for frames in (output, truth))
    assert score.value == pytest.approx(np.square(a - b).sum(), rel=1e-4)
    assert score.notes == ("of one window: the distance of two features",)


def test_fvd_per_clip_is_bfvr_stcs(network, tmp_path):
    """The first 24 frames as one sample, blue first; the mean over clips."""
    wanted = []
    for start, name in enumerate("ab"):
        truth = real("franck", 300 * start, 30, (128, 128))
        output = ((truth * (0.8 + 0.1 * start)) * 255).round() / 255
        as_pictures(tmp_path / "ref" / name, truth), as_pictures(tmp_path / "out" / name, output)
        a, b = (features(network, frames.flip(1), slice(0, 24)) for frames in (output, truth))
        wanted.append(np.square(a - b).sum())
    result = measured("fvd-per-clip", network, tmp_path / "out", tmp_path / "ref")
    assert [c.scores["fvd-per-clip"].value for c in result.clips] == pytest.approx(wanted, rel=1e-4)
    assert result.scores["fvd-per-clip"].value == pytest.approx(np.mean(wanted), rel=1e-4)


@pytest.mark.parametrize("how", ["blur", "noise"])
def test_the_worse_a_clip_the_larger_its_fvd(how, network, tmp_path):
    truth = real("franck", 0, 32, (128, 128))
    grain = torch.randn(truth.shape, generator=torch.Generator().manual_seed(4))
    reference, ladder = as_pictures(tmp_path / "ref", truth), []
    for step in (0, 1, 2, 4):
        output = gaussian_blur(truth, step) if how == "blur" else truth + 0.03 * step * grain
        result = measured("fvd", network, as_pictures(tmp_path / f"{step}", output), reference)
        ladder.append(result.scores["fvd"].value)
    assert ladder[0] == pytest.approx(0, abs=1e-6) and all(a < b for a, b in pairwise(ladder)), ladder


def test_memory_does_not_grow_with_the_clip():
    meter = fvd.FvdMeter(lambda videos: videos.mean((2, 3, 4)).double().numpy())
    for first in range(0, 320, 40):
        meter.update(Chunk(first, torch.rand(40, 3, 8, 8), torch.rand(40, 3, 8, 8), faces=None))
    result = meter.compute()
    assert result.notes == ("of 20 windows",)
    assert all(moments.root.size <= 2 * 3 * 3 for moments in result.pooled)


def test_what_is_no_such_network_is_refused(tmp_path):
    path = tmp_path / fvd.I3D.name
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(UnsupportedCheckpoint, match="no TorchScript"):
        load_i3d(path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UnsupportedCheckpoint, match="no TorchScript"):
        load_i3d(path)
    torch.jit.script(nn.Linear(3, 3)).save(str(path))
    with pytest.raises(UnsupportedCheckpoint, match="another network"):
        load_i3d(path)


def test_without_the_file_it_says_where_it_is_from(tmp_path, monkeypatch):
    monkeypatch.setenv("VIVIDFACE_MODELS", str(tmp_path / "none"))
    truth = as_pictures(tmp_path / "ref", real("carphone", 0, 12, (64, 64)))
    score = measure(pair_up([truth], truth), [METRICS["fvd"]], MetricContext()).scores["fvd"]
    assert score.value is None and fvd.I3D.address in score.reason
