"""``vividface metrics`` as a person uses it: what it prints, writes, refuses and returns."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.assets import clip, run_ffmpeg
from tests.measured import Page, coded, lossless
from tests.memory import NOTHING_KEPT
from vividface_core.cli.main import main
from vividface_core.metrics.metric import FrameMeter, Metric
from vividface_core.metrics.registry import METRICS
from vividface_core.metrics.weights import WeightFile

KINDS = {"json": "r.json", "csv": "r.csv", "markdown": "r.md", "html": "r.html"}
NEEDY = next(name for name, metric in METRICS.items() if metric.weights and metric.default)
"""Any metric whose weights have to be fetched."""


@pytest.fixture(autouse=True)
def _registry_as_it_was():
    """Its order too: what is taken out and put back would stand last."""
    before = dict(METRICS)
    yield
    METRICS.clear()
    METRICS.update(before)


@pytest.fixture(autouse=True)
def _no_weights(tmp_path, monkeypatch):
    """Neither this machine's weights nor the network."""
    monkeypatch.setenv("VIVIDFACE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """``truth`` and ``output`` with the clips ``a`` and ``b``, eight frames each."""
    root = tmp_path_factory.mktemp("videos")
    for number, name in enumerate("ab"):
        for kind in ("truth", "output"):
            (root / kind).mkdir(exist_ok=True)
        lossless(root / "truth" / f"{name}.mkv", 100 * number, 8)
        coded(root / "output" / f"{name}.mkv", root / "truth" / f"{name}.mkv", 30)
    return root


def vividface(*arguments) -> int:
    return main(["metrics", *map(str, arguments)])


def reports(folder):
    return [part for kind, name in KINDS.items() for part in (f"--{kind}", folder / name)]


def refused(capsys, tmp_path, arguments, *words):
    """One line with these words, 1 as the result, nothing written."""
    assert vividface(*arguments, *reports(tmp_path)) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("vividface: "), lines
    for word in words:
        assert str(word) in lines[0], lines[0]
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_a_set_is_printed_and_written_in_every_format(videos, tmp_path, capsys):
    assert (
        vividface(
            videos / "output", "--reference", videos / "truth", "--only", "ssim, psnr", "--quiet", *reports(tmp_path)
        )
        == 0
    )
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[0].split() == ["PSNR", "↑", "SSIM", "↑"]
    assert [line.split()[0] for line in lines[1:]] == ["a", "b", "set"]
    told = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    rows = list(csv.DictReader((tmp_path / "r.csv").open(encoding="utf-8")))
    for line, row, own in zip(lines[1:], rows, [*(own["scores"] for own in told["clips"]), told["set"]]):
        assert f"{own['psnr']['value']:.2f}" in line and float(row["ssim"]) == own["ssim"]["value"]
        assert f"{own['ssim']['value']:.4f}" in (tmp_path / "r.md").read_text(encoding="utf-8")
        assert f"{own['ssim']['value']:.4f}" in Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(KINDS.values()), "nothing half-written"


def test_progress_is_told_on_stderr(videos, capsys):
    assert vividface(videos / "output" / "a.mkv", "--reference", videos / "truth" / "a.mkv", "--only", "psnr") == 0
    said = capsys.readouterr()
    assert "8/8" in said.err and "8/8" not in said.out


def test_missing_weights_stop_nothing_else(videos, tmp_path, capsys):
    arguments = (videos / "output", "--reference", videos / "truth", "--only", f"psnr,{NEEDY}", *reports(tmp_path))
    assert vividface(*arguments) == 1, "it was named"
    said, name = capsys.readouterr().out, METRICS[NEEDY].weights[0].name
    texts = {kind: (tmp_path / file).read_text(encoding="utf-8") for kind, file in KINDS.items()}
    texts["html"] = Page(texts["html"]).text
    psnr = json.loads(texts["json"])["set"]["psnr"]["value"]
    for kind, text in {**texts, "table": said}.items():
        assert (repr(psnr) if kind in ("json", "csv") else f"{psnr:.2f}") in text, kind
        assert "not measured" in text or kind == "json", kind
        assert f"{name} is missing" in text and METRICS[NEEDY].weights[0].address in text, kind


def test_missing_weights_are_no_failure_where_nothing_was_named(videos, tmp_path, capsys, monkeypatch):
    for name in set(METRICS) - {"psnr", NEEDY}:
        monkeypatch.delitem(METRICS, name)
    single = (videos / "output" / "a.mkv", "--reference", videos / "truth" / "a.mkv")
    assert vividface(*single) == 0 and f"({NEEDY}) not measured" in capsys.readouterr().out
    monkeypatch.delitem(METRICS, "psnr")
    assert vividface(*single) == 1, "nothing at all could be measured"


def test_folders_of_pictures_are_clips(videos, tmp_path, capsys):
    for kind in ("truth", "output"):
        for name in "ab":
            (tmp_path / kind / name).mkdir(parents=True)
            run_ffmpeg("-i", videos / kind / f"{name}.mkv", tmp_path / kind / name / "%02d.png")
    assert (
        vividface(
            tmp_path / "output",
            "--reference",
            tmp_path / "truth",
            "--only",
            "psnr",
            "--json",
            tmp_path / "pictures.json",
            "--quiet",
        )
        == 0
    )
    assert (
        vividface(
            videos / "output",
            "--reference",
            videos / "truth",
            "--only",
            "psnr",
            "--json",
            tmp_path / "videos.json",
            "--quiet",
        )
        == 0
    )
    one, other = (json.loads((tmp_path / f"{kind}.json").read_text()) for kind in ("pictures", "videos"))
    assert [own["scores"] for own in one["clips"]] == [own["scores"] for own in other["clips"]]
    assert vividface(tmp_path / "output" / "a", "--reference", videos / "output" / "a.mkv", "--only", "psnr,ssim") == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["a", "100.00", "1.0000"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all names are Unicode")
def test_a_name_that_is_no_unicode_is_measured_and_written(videos, tmp_path, capsys):
    odd = tmp_path / os.fsdecode(b"odd-\xff.mkv")
    odd.write_bytes((videos / "output" / "a.mkv").read_bytes())
    (tmp_path / "made").mkdir()
    # Quiet: pytest's stderr refuses such a name, the real one writes it with a backslash.
    arguments = (odd, "--reference", videos / "truth" / "a.mkv", "--only", "psnr", "--quiet")
    assert vividface(*arguments, *reports(tmp_path / "made")) == 0 and "odd-" in capsys.readouterr().out
    assert json.loads((tmp_path / "made" / "r.json").read_text(encoding="utf-8"))["clips"][0]["output"] == str(odd)
    assert not Page((tmp_path / "made" / "r.html").read_text(encoding="utf-8")).open


def test_clips_that_do_not_fit_are_refused_in_one_line(videos, tmp_path, capsys):
    small, short = lossless(tmp_path / "small.mkv", 0, 8, "88:72"), lossless(tmp_path / "short.mkv", 0, 7)
    (tmp_path / "made").mkdir()
    for path in (small, short):
        path.rename(tmp_path / "made" / path.name)
    small, short = (tmp_path / "made" / path.name for path in (small, short))
    (tmp_path / "half").mkdir()
    output, half = videos / "output" / "a.mkv", tmp_path / "half"
    (half / "a.mkv").write_bytes(output.read_bytes())
    only = ("--only", "psnr", "--quiet")
    refused(capsys, tmp_path, (output, "--reference", small, *only), "176x144", "88x72", small)
    refused(capsys, tmp_path, (output, "--reference", short, *only), "8 frames", "7", short)
    refused(capsys, tmp_path, (output, "--reference", videos / "truth" / "a.mkv", "--input", small, *only), "88x72")
    refused(capsys, tmp_path, (videos / "output", "--reference", half, *only), "b", "1 of 2")
    refused(capsys, tmp_path, (tmp_path / "nowhere.mp4", "--reference", short, *only), "nowhere.mp4")
    (half / "a.mkv").write_text("no video at all")
    refused(capsys, tmp_path, (half / "a.mkv", "--reference", short, *only), "a.mkv")


@pytest.mark.parametrize("frames, size, words", [(8, "88:72", ["b.mkv", "88x72"]), (7, "176:144", ["b.mkv", "has 7"])])
def test_a_clip_that_does_not_fit_is_found_before_the_work(videos, tmp_path, capsys, monkeypatch, frames, size, words):
    from vividface_core.metrics import measure

    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "a.mkv").write_bytes((videos / "truth" / "a.mkv").read_bytes())
    lossless(tmp_path / "truth" / "b.mkv", 0, frames, size)
    monkeypatch.setattr(measure, "_chunks", lambda *_: pytest.fail("it has begun"))
    refused(capsys, tmp_path, (videos / "output", "--reference", tmp_path / "truth"), *words)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--only", "psnr,beauty"], ["beauty", "ssim"]),
        (["--only", " , "], ["--only", "psnr"]),
        (["--only", "psnr"], ["psnr", "--reference"]),
        (["--only", "niqe", "--device", "cuda:99"], ["cuda:99"]),
        (["--json", "nowhere/r.json"], ["nowhere/r.json"]),
    ],
)
def test_bad_options(videos, tmp_path, capsys, arguments, words):
    assert vividface(videos / "output" / "a.mkv", *arguments) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and all(word in lines[0] for word in words), lines


def test_nothing_to_measure_and_nothing_to_measure_by(videos, tmp_path, capsys, monkeypatch):
    refused(capsys, tmp_path, (), "Name what")
    for name in [name for name, metric in METRICS.items() if metric.reference != "needed"]:
        monkeypatch.delitem(METRICS, name)
    refused(capsys, tmp_path, (videos / "output" / "a.mkv",), "--reference")


def test_a_report_is_not_written_over_a_clip_or_another_report(videos, tmp_path, capsys):
    mine = tmp_path / "clips" / "mine.mkv"
    mine.parent.mkdir()
    mine.write_bytes((videos / "output" / "a.mkv").read_bytes())
    arguments = (mine, "--reference", videos / "truth" / "a.mkv", "--only", "psnr")
    assert vividface(*arguments, "--json", mine) == 1 and "mine.mkv" in capsys.readouterr().err
    assert mine.read_bytes() == (videos / "output" / "a.mkv").read_bytes()
    assert vividface(*arguments, "--json", tmp_path / "r", "--csv", tmp_path / "r") == 1
    assert not (tmp_path / "r").exists()


def test_a_broken_pillow_is_one_sentence_before_the_work(videos, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "PIL.py").write_text("raise RuntimeError('no such symbol')")
    arguments = [videos / "output" / "a.mkv", "--reference", videos / "truth" / "a.mkv", "--only", "psnr"]
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'broken')!r})\n"
        "from vividface_core.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "metrics", *map(str, arguments)]
    without = subprocess.run(command, capture_output=True, text=True)
    assert without.returncode == 0, without.stderr
    run = subprocess.run([*command, "--html", str(tmp_path / "r.html")], capture_output=True, text=True)
    assert run.returncode == 1 and len(run.stderr.splitlines()) == 1 and "Pillow" in run.stderr
    assert not (tmp_path / "r.html").exists()


def test_the_list_tells_every_metric_with_its_weights(tmp_path, capsys):
    file = METRICS[NEEDY].weights[0]
    (tmp_path / "mine" / file.name).parent.mkdir(parents=True)
    (tmp_path / "mine" / file.name).write_bytes(b"weights")
    assert vividface("--list", "--weights-dir", tmp_path / "mine") == 0
    said = capsys.readouterr().out
    blocks = {block.split(":", 1)[0]: " ".join(block.split()) for block in said.strip().split("\n\n")}
    assert list(blocks) == list(METRICS)
    for name, metric in METRICS.items():
        assert metric.title in blocks[name] and metric.arrow in blocks[name] and metric.protocol in blocks[name]
        for weight in metric.weights:
            assert f"{weight.name} ({weight.licence}" in blocks[name] and weight.address in blocks[name]
    assert f"weights here: {file.name}" in blocks[NEEDY]
    assert sum("weights missing" in block for block in blocks.values()) > 1
    assert vividface("--list", "--only", "psnr") == 0
    assert capsys.readouterr().out.startswith("psnr: PSNR ↑, needs a reference\n")


def test_a_console_without_arrows_gets_the_figures(videos):
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "vividface_core.cli.main",
            "metrics",
            str(videos / "output" / "a.mkv"),
            "--reference",
            str(videos / "truth" / "a.mkv"),
            "--only",
            "psnr",
            "--quiet",
        ],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[:2] == [b"PSNR", b"?"]


# Downloads

CONTENT = bytes(range(256)) * 4000


class Weights(BaseHTTPRequestHandler):
    """Serves one file."""

    protocol_version = "HTTP/1.1"
    asked: list[str] = []

    def log_message(self, *_) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        body = CONTENT if self.path == "/net.pth" else b""
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def published(monkeypatch):
    """Two metrics: ``served`` has its weights on a server, those of ``gone`` aren't there any more."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Weights)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    for name, path in (("served", "net.pth"), ("gone", "gone.pth")):
        digest = hashlib.sha256(CONTENT).hexdigest() if name == "served" else None
        file = WeightFile(path, f"{address}/{path}", "MIT", digest)
        metric = Metric(name, name.title(), True, "none", "Size.", _reader(file), (file,))
        monkeypatch.setitem(METRICS, name, metric)
    Weights.asked.clear()
    yield
    server.shutdown()
    server.server_close()


def _reader(file):
    def make(context, facts):
        size = context.path(file).stat().st_size
        return FrameMeter(lambda chunk: [float(size)] * len(chunk))

    return make


def test_download_brings_what_is_missing_and_only_that(published, videos, tmp_path, capsys):
    one = videos / "output" / "a.mkv"
    assert vividface(one, "--only", "served") == 1 and not Weights.asked, "nothing is fetched unless asked for"
    assert vividface("--only", "served", "--download") == 0
    path = tmp_path / "models" / "metrics" / "net.pth"
    assert path.read_bytes() == CONTENT and "MIT" in capsys.readouterr().err
    count = len(Weights.asked)
    assert vividface(one, "--only", "served", "--download", "--quiet") == 0 and len(Weights.asked) == count
    assert f"{len(CONTENT)}.0000" in capsys.readouterr().out
    assert vividface("--only", "served", "--download", "--weights-dir", tmp_path / "mine") == 0
    assert not (tmp_path / "mine").exists(), "it is here already"
    path.unlink()
    assert vividface("--only", "served", "--download", "--weights-dir", tmp_path / "mine") == 0
    assert (tmp_path / "mine" / "net.pth").read_bytes() == CONTENT


def test_what_cannot_be_fetched_is_said_and_the_rest_is_measured(published, videos, tmp_path, capsys):
    one = videos / "output" / "a.mkv"
    assert vividface(one, "--only", "served,gone", "--download", "--json", tmp_path / "r.json") == 1
    said = capsys.readouterr()
    assert "gone.pth could not be downloaded" in said.err and "Traceback" not in said.err
    told = json.loads((tmp_path / "r.json").read_text())["set"]
    assert told["served"]["value"] == len(CONTENT) and told["gone"]["value"] is None


# Memory


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clip(tmp_path):
    peaks = {}
    for frames in (200, 1000):
        paths = {crf: tmp_path / f"{frames}-{crf}.mp4" for crf in (20, 34, 44)}
        for crf, path in paths.items():
            run_ffmpeg(
                "-stream_loop",
                -1,
                "-i",
                clip("carphone"),
                "-frames:v",
                frames,
                "-an",
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
                "-crf",
                crf,
                "-pix_fmt",
                "yuv420p",
                path,
            )
        report = tmp_path / f"{frames}.html"
        arguments = [
            "metrics",
            paths[34],
            "--reference",
            paths[20],
            "--input",
            paths[44],
            "--only",
            "psnr,ssim",
            "--html",
            report,
            "--json",
            report.with_suffix(".json"),
            "--quiet",
        ]
        program = (
            "import sys; from vividface_core.cli.main import main; code = main(sys.argv[1:])\n"
            "from vividface_core.runtime.memory import peak_memory; print(peak_memory()); sys.exit(code)"
        )
        command = [sys.executable, "-c", program, *map(str, arguments)]
        run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **NOTHING_KEPT})
        assert run.returncode == 0, run.stderr
        peaks[frames] = int(run.stdout.split()[-1])
        told = json.loads(report.with_suffix(".json").read_text())["clips"][0]
        assert told["frames"] == len(told["scores"]["ssim"]["frames"]) == frames
        assert 30_000 < Path(report).stat().st_size < 4_000_000
    print({frames: f"{peak / 2**20:.0f} MiB" for frames, peak in peaks.items()})
    # 800 more frames of 176×144 would be 180 MB as bytes of the three clips.
    assert peaks[1000] < 1.10 * peaks[200], peaks
