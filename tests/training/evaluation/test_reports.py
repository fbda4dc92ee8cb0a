"""Curves, ablation and evaluation tables from logs and figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from training.evaluate import evaluate, label
from training.evaluation import ablation
from training.evaluation.curves import plot
from training.evaluation.report import table, write_between
from training.trainer.log import CurveLog, read_curve
from vividface_core.errors import InvalidOption


def entries(steps, start, end):
    values = np.linspace(start, end, len(steps))
    return [{"step": int(s), "loss": float(v), "seconds": 1.0} for s, v in zip(steps, values)]


def test_a_log_forgets_what_comes_after_the_state(tmp_path):
    log = CurveLog(tmp_path / "run" / "log.jsonl", 0)
    for entry in entries(range(1, 8), 1, 0.4):
        log.write(entry)
    with (tmp_path / "run" / "log.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # killed while writing
    CurveLog(tmp_path / "run" / "log.jsonl", 5).write({"step": 6, "loss": 0.25})
    curve = read_curve(tmp_path / "run" / "log.jsonl")
    assert [e["step"] for e in curve] == [1, 2, 3, 4, 5, 6] and curve[-1]["loss"] == 0.25


def test_curves_are_drawn(tmp_path):
    log = CurveLog(tmp_path / "run" / "log.jsonl", 0)
    for entry in entries(range(1, 60), 1, 0.1):
        log.write(entry)
    log.write({"step": 60, "psnr": 27.0, "psnr_input": 25.0})
    log.write({"step": 61, "loss": 0.1, "seconds": 1.0, "psnr": 9.0})  # a stage that tells a step's own PSNR
    plot([tmp_path / "run"], tmp_path / "curve.png")
    picture = np.asarray(Image.open(tmp_path / "curve.png").convert("L"))
    assert picture.shape == (300, 1000) and picture.std() > 10
    with pytest.raises(InvalidOption, match="no curve"):
        plot([tmp_path / "nothing"], tmp_path / "curve.png")


@pytest.fixture
def trained(monkeypatch):
    """The runs that were asked for. The real trainer is tested elsewhere; a log as it writes it stands for each."""
    trained = []

    def fake(config):
        trained.append(config)
        log = CurveLog(config.run.output / "log.jsonl", 0)
        for step in (config.optimizer.steps // 2, config.optimizer.steps):
            p = config.loss.face_probability
            log.write(
                {
                    "step": step,
                    "psnr": 25 + p,
                    "psnr_input": 24.0,
                    "error": 0.003,
                    "face_error": 0.002 - p / 1000,
                    "temporal": 0.01,
                    "temporal_input": 0.02,
                }
            )

    monkeypatch.setattr(ablation, "train", fake)
    return trained


def test_the_ablation_trains_once_and_reports(tmp_path, trained):
    config = "training/configs/nano-ablation.toml"
    arguments = [config, f"run.output={tmp_path / 'runs'}", "--out", str(tmp_path / "out")]
    assert ablation.main(arguments) == 0 and ablation.main(arguments) == 0
    assert [(c.loss.face_probability, c.run.output.name) for c in trained] == [(0, "p0"), (0.5, "p0.5"), (1, "p1")]
    assert "| 1 | 3.000 | 1.000 | 26.00 | 0.1309 | 0.9025 |" in (tmp_path / "out" / "ablation.md").read_text()
    assert json.loads((tmp_path / "out" / "ablation.json").read_text())["0.5"][1]["step"] == 600
    assert Image.open(tmp_path / "out" / "ablation.png").width > 500


def test_tables_share_the_runs_that_are_the_same(tmp_path, trained, capsys):
    out = [f"run.output={tmp_path / 'runs'}", "--out", str(tmp_path / "out")]
    manifest = ["--manifest", str(tmp_path / "manifest.jsonl")]
    for name, more in (("p", []), ("stages", []), ("curated", manifest)):
        assert ablation.main([name, *out, *more]) == 0
    assert [c.run.output.name for c in trained] == ["p0", "p0.5", "p1", "latent", "curated"]
    latent, curated = trained[3:]
    assert (latent.loss.face_probability, latent.loss.latent_probability) == (0, 0.5)
    assert curated.data.manifest == tmp_path / "manifest.jsonl" and trained[1].data.manifest is None
    assert {c.optimizer.steps for c in trained} == {600} and {c.run.seed for c in trained} == {0}
    rows = (tmp_path / "out" / "stages.md").read_text()
    assert all(
        row in rows
        for row in ("| nowhere |", "| latent | 3.000 | 2.000 | 25.00 | 0.1261 | 0.9050 |", "| latent and pixel |")
    )
    assert (tmp_path / "out" / "curated.png").is_file()
    note = tmp_path / "runs" / "p0" / "settings.json"
    known = json.loads(note.read_text())
    del known["data"]["echo"]
    note.write_text(json.dumps(known))
    assert ablation.main(["p", *out]) == 0 and len(trained) == 5, "an entry that came later stood at its default"
    assert ablation.main(["p", *out, "run.seed=3"]) == 1
    assert "holds a run of another configuration" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["curated"], "Name the curated set"),
        (["curated", "--curated", "data/curated"], "one validation set"),
        (["p", "--manifest", "x"], "for the table 'curated'"),
        (["elsewhere.toml"], "can't be read"),
    ],
)
def test_an_ablation_that_would_compare_nothing_is_refused(arguments, words, tmp_path, trained, capsys):
    changes = [] if arguments[0].endswith("toml") else [f"run.output={tmp_path / 'runs'}"]
    assert ablation.main([arguments[0], *changes, *arguments[1:], "--out", str(tmp_path / "out")]) == 1
    assert words in capsys.readouterr().err and not trained


def scores(psnr, lpips):
    return {"psnr": psnr, "ssim": 0.9, "lpips": lpips, "temporal": 1.0, "identity": 0.8, "flow": 0.3, "seconds": 0.1}


def test_tables_hold_means_and_are_put_between_their_marks(tmp_path):
    rows = [
        {
            "clip": f"c{n}",
            "person": "A",
            "clean": 33.0 + n,
            "scores": {"input": scores(25 + n, 0.4), "nano": scores(28, 0.2)},
            "degradation": {"sigma": 1.0, "scale": 2.0, "noise": 3.0, "crf": 20},
        }
        for n in range(2)
    ]
    text = table(rows, "nano", {})
    assert "25.50 → 28.00" in text and "+2.50 dB" in text and "LPIPS 0.50 times" in text
    assert "lowest PSNR of a clean input 33.00" in text
    for row in rows:
        row["scores"]["filter"] = scores(24, 0.5)
    assert "`strong`" in table(rows, "nano", {"filter": "strong"})
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table -->\nold\n<!-- /table -->\nafter\n")
    write_between(page, "table", text)
    content = page.read_text()
    assert content.startswith("before") and content.endswith("after\n") and "old" not in content


def test_no_two_models_share_a_row():
    assert [label(name) for name in ("vividface-nano", "runs/both/model", "a/folder")] == [
        "vividface-nano",
        "both",
        "folder",
    ]
    with pytest.raises(InvalidOption, match="one name in the table"):
        evaluate("vividface-nano", 5, 5, False, [], beside=["vividface-nano"])
