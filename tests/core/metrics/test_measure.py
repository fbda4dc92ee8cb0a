"""One pass over the frames: right pairs, values equal to other libraries', honest about what isn't measured."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tests.assets import clip, ffmpeg, run_ffmpeg
from tests.memory import NOTHING_KEPT
from vividface_core.errors import InvalidOption, MissingWeights, UnreadableVideo
from vividface_core.metrics.fidelity import psnr, ssim
from vividface_core.metrics.measure import measure
from vividface_core.metrics.metric import ClipFacts, ClipResult, FrameMeter, Metric, MetricContext
from vividface_core.metrics.pairs import pair_up
from vividface_core.metrics.registry import METRICS, choose
from vividface_core.metrics.weights import WeightFile, find


@pytest.fixture(scope="module")
def coded(tmp_path_factory) -> Path:
    """A real talking face through H.264 at a poor quality."""
    path = tmp_path_factory.mktemp("coded") / "carphone.mp4"
    run_ffmpeg("-i", clip("carphone"), "-frames:v", "40", "-c:v", "libx264", "-crf", "34", path)
    return path


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("truth") / "carphone.mkv"
    run_ffmpeg("-i", clip("carphone"), "-frames:v", "40", "-c:v", "ffv1", path)
    return path


def pictures(path: Path, folder: Path) -> list[Path]:
    """Frames as ffmpeg writes them: another decoder and converter than the engine's."""
    folder.mkdir()
    command = [ffmpeg(), "-loglevel", "error", "-i", str(path), str(folder / "%04d.png")]
    subprocess.run(command, check=True)
    return sorted(folder.iterdir())


