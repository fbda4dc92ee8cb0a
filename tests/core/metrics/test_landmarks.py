"""AKD and TLME against MediaPipe's own numbers, known motion and rising degradation, on real clips."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.assets import clip, run_ffmpeg
from vividface_core.degrade import gaussian_blur
from vividface_core.faces.detect import load_detector
from vividface_core.metrics.faces import MeasuredFace
from vividface_core.metrics.landmarks import ENTRIES
from vividface_core.metrics.measure import measure
from vividface_core.metrics.metric import Chunk, ClipFacts, ClipResult, MetricContext
from vividface_core.metrics.pairs import Pair

AKD, TLME = ENTRIES
# Per-frame figures by the definitions, out of the points that mediapipe 0.10.14 printed for a clip and for the same
# clip some frames later as the output.
SEQUENCE = json.loads((Path(__file__).parents[1] / "data" / "face_mesh.json").read_text())["sequence"]


def read(name: str, first: int, count: int) -> Tensor:
    """[count,3,H,W] RGB 0…1."""
    frames = []
    with av.open(str(clip(name))) as container:
        for i, frame in enumerate(container.decode(video=0)):
            if first <= i < first + count:
                frames.append(torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1) / 255)
            if len(frames) == count:
                break
    return torch.stack(frames)


@pytest.fixture(scope="module")
def context():
    return MetricContext()


@pytest.fixture(scope="module")
def detector():
    return load_detector("mtcnn")


def figures(
    context: MetricContext, detector, metrics, output: Tensor, reference: Tensor | None = None, chunk: int = 16
) -> list[tuple[np.ndarray, ClipResult]]:
    """Figures a frame and the clip's, by metric."""
    facts = ClipFacts("clip", len(output), *output.shape[:-3:-1], 25.0, reference is not None)
    meters, faces = [metric.make(context, facts) for metric in metrics], MeasuredFace(detector)
    rows: list[list[float]] = [[] for _ in metrics]
    for first in range(0, len(output), chunk):
        part = slice(first, first + chunk)
        frames = Chunk(first, output[part], None if reference is None else reference[part], faces)
        for row, meter in zip(rows, meters, strict=True):
            row += meter.update(frames)
    return [(np.array(row), meter.compute()) for row, meter in zip(rows, meters, strict=True)]


@pytest.mark.parametrize("chunk", [3, 16])
def test_figures_are_those_of_mediapipes_points(context, detector, chunk):
    frames = read(SEQUENCE["clip"], SEQUENCE["first"], SEQUENCE["frames"] + SEQUENCE["lag"])
    reference, output = frames[: SEQUENCE["frames"]], frames[SEQUENCE["lag"] :]
    (akd, mean), (tlme, moved) = figures(context, detector, (AKD, TLME), output, reference, chunk)
    assert np.abs(akd / SEQUENCE["akd"] - 1).max() < 0.02
    assert mean.value == pytest.approx(np.mean(SEQUENCE["akd"]), rel=0.01) and not mean.notes
    assert np.isnan(tlme[0]) and np.abs(tlme[1:] / SEQUENCE["tlme"] - 1).max() < 0.05
    assert moved.value == pytest.approx(np.mean(SEQUENCE["tlme"]), rel=0.02) and not moved.notes
    ((alone, plain),) = figures(context, detector, (TLME,), output, chunk=chunk)
    assert np.abs(alone[1:] / SEQUENCE["tlme_alone"] - 1).max() < 0.08
    assert plain.value == pytest.approx(np.mean(SEQUENCE["tlme_alone"]), rel=0.02)


def test_akd_rises_with_blur(context, detector):
    clean = read("wolfgang", 60, 4)
    ladder = [
        figures(context, detector, (AKD,), gaussian_blur(clean, sigma), clean)[0][1].value for sigma in (1, 3, 6, 10)
    ]
    assert ladder == sorted(ladder) and ladder[-1] > 3 * ladder[0] > 0


def shifted(frames: Tensor, steps: np.ndarray) -> Tensor:
    """Each frame moved by whole pixels [T,2] to the right and down, its border repeated."""
    edge = int(np.abs(steps).max())
    wide = F.pad(frames, (edge,) * 4, mode="replicate")
    height, width = frames.shape[-2:]
    return torch.stack(
        [frame[:, edge - y : edge - y + height, edge - x : edge - x + width] for frame, (x, y) in zip(wide, steps)]
    )


@pytest.mark.parametrize("amount", [4, 8, 16])
def test_tlme_is_the_jitter_that_was_put_in(context, detector, amount):
    clean = read("single_face", 20, 6)
    height, width = clean.shape[-2:]
    angles = np.random.default_rng(amount).uniform(0, 2 * np.pi, len(clean))
    steps = np.round(amount * np.stack([np.cos(angles), np.sin(angles)], 1)).astype(int)
    ((tlme, result),) = figures(context, detector, (TLME,), shifted(clean, steps), clean)
    expected = np.linalg.norm(np.diff(steps, axis=0) / [width, height], axis=1)
    assert result.value == pytest.approx(expected.mean(), rel=0.06)
    still = clean[:1].expand(len(clean), -1, -1, -1)
    ((tlme, result),) = figures(context, detector, (TLME,), shifted(still, steps))
    assert result.value == pytest.approx(expected.mean(), rel=0.04)
    assert np.abs(tlme[1:] - expected).max() < 0.15 * expected.max()


def test_nothing_moves_and_nothing_differs(context, detector):
    still = read("franck", 0, 1).expand(4, -1, -1, -1)
    (akd, equal), (tlme, calm) = figures(context, detector, (AKD, TLME), still, still)
    assert (akd == 0).all() and equal.value == 0 and calm.value == 0


def test_frames_without_a_face_have_no_figure_and_are_counted(context, detector):
    clean = read("franck", 0, 7)
    output = clean.clone()
    output[3] = 0.5
    (akd, mean), (tlme, moved) = figures(context, detector, (AKD, TLME), output, clean, chunk=4)
    assert np.flatnonzero(np.isnan(akd)).tolist() == [3]
    assert np.flatnonzero(np.isnan(tlme)).tolist() == [0, 3, 4]
    assert mean.value == 0 and "in 1 frame" in mean.notes[0]
    assert moved.value == 0 and "in 2 frames" in moved.notes[0]
    nobody = figures(context, detector, (AKD, TLME), output[3:4], clean[3:4])
    assert all(np.isnan(result.value) for _, result in nobody)


def test_on_files_in_one_pass(context, tmp_path):
    reference, output = tmp_path / "reference.mp4", tmp_path / "output.mp4"
    cut = ("-i", clip("cap12"), "-frames:v", "6", "-an", "-c:v", "libx264", "-pix_fmt", "yuv420p")
    run_ffmpeg(*cut, "-crf", "10", reference)
    run_ffmpeg(*cut, "-crf", "40", output)
    result = measure([Pair("same", reference, reference), Pair("coarse", output, reference)], ENTRIES, context)
    same, coarse = (scores.scores for scores in result.clips)
    assert same["akd"].value == 0 and same["tlme"].value == 0
    assert 3e-4 < coarse["akd"].value < 2e-2 and 1e-4 < coarse["tlme"].value < 2e-2
    assert result.scores["akd"].value == pytest.approx(coarse["akd"].value / 2)
