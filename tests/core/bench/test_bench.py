"""The papers' tables with rows of one's own: real clips, the embedded model, everything through the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from tests.assets import clip, run_ffmpeg
from vividface_core.bench.sets import SETS, data_set
from vividface_core.bench.tables import markdown, paper_tables
from vividface_core.cli.main import main
from vividface_core.degrade import read_record
from vividface_core.errors import InvalidOption
from vividface_core.metrics.registry import METRICS
from vividface_core.video.reader import VideoReader


@pytest.fixture(scope="module")
def truths(tmp_path_factory) -> Path:
    """Two real face crops of five frames."""
    folder = tmp_path_factory.mktemp("truths")
    for name, source, box in (("one", "single_face", "320:320:160:20"), ("two", "franck", "288:288:36:0")):
        run_ffmpeg(
            "-i",
            clip(source),
            "-frames:v",
            "5",
            "-vf",
            f"crop={box},scale=96:96",
            "-c:v",
            "ffv1",
            folder / f"{name}.mkv",
        )
    return folder


@pytest.fixture(scope="module")
def done(truths, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("bench") / "out"
    assert run(truths, out) == 0
    return out


def run(data: Path, out: Path, *more: str, name: str = "folder", only: str = "psnr,ssim") -> int:
    return main(["bench", name, str(data), "-o", str(out), "--only", only, "--timed-frames", "5", "--quiet", *more])


def pixels(path: Path) -> list[np.ndarray]:
    return [(frame.rgb() * 255).round().byte().permute(1, 2, 0).numpy() for frame in VideoReader(path)]


def test_the_papers_figures_stand_as_printed():
    tables = paper_tables()
    for table in tables.values():
        assert all(len(row) == len(table.columns) for row in table.rows.values()), table.number
        assert all(name in METRICS or name in ("steps", "seconds") for name in table.columns), table.columns
    named = {name for table in tables.values() for name in table.columns if name in METRICS}
    assert all(METRICS[name].default for name in named), "a table's metric isn't measured unless it is named"
    assert tables["1"].rows["VividFace"] == (30.03, 0.8534, 0.1112, 0.9128, 3.5319, 0.8111, 0.8855, 79.14)
    assert tables["2"].rows["VividFace"] == (5.1987, 64.4911, 0.5678, 6.0064, 0.7665, 0.8227)
    assert tables["3"].rows["VividFace"] == (1, 7.43, 0.113, 0.912)
    assert tables["bfvr"].rows["BFVR-STC"] == (0.8641, 105.1, 1.150, 2.995)
    assert tables["7"].rows["CodeFormer"][:2] == (27.27, 0.8023) and tables["7"].rows["CodeFormer"][-1] is None
    assert tables["dvface"].rows["DVFace"] == (31.81, 0.9007, 0.0776, 0.0805, 15.13)
    assert [len(table.rows) for table in tables.values()] == [12, 12, 6, 3, 6, 1]


def test_own_rows_are_scaled_as_the_paper_prints_them():
    table = paper_tables()["1"]
    row = table.own_row({"psnr": 29.5, "akd": 0.0041, "fvd": None})
    assert row[table.columns.index("psnr")] == 29.5
    assert row[table.columns.index("akd")] == pytest.approx(4.1)
    text = markdown(table, {"mine": row})
    line = next(line for line in text.splitlines() if "mine" in line)
    assert "29.50" in line and "4.1" in line and line.endswith("– |")
    assert "AKD ×1000↓" in text


def test_sets_are_known_by_name():
    assert SETS["vfhq-test"].clips == 50 and SETS["rfv-lq"].clips == 329 and SETS["rfv-lq"].degraded
    with pytest.raises(InvalidOption, match="choose one of vfhq-test, rfv-lq, folder"):
        data_set("vfhq")


def test_the_degraded_clips_are_those_of_the_recipe(done, truths):
    records = [read_record(done / "degraded" / f"{name}.mkv") for name in ("one", "two")]
    assert all(record["preset"] == "vividface" for record in records)
    assert records[0]["seed"] != records[1]["seed"], "all clips got the same degradation"
    assert all(len(pixels(done / "degraded" / f"{name}.mkv")) == 5 for name in ("one", "two"))


def test_figures_are_those_of_the_files(done, truths):
    """Measured again by scikit-image on the files that were left."""
    results = json.loads((done / "results.json").read_text())
    for row, folder in (("degraded input", "degraded"), ("vividface-nano", "restored/vividface-nano")):
        means = []
        for name in ("one", "two"):
            pairs = zip(pixels(truths / f"{name}.mkv"), pixels(done / folder / f"{name}.mkv"))
            means.append(np.mean([peak_signal_noise_ratio(a, b) for a, b in pairs]))
            assert results[row]["clips"][name]["psnr"] == pytest.approx(means[-1], abs=1e-4)
        assert results[row]["set"]["psnr"] == pytest.approx(np.mean(means), abs=1e-4)
    assert results["vividface-nano"]["seconds"] > 0 and results["degraded input"]["seconds"] is None


def test_tables_hold_the_papers_rows_and_ours(done):
    text = (done / "tables.md").read_text()
    assert "### VividFace (arXiv 2509.23584 v2), Table 1: VFHQ-test" in text and "Table 3" in text and "Table 7" in text
    assert "| SeedVR2-3B " in text and "**vividface-nano**" in text and "**degraded input**" in text
    assert "2 clips, 10 frames" in text and "5 frames on CPU" in text
    results = json.loads((done / "results.json").read_text())
    assert f"{results['vividface-nano']['set']['psnr']:.2f}" in text


def test_each_restorer_has_its_report(done):
    for name in ("input", "vividface-nano"):
        page = (done / "reports" / f"{name}.html").read_text()
        assert "PSNR" in page and "data:image" in page


def test_a_second_run_keeps_what_is_there_and_measures_others(done, truths, tmp_path):
    kept = {path: path.stat().st_mtime_ns for path in done.rglob("*.mkv")}
    others = tmp_path / "others"
    others.mkdir()
    for path in (done / "degraded").glob("*.mkv"):
        shutil.copy(path, others)
    assert run(truths, done, "--outputs", f"copies={others}") == 0
    assert {path: path.stat().st_mtime_ns for path in done.rglob("*.mkv")} == kept and len(kept) == 4
    results = json.loads((done / "results.json").read_text())
    assert results["copies"]["set"] == results["degraded input"]["set"]


def test_another_request_in_the_same_folder_is_refused(done, truths, capsys):
    assert run(truths, done, "--seed", "5") == 1
    assert "seed: 0 then, 5 now" in capsys.readouterr().err


def test_others_outputs_must_have_every_clip(done, truths, tmp_path, capsys):
    (tmp_path / "few").mkdir()
    shutil.copy(done / "degraded" / "one.mkv", tmp_path / "few")
    assert run(truths, done, "--outputs", f"few={tmp_path / 'few'}") == 1
    assert "lacks 1 of 2 clips: two" in capsys.readouterr().err
    assert run(truths, done, "--outputs", "nothing") == 1
    assert "isn't NAME=DIR" in capsys.readouterr().err


def test_real_footage_is_measured_without_a_truth(done, tmp_path, capsys):
    out = tmp_path / "real"
    assert run(done / "degraded", out, name="rfv-lq", only="tlme,facecons-mobile") == 0
    said = capsys.readouterr()
    assert "rfv-lq has 329 clips, but" in said.err
    assert "Table 2: RFV-LQ" in said.out and "Table 1" not in said.out
    assert not (out / "degraded").exists()
    assert main(["bench", "rfv-lq", str(done / "degraded"), "-o", str(tmp_path / "no"), "--only", "psnr"]) == 1
    assert "can't be measured without a reference" in capsys.readouterr().err
