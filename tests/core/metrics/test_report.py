"""Reports of measurements: the same figures in all formats, those of other libraries, and pictures that are true."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image

from tests.assets import clip, run_ffmpeg
from tests.measured import Page, coded, lossless, pixels
from vividface_core.errors import UnwritableVideo
from vividface_core.io.atomic import write_report
from vividface_core.metrics import report
from vividface_core.metrics.measure import ClipScores, Measurement, Score, measure, measure_clip
from vividface_core.metrics.metric import ClipFacts, Metric, MetricContext
from vividface_core.metrics.pairs import Pair, pair_up
from vividface_core.metrics.registry import METRICS
from vividface_core.metrics.reports import charts, html
from vividface_core.metrics.reports.charts import Curve
from vividface_core.metrics.reports.plot import CELL, COLORS, LEFT, MARGIN, TOP, plot
from vividface_core.metrics.reports.slices import Slices
from vividface_core.metrics.reports.worst_frames import WorstFrames, encoded, fitted
from vividface_core.metrics.weights import WeightFile
from vividface_core.video.source import ClipFrames, VideoFrames

NAMES = ("plain", """a <b>&'"|*_""")
FRAMES = 20
FILE = WeightFile("absent-network.pth", "https://example.org/absent-network.pth", "MIT", "0123", 12_345_678)
ABSENT = Metric(
    "absent", "Absent <i>", True, "none", "Needs & weights.", lambda context, clip: context.path(FILE), (FILE,)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two clips: ``truth``, ``output`` (the second is worse) and ``input``."""
    root = tmp_path_factory.mktemp("clips")
    for number, name in enumerate(NAMES):
        for kind in ("truth", "output", "input"):
            (root / kind).mkdir(exist_ok=True)
        truth = lossless(root / "truth" / f"{name}.mkv", 60 * number, FRAMES)
        coded(root / "output" / f"{name}.mkv", truth, (24, 34)[number])
        coded(root / "input" / f"{name}.mkv", truth, 46)
    return root


@pytest.fixture(scope="module")
def measured(folder):
    """Both clips, by two metrics that are there and one that lacks its weights; with the pictures."""
    metrics, gallery = [METRICS["psnr"], METRICS["ssim"], ABSENT], html.ReportCollector(2)
    pairs = pair_up([folder / "output"], folder / "truth", folder / "input")
    return measure(pairs, metrics, MetricContext(folders=[folder / "weights"]), observers=gallery.observers), gallery


def skimage_scores(folder, name):
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    pairs = zip(pixels(folder / "truth" / f"{name}.mkv"), pixels(folder / "output" / f"{name}.mkv"))
    rows = [
        (
            peak_signal_noise_ratio(a, b),
            structural_similarity(a, b, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False),
        )
        for a, b in pairs
    ]
    return np.array(rows).T


def test_json_holds_scikit_images_figures_of_frames_that_ffmpeg_decoded(folder, measured):
    told = json.loads(report.as_json(measured[0]))
    assert (told["format"], told["version"]) == ("vividface-metrics", 1)
    means = []
    for own in told["clips"]:
        psnr, ssim = skimage_scores(folder, own["name"])
        assert own["scores"]["psnr"]["frames"] == pytest.approx(psnr, rel=1e-6)
        assert own["scores"]["ssim"]["frames"] == pytest.approx(ssim, rel=1e-6)
        assert own["scores"]["psnr"]["value"] == pytest.approx(psnr.mean(), rel=1e-6)
        assert (own["frames"], own["width"], own["height"], own["fps"]) == (FRAMES, 176, 144, 25.0)
        assert own["output"] == str(folder / "output" / f"{own['name']}.mkv")
        means.append((psnr.mean(), ssim.mean()))
    assert told["set"]["psnr"]["value"] == pytest.approx(np.mean(means, 0)[0], rel=1e-6)
    assert told["set"]["ssim"]["value"] == pytest.approx(np.mean(means, 0)[1], rel=1e-6)


def test_json_tells_how_it_was_measured_and_what_was_not(measured):
    text = report.as_json(measured[0])
    told = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    by_name = {metric["name"]: metric for metric in told["metrics"]}
    assert by_name["psnr"]["protocol"] == METRICS["psnr"].protocol and by_name["psnr"]["better"] == "higher"
    (file,) = by_name["absent"]["weights"]
    assert (file["address"], file["licence"], file["size"]) == (FILE.address, "MIT", 12_345_678)
    for scores in (told["set"], *(own["scores"] for own in told["clips"])):
        assert scores["absent"]["value"] is None and FILE.name in scores["absent"]["reason"]
    assert text == report.as_json(measured[0])
    assert not re.search(r"^ *[-\d.]+,?$", text, re.MULTILINE), "a list of numbers is one line"


def test_what_has_no_figure_is_null():
    facts, pair = ClipFacts("c", 3, 8, 8, 24.0, True), Pair("c", "c.mp4")
    scores = {"psnr": Score(30.0, "", ("no face was found in 1 frames",), [math.nan, 30.0, 30.0])}
    told = json.loads(report.as_json(Measurement([METRICS["psnr"]], [ClipScores(facts, pair, scores)], scores)))
    assert told["clips"][0]["scores"]["psnr"]["frames"] == [None, 30.0, 30.0]
    assert told["clips"][0]["scores"]["psnr"]["notes"] == ["no face was found in 1 frames"]


def test_csv_is_the_same_table(measured):
    rows = list(csv.reader(io.StringIO(report.as_csv(measured[0]))))
    told = json.loads(report.as_json(measured[0]))
    assert rows[0] == ["clip", "frames", "width", "height", "fps", "psnr", "ssim", "absent"]
    assert [row[0] for row in rows[1:]] == [*(own["name"] for own in told["clips"]), "set"]
    for row, scores in zip(rows[1:], [*(own["scores"] for own in told["clips"]), told["set"]]):
        assert [float(cell) for cell in row[5:7]] == [scores["psnr"]["value"], scores["ssim"]["value"]]
        assert row[7].startswith("not measured: absent-network.pth is missing")


def test_markdown_is_a_table_with_arrows_and_protocols(measured):
    text = report.as_markdown(measured[0])
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table[0] == "| clip | PSNR ↑ | SSIM ↑ |" and len(table) == 5
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {4}, "a name's own | is no border"
    psnr = measured[0].scores["psnr"].value
    assert f"**{psnr:.2f}**" in table[-1] and table[-1].startswith("| **set of 2** |")
    assert r"a \<b\>&amp;'\"\|\*\_".replace(r"\"", '"') in text
    assert "Absent &lt;i> (absent) not measured: absent-network.pth is missing" in text
    assert f"- **PSNR** (`psnr`): {METRICS['psnr'].protocol}" in text


def test_tables_multiply_as_papers_do():
    metric = Metric("tiny", "Tiny", False, "none", "P.", lambda context, clip: None, display_scale=1000, digits=1)
    facts, scores = ClipFacts("c", 2, 8, 8, 24.0, False), {"tiny": Score(0.00312, "", (), [0.003, 0.00324])}
    measurement = Measurement([metric], [ClipScores(facts, Pair("c", "c.mp4"), scores)], scores)
    assert "| clip | Tiny ×1000 ↓ |\n|---|---:|\n| c | 3.1 |" in report.as_markdown(measurement)
    assert "Tiny ×1000 ↓" in report.as_text(measurement) and "3.1" in report.as_text(measurement)
    assert ",0.00312\n" in report.as_csv(measurement), "files for programs hold what was measured"
    assert json.loads(report.as_json(measurement))["set"]["tiny"]["value"] == 0.00312


@pytest.mark.parametrize("width", [None, 60, 30])
def test_a_terminals_table_keeps_its_width(measured, width):
    lines = report.as_text(measured[0], width).splitlines()
    table = [line for line in lines if "not measured" not in line]
    assert width is None or max(map(len, table)) <= width
    assert "Absent <i> (absent) not measured: absent-network.pth is missing" in lines[-1]
    figures = re.findall(r"\d+\.\d+", "\n".join(table))
    assert len(figures) == 6 and f"{measured[0].scores['ssim'].value:.4f}" in figures


def test_many_clips_are_one_row():
    metric, facts = METRICS["psnr"], ClipFacts("some clip", 2, 8, 8, 24.0, True)
    clips = [ClipScores(facts, Pair("c", "c"), {"psnr": Score(20.0)}) for _ in range(21)]
    assert "some clip" not in report.as_text(Measurement([metric], clips, {"psnr": Score(20.0)}))
    assert "some clip" in report.as_text(Measurement([metric], clips[:20], {"psnr": Score(20.0)}))


def test_a_report_takes_the_place_of_an_older_one_at_once(tmp_path):
    target, kept = tmp_path / "report.csv", tmp_path / "kept"
    target.write_text("old")
    kept.hardlink_to(target)
    write_report(target, "new")
    assert (target.read_text(), kept.read_text()) == ("new", "old"), "another file, not the same one in parts"
    (tmp_path / ".report.csv.partial").mkdir()
    with pytest.raises(UnwritableVideo, match="report.csv"):
        write_report(target, "newer")
    assert target.read_text() == "new"


# HTML


@pytest.fixture(scope="module")
def page(measured):
    return Page(html.page(*measured))


def decoded(own):
    kind, data = re.fullmatch(r"data:image/(\w+);base64,(.*)", own["src"]).groups()
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.format.lower() == kind and picture.size == (int(own["width"]), int(own["height"]))
    return picture


def test_the_page_needs_nothing_beside_it(measured, page):
    text = html.page(*measured)
    for tag, own in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form"), tag
        for key in ("src", "href", "srcset", "action", "poster", "data"):
            value = own.get(key)
            assert value is None or value.startswith(("data:image/", "#")), (tag, key, value)
    code = re.search(r"<style>(.*)</style>.*<script>(.*)</script>", text, re.DOTALL)
    for part in code.groups():
        assert "://" not in part and "url(" not in part and "@import" not in part and "fetch(" not in part
    (policy,) = page.all("meta", http_equiv="Content-Security-Policy")
    assert policy["content"].startswith("default-src 'none'")
    assert not page.open, "every element is closed"


def test_names_are_text_and_nothing_else(page):
    assert not [own for tag, own in page.elements if tag == "i" and not own], "no <i> out of a title"
    assert not page.all("b", **{"&": None}) and NAMES[1] in page.text
    assert "Absent <i> (absent) not measured: absent-network.pth is missing" in page.text


def test_a_title_is_text_too(folder):
    gallery, pairs = html.ReportCollector(1), pair_up([folder / "output" / f"{NAMES[1]}.mkv"])
    page = Page(html.page(measure(pairs, [ABSENT], MetricContext(), observers=gallery.observers), gallery))
    assert not page.open and page.text.count(NAMES[1]) == 3, "title, heading and path"


def test_curves_have_a_point_a_frame_and_its_figure(measured, page):
    charts_of = [number for number, (tag, own) in enumerate(page.elements) if own.get("class") == "curve"]
    assert len(charts_of) == 4
    for place, (own, name) in zip(charts_of, [(c, n) for c in measured[0].clips for n in ("psnr", "ssim")]):
        assert page.elements[place][1]["data-metric"] == name
        path = next(found for tag, found in page.elements[place:] if tag == "path")
        points = re.findall(r"[ML](\d+) ([-\d.e]+)", path["d"])
        assert [int(frame) for frame, _ in points] == list(range(FRAMES))
        assert [float(value) for _, value in points] == pytest.approx(own.scores[name].frames, rel=1e-6)


def test_the_page_shows_the_worst_frames_of_all_sides(folder, measured, page):
    for own, worst in zip(measured[0].clips, measured[1].worst.clips):
        frames = own.scores["psnr"].frames
        assert worst.judge == "psnr" and worst.moments[0].frame == int(np.argmin(frames))
        for moment in worst.moments:
            assert moment.values["psnr"] == frames[moment.frame]
            assert f"Frame {moment.frame} PSNR {frames[moment.frame]:.2f} SSIM" in page.text
        name = own.facts.name
        for label, kind in (("input", "input"), ("output", "output"), ("truth", "truth")):
            shown = page.all("img", alt=f"{label}, frame {worst.moments[0].frame}")
            wanted = pixels(folder / kind / f"{name}.mkv")[worst.moments[0].frame].astype(float)
            errors = [np.abs(np.asarray(decoded(one).convert("RGB"), float) - wanted).mean() for one in shown]
            assert min(errors) < 4, "a JPEG of that very frame"
    assert len(page.all("img")) == sum(3 * len(worst.moments) + 4 for worst in measured[1].worst.clips)


def test_slices_in_the_page_are_the_lines_of_the_frames(folder, measured, page):
    for own, across in zip(measured[0].clips, measured[1].slices.clips):
        assert across.at_face and 45 <= across.row <= 75, "his eyes are there"
        for label in ("input", "output", "truth"):
            wanted = pixels(folder / label / f"{own.facts.name}.mkv")[:, across.row]
            shown = [decoded(one) for one in page.all("img", alt=f"{label}, row {across.row} over time")]
            assert any(np.array_equal(np.asarray(one), wanted) for one in shown if one.format == "PNG")


def test_a_page_without_a_truth(folder):
    metric = Metric("bright", "Brightness", True, "none", "Mean.", lambda context, clip: Brightness())
    gallery = html.ReportCollector(1)
    measurement = measure(
        pair_up([folder / "output" / "plain.mkv"]), [metric], MetricContext(), observers=gallery.observers
    )
    page = Page(html.page(measurement, gallery))
    assert not page.open and not page.all("span", kind="truth") and page.all("span", kind="output")
    assert gallery.worst.clips[0].judge == "bright" and "without a truth" in page.text
    one = pair_up([folder / "output" / "plain.mkv"])
    gallery = html.ReportCollector(1)
    page = Page(html.page(measure(one, [ABSENT], MetricContext(), observers=gallery.observers), gallery))
    assert not page.open and not page.all("figure", kind="moment") and "not measured" in page.text


class Brightness:
    """A metric of the simplest kind."""

    def update(self, chunk):
        return chunk.output.mean((1, 2, 3)).tolist()

    def compute(self):
        from vividface_core.metrics.metric import ClipResult

        return ClipResult(0.5)


def test_a_single_frame_has_a_page(folder, tmp_path):
    run_ffmpeg("-i", folder / "truth" / "plain.mkv", "-frames:v", 1, tmp_path / "one.png")
    gallery = html.ReportCollector(1)
    pairs = pair_up([tmp_path / "one.png"], tmp_path / "one.png")
    page = Page(html.page(measure(pairs, [METRICS["psnr"]], MetricContext(), observers=gallery.observers), gallery))
    assert [path["d"] for path in page.all("path")] == ["M0 100Z"] and not page.open


# Observers


def frames_of(name, start, count):
    source = VideoFrames(clip(name))
    return torch.stack([frame.rgb() for frame in source.read(start, start + count)])


@pytest.fixture(scope="module")
def speaker():
    """48 frames of a man, as a tensor."""
    return frames_of("carphone", 0, 48)


def seen(witness, output, reference=None, metrics=("psnr",)):
    sources = {"output": ClipFrames(output)} | ({} if reference is None else {"reference": ClipFrames(reference)})
    facts, scores, _ = measure_clip(
        "c", sources, [METRICS[name] for name in metrics], MetricContext(), observers=[witness]
    )
    return witness.clips[-1], scores


def test_the_worst_frames_are_those_that_were_spoilt_most(speaker):
    spoilt, noise = speaker.clone(), torch.randn(speaker.shape)
    for frame, strength in ((7, 0.05), (8, 0.2), (9, 0.1), (20, 0.12), (33, 0.03), (34, 0.15), (46, 0.02)):
        spoilt[frame] += strength * noise[frame]
    worst, _ = seen(WorstFrames(), spoilt.clamp(0, 1), speaker)
    assert worst.judge == "psnr" and worst.apart == 6
    assert [moment.frame for moment in worst.moments] == [8, 34, 20], "one of each moment, the worst first"


@pytest.mark.parametrize("seed", range(3))
def test_no_two_worst_frames_are_of_one_moment(speaker, seed):
    generator = torch.Generator().manual_seed(seed)
    strength = torch.rand(len(speaker), 1, 1, 1, generator=generator) * 0.2
    spoilt = (speaker + strength * torch.randn(speaker.shape, generator=generator)).clamp(0, 1)
    worst, scores = seen(WorstFrames(), spoilt, speaker)
    chosen, psnr = [moment.frame for moment in worst.moments], np.array(scores["psnr"].frames)
    assert chosen[0] == psnr.argmin() and list(psnr[chosen]) == sorted(psnr[chosen])
    gaps = np.diff(sorted(chosen))
    assert len(chosen) == 3 and gaps.min() >= worst.apart
    assert all(psnr[frame] == psnr[max(0, frame - 1) : frame + 2].min() for frame in chosen), "a low of the curve"


def test_large_frames_are_made_smaller(tmp_path):
    big = frames_of("bigbuckbunny", 0, 2)
    worst, _ = seen(WorstFrames(), (big + 0.1).clamp(0, 1), big)
    height, width = big.shape[2:]
    for moment in worst.moments:
        for picture in moment.pictures.values():
            assert max(picture.width, picture.height) == 512
            assert picture.width / picture.height == pytest.approx(width / height, rel=0.01)


def test_pictures_fit_into_their_room():
    noise = {n: np.random.default_rng(n).integers(0, 256, (400, 512, 3), np.uint8) for n in range(3)}

    def shrunk(picture, side):
        picture.thumbnail((side, side))
        return picture

    sizes = []
    for room in (2_000_000, 300_000, 60_000):
        made = fitted(noise, room, ((512, 90), (512, 70), (256, 70), (96, 60)), shrunk)
        assert sum(len(one.data) for one in made.values()) <= room
        sizes.append(made[0].width)
    assert sizes == [512, 256, 96]
    exact = encoded(Image.fromarray(noise[0]), 0)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(exact.data))), noise[0]) and exact.kind == "png"


@pytest.mark.parametrize("frames, every", [(48, 1), (480, 1), (481, 2), (1000, 3)])
def test_long_clips_have_each_so_many_th_line(frames, every):
    """Frame t is as bright as t, so that every line tells where it comes from."""
    clip_of = torch.zeros(frames, 3, 16, 20)
    clip_of += (torch.arange(frames) % 256 / 255).view(-1, 1, 1, 1)
    across, _ = seen(Slices(row=5), clip_of, metrics=())
    lines = np.asarray(Image.open(io.BytesIO(across.lines["output"].data)))
    assert across.every == every and lines.shape == (-(-frames // every), 20, 3)
    assert np.array_equal(lines[:, 3, 1], np.arange(0, frames, every) % 256)


def test_change_is_the_mean_difference_of_neighbouring_frames(speaker):
    across, _ = seen(Slices(), speaker[:40], speaker.flip(0)[:40], metrics=())
    eight = (speaker * 255).round()
    for side, frames in (("output", eight[:40]), ("reference", eight.flip(0)[:40])):
        wanted = np.abs(np.diff(frames.numpy().astype(np.float64), axis=0)).mean((1, 2, 3))
        assert math.isnan(across.change[side][0]) and across.change[side][1:] == pytest.approx(wanted, rel=1e-4)


def test_without_a_face_the_line_is_the_middle_one():
    across, _ = seen(Slices(), frames_of("bikes", 0, 3), metrics=())
    assert (
        not across.at_face
        and across.row == frames_of("bikes", 0, 1).shape[2] // 2
        and across.share == (pytest.approx(0.5, abs=0.01))
    )


# Charts


def test_long_curves_keep_the_worst_of_every_few_frames():
    values = np.random.default_rng(0).normal(size=9001)
    values[::7] = math.nan
    for worst, pick in (("max", np.nanmax), ("min", np.nanmin)):
        points = Curve("output", "", values.tolist(), worst).points
        assert len(points) <= charts.MOST_POINTS and charts.stride(len(values)) == 5
        for number, (frame, value) in enumerate(points):
            assert frame // 5 == number and value == values[frame] == pick(values[5 * number : 5 * number + 5])


def test_ticks_are_round_and_around_the_curve():
    draw = np.random.default_rng(1)
    for low, span in zip(10 ** draw.uniform(-4, 3, 300) * draw.choice([-1, 1], 300), 10 ** draw.uniform(-4, 3, 300)):
        marks = charts.ticks(low, low + span)
        step = marks[1] - marks[0]
        assert marks[0] <= low + 1e-6 * step and marks[-1] >= low + span - 1e-6 * step and 2 <= len(marks) <= 6
        assert np.allclose(np.diff(marks), step)
        assert round(step / 10 ** math.floor(math.log10(step) + 1e-9), 6) in (1, 2, 2.5, 5)
        texts = [f"{mark:.{charts.decimals(marks)}f}" for mark in marks]
        assert len(set(texts)) == len(texts) and np.allclose([float(text) for text in texts], marks, atol=step / 100)


def test_a_gap_in_a_curve_is_a_gap():
    curve = Curve("output", "", [math.nan, 1, 2, math.nan, 3, math.nan])
    assert charts.chart([curve], 6, "title")["paths"][0][2] == "M1 1L2 2M4 3Z"


def test_a_plot_shows_the_curve_as_it_is():
    """Columns of the picture are read back: the curve's height falls and rises with the figures."""
    frames, metric = 40, METRICS["psnr"]
    values = 30 + 3 * np.sin(np.arange(frames) / 3)
    picture = plot([metric], {"output": {"psnr": Score(30.0, "", (), values.tolist())}}).numpy()
    assert picture.dtype == np.float32 and 0 <= picture.min() and picture.max() <= 1
    blue = np.abs(picture * 255 - COLORS["output"]).max(2) < 60
    blue[: MARGIN + TOP - 2] = False  # the figure in the title
    at = np.linspace(MARGIN + LEFT, MARGIN + CELL[0] - 6, frames).round().astype(int)
    heights = np.array([np.flatnonzero(blue[:, x - 1 : x + 2].any(1)).mean() for x in at[1:-1]])
    assert np.corrcoef(heights, values[1:-1])[0, 1] < -0.995
    missing = plot([metric, ABSENT], {"output": {"psnr": Score(30.0, "", (), values.tolist()), "absent": Score(None)}})
    assert missing.shape[0] > picture.shape[0] and missing.shape[1] == picture.shape[1], "a line tells its name"
    assert plot([ABSENT], {"output": {"absent": Score(None)}}).numpy().std() > 0.01