def test_figures_equal_scikit_image_on_every_frame(coded, truth, tmp_path):
    """On pictures, whose values leave no room for a conversion."""
    from PIL import Image

    ours, theirs = pictures(coded, tmp_path / "out"), pictures(truth, tmp_path / "ref")
    result = measure(pair_up([tmp_path / "out"], tmp_path / "ref"), choose(["psnr", "ssim"], True), MetricContext())
    pairs = [[np.asarray(Image.open(path)) for path in pair] for pair in zip(theirs, ours)]
    values = result.clips[0].scores
    wanted = [peak_signal_noise_ratio(a, b, data_range=255) for a, b in pairs]
    assert np.allclose(values["psnr"].frames, wanted, atol=1e-5)
    wanted = [
        structural_similarity(
            a, b, data_range=255, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in pairs
    ]
    assert np.allclose(values["ssim"].frames, wanted, atol=1e-6)
    assert result.scores["ssim"].value == pytest.approx(np.mean(wanted), abs=1e-6)


def test_formulas_equal_scikit_image_to_a_millionth():
    source = np.random.default_rng(0)
    a = source.integers(0, 256, (3, 40, 57, 3), dtype=np.uint8)
    b = np.clip(a + source.normal(0, 12, a.shape), 0, 255).astype(np.uint8)
    x, y = (torch.from_numpy(v).permute(0, 3, 1, 2).double() / 255 for v in (a, b))
    for i in range(3):
        assert float(psnr(y, x)[i]) == pytest.approx(peak_signal_noise_ratio(a[i], b[i]), abs=1e-6)
        wanted = structural_similarity(
            a[i], b[i], channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert float(ssim(y, x)[i]) == pytest.approx(wanted, abs=1e-6)


def test_equal_clips_have_the_best_figures(truth):
    scores = measure(pair_up([truth], truth), choose(["psnr", "ssim"], True), MetricContext()).scores
    assert scores["psnr"].value == 100 and scores["ssim"].value == pytest.approx(1)


def test_the_coarser_the_codec_the_lower_the_figures(truth, tmp_path):
    ladder = []
    for crf in (20, 28, 36, 44):
        run_ffmpeg("-i", truth, "-c:v", "libx264", "-crf", crf, tmp_path / f"{crf}.mp4")
        scores = measure(
            pair_up([tmp_path / f"{crf}.mp4"], truth), choose(["psnr", "ssim"], True), MetricContext()
        ).scores
        ladder.append((scores["psnr"].value, scores["ssim"].value))
    for column in zip(*ladder):
        assert list(column) == sorted(column, reverse=True) and column[0] > column[-1]


def test_clips_find_their_partners_by_name(coded, truth, tmp_path):
    for side, source in (("out", coded), ("ref", truth)):
        (tmp_path / side).mkdir()
        for name in ("b", "a"):
            shutil.copy(source, tmp_path / side / f"{name}{source.suffix}")
    pairs = pair_up([tmp_path / "out"], tmp_path / "ref")
    assert [p.output.name for p in pairs] == ["a.mp4", "b.mp4"]
    assert [p.reference.name for p in pairs] == ["a.mkv", "b.mkv"]
    (tmp_path / "ref" / "b.mkv").unlink()
    with pytest.raises(InvalidOption, match="1 of 2 clips have no reference of the same name.*: b"):
        pair_up([tmp_path / "out"], tmp_path / "ref")
    with pytest.raises(InvalidOption, match="have one name"):
        pair_up([coded, tmp_path / "out", tmp_path / "out"])
    with pytest.raises(UnreadableVideo, match="does not exist"):
        pair_up([tmp_path / "nowhere"])


def test_the_sets_figure_is_the_mean_of_its_clips(coded, truth, tmp_path):
    (tmp_path / "out").mkdir(), (tmp_path / "ref").mkdir()
    for name, output in (("a", coded), ("b", truth)):
        shutil.copy(output, tmp_path / "out" / f"{name}{output.suffix}")
        shutil.copy(truth, tmp_path / "ref" / f"{name}.mkv")
    result = measure(pair_up([tmp_path / "out"], tmp_path / "ref"), choose(["psnr"], True), MetricContext())
    values = [entry.scores["psnr"].value for entry in result.clips]
    assert values[1] == 100 and result.scores["psnr"].value == pytest.approx(np.mean(values))


def test_clips_that_do_not_fit_are_refused(coded, truth, tmp_path):
    run_ffmpeg("-i", truth, "-frames:v", "30", "-c:v", "ffv1", tmp_path / "short.mkv")
    run_ffmpeg("-i", truth, "-vf", "scale=88:72", "-c:v", "ffv1", tmp_path / "small.mkv")
    for name, words in (("short", "40 frames, but .*short.mkv has 30"), ("small", "176x144, but .*small.mkv is 88x72")):
        with pytest.raises(InvalidOption, match=words):
            measure(pair_up([coded], tmp_path / f"{name}.mkv"), choose(["psnr"], True), MetricContext())


def test_names_are_checked():
    with pytest.raises(InvalidOption, match="no metric psnrr"):
        choose(["psnrr"], True)
    with pytest.raises(InvalidOption, match="psnr can't be measured without a reference"):
        choose(["psnr"], False)
    assert all(metric.reference != "needed" for metric in choose(None, False))


def a_metric(name: str, make) -> Metric:
    return Metric(name, name, True, "none", "for this test", make)


def test_what_is_missing_or_fails_leaves_the_rest_alone(coded, truth, tmp_path):
    lost = WeightFile("lost.pth", "https://example.org/lost.pth", "MIT")

    class Fails:
        def update(self, chunk):
            if chunk.first:
                raise MissingWeights("gone")
            return [1.0] * len(chunk)

        def compute(self):
            raise AssertionError("a meter that failed is asked no more")

    class Silent:
        def update(self, chunk):
            return []

        def compute(self):
            return ClipResult(math.nan, ("too short",))

    metrics = [
        a_metric("lacks", lambda context, facts: context.path(lost)),
        a_metric("fails", lambda context, facts: Fails()),
        a_metric("silent", lambda context, facts: Silent()),
        METRICS["psnr"],
    ]
    scores = measure(pair_up([coded], truth), metrics, MetricContext(folders=[tmp_path])).scores
    assert scores["lacks"].value is None
    for word in ("lost.pth", str(tmp_path), "https://example.org/lost.pth", "MIT"):
        assert word in scores["lacks"].reason
    assert (scores["fails"].value, scores["fails"].reason) == (None, "gone")
    assert (scores["silent"].value, scores["silent"].reason) == (None, "too short")
    assert 20 < scores["psnr"].value < 45


def test_frames_without_a_figure_are_left_out_and_told():
    meter = FrameMeter(lambda chunk: chunk)
    meter.update([1.0, math.nan, 3.0])
    meter.update([math.nan])
    assert meter.compute() == ClipResult(2.0, ("no face was found in 2 frames",))
    assert math.isnan(FrameMeter(lambda chunk: chunk).compute().value)


def test_weights_are_found_where_a_user_puts_them(tmp_path, monkeypatch):
    file = WeightFile("here.pth", "https://example.org/here.pth", "MIT")
    monkeypatch.setenv("VIVIDFACE_MODELS", str(tmp_path / "models"))
    place = tmp_path / "models" / "metrics" / "here.pth"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"x")
    assert find(file) == place
    (tmp_path / "here.pth").write_bytes(b"y")
    assert find(file, [tmp_path]) == tmp_path / "here.pth"


PASS = """
import sys
from pathlib import Path
from vividface_core.metrics.measure import measure
from vividface_core.metrics.metric import MetricContext
from vividface_core.metrics.pairs import pair_up
from vividface_core.metrics.registry import choose
from vividface_core.runtime.memory import peak_memory
result = measure(pair_up([Path(sys.argv[1])], Path(sys.argv[2])), choose(None, True), MetricContext())
measured = [name for name, score in result.scores.items() if score.value is not None]
frames = {len(clip.scores[name].frames) for clip in result.clips for name in ("psnr", "ssim")}
print(peak_memory(), *frames, *measured)
"""


@pytest.mark.slow
def test_a_long_film_in_one_pass_takes_no_more_memory_than_a_short_one(truth, tmp_path):
    """Every usual metric that needs no weights from elsewhere."""
    told = {**os.environ, **NOTHING_KEPT}
    peaks = {}
    for frames in (60, 460):
        for name, crf in (("out", 40), ("ref", 10)):
            run_ffmpeg(
                "-stream_loop",
                "-1",
                "-i",
                truth,
                "-frames:v",
                frames,
                "-vf",
                "crop=96:96:40:10",
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
                "-crf",
                crf,
                tmp_path / f"{name}{frames}.mkv",
            )
        command = [sys.executable, "-c", PASS, tmp_path / f"out{frames}.mkv", tmp_path / f"ref{frames}.mkv"]
        said = subprocess.run(command, capture_output=True, text=True, check=True, env=told).stdout.split()
        assert int(said[1]) == frames and {"psnr", "ssim"} <= set(said[2:])
        peaks[frames] = int(said[0])
    # 400 more frames of 96×96 would be 88 MB as float tensors of both clips.
    assert peaks[460] < 1.1 * peaks[60], peaks


def test_facts_are_counted_not_believed(truth):
    result = measure(pair_up([truth], truth), choose(["psnr"], True), MetricContext())
    facts = result.clips[0].facts
    assert isinstance(facts, ClipFacts) and (facts.frames, facts.width, facts.height) == (40, 176, 144)
