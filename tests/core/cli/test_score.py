"""``vividface score`` as a person uses it: what it prints, writes, keeps and returns."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.assets import clip, run_ffmpeg
from tests.openai_server import KEY, Remote, answer
from tests.paths import REPOSITORY
from tests.tiny_qwen import save_tiny_qwen
from vividface_core.cli.main import main
from vividface_core.mllm.calibration import HumanScore, fit_calibration
from vividface_core.mllm.rubric import RUBRIC, render_prompt, rubric_version

SMALL = ("--frames", 4, "--frame-pixels", 16384)
pytestmark = pytest.mark.usefixtures("no_judge_settings")


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """A folder with three short clips of real faces: sharp, blurred, noisy."""
    folder = tmp_path_factory.mktemp("videos")
    for name, spoil in (("a", "null"), ("b", "gblur=sigma=5"), ("c", "noise=alls=30:allf=t:all_seed=1")):
        run_ffmpeg(
            "-i",
            clip("single_face"),
            "-frames:v",
            30,
            "-vf",
            f"scale=256:-2,{spoil}",
            "-an",
            "-c:v",
            "ffv1",
            folder / f"{name}.mkv",
        )
    return folder


@pytest.fixture(scope="module")
def remote():
    server = Remote()
    yield server
    server.close()


def score(*arguments) -> int:
    return main(["score", *map(str, arguments)])


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rows(said: str) -> dict[str, list[str]]:
    """The table's lines by their first word."""
    return {line.split()[0]: re.split(r"\s{2,}", line)[1:] for line in said.splitlines() if line.strip()}


def test_a_folder_gets_a_table_and_records(videos, tmp_path, capsys):
    assert score(videos, "--judge", "technical", "--json", tmp_path / "r.json", "--jsonl", tmp_path / "r.jsonl") == 0
    said = capsys.readouterr().out
    table = rows(said)
    assert table["video"] == [
        "Clarity",
        "Stability",
        "Lighting",
        "Artifacts",
        "Occlusion",
        "adj.",
        "final",
        "tier",
        "keep",
    ]
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["complete"] and "no MLLM" in told["judge"] and told["rubric"] == rubric_version(RUBRIC)
    finals = {}
    for video in told["videos"]:
        found, cells = video["judgement"]["assessment"], table[video["name"]]
        assert [float(cell) for cell in cells[:7]] == [
            *found["scores"].values(),
            sum(a["points"] for a in found["adjustments"]),
            found["final"],
        ]
        assert cells[7:] == [found["tier"], "yes" if found["final"] > 90 else "no"]
        assert video["keep"] == (found["final"] > 90) and video["final"] == found["final"]
        assert "STEP 1" in found["raw"] and found["reasons"]["clarity"].startswith("sharpness")
        assert found["final"] == sum(found["scores"].values()) + sum(a["points"] for a in found["adjustments"])
        finals[video["name"]] = found["final"]
    assert finals["a.mkv"] > finals["b.mkv"] and finals["a.mkv"] > finals["c.mkv"]
    assert said.strip().splitlines()[-1].startswith("3 judged")
    assert {line["name"] for line in lines(tmp_path / "r.jsonl")} == set(finals)


def test_each_video_is_judged_once_whatever_happens(videos, remote, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("VIVIDFACE_MLLM_KEY", KEY)
    arguments = (
        videos,
        videos / "a.mkv",
        "--judge",
        f"openai:{remote.address}",
        "--model",
        "judge",
        *SMALL,
        "--quiet",
        "--jsonl",
        tmp_path / "r.jsonl",
        "--json",
        tmp_path / "r.json",
    )
    remote.script("ok=35", "403")
    assert score(*arguments) == 1
    assert "scripted 403" in capsys.readouterr().err and len(lines(tmp_path / "r.jsonl")) == 1
    assert json.loads((tmp_path / "r.json").read_text())["complete"] is False
    with (tmp_path / "r.jsonl").open("a") as file:
        file.write('{"video": "cut off by a cr')
    remote.script("nonsense", "nonsense", "nonsense", "ok=20")
    assert score(*arguments) == 1, "one failed"
    said = capsys.readouterr().out
    assert "failed" in rows(said)["b.mkv"][0] and "2 judged, 0 kept, 1 failed, 1 from an earlier run" in said
    assert len(remote.seen()) == 4, "the one that was judged isn't asked for again"
    failed = json.loads((tmp_path / "r.json").read_text())["videos"][1]
    assert failed["state"] == "failed"
    assert [refusal["answer"] for refusal in failed["refused"]] == ["lorem ipsum dolor sit amet"] * 3
    remote.script("ok=10")
    assert score(*arguments) == 0, "what failed is tried again"
    assert len(remote.seen()) == 1
    told = json.loads((tmp_path / "r.json").read_text())
    clarity = [video["judgement"]["assessment"]["scores"]["clarity"] for video in told["videos"]]
    assert told["complete"] and clarity == [35, 10, 20]
    remote.script()
    assert score(*arguments) == 0 and not remote.seen()
    assert score(*arguments, "--fps", 3) == 0 and len(remote.seen()) == 3, "another question, other answers"


def test_changed_content_is_judged_anew_and_a_renamed_folder_is_not(videos, tmp_path, capsys):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "x.mkv").write_bytes((videos / "a.mkv").read_bytes())
    arguments = ("--judge", "technical", "--jsonl", tmp_path / "r.jsonl", "--quiet")
    assert score(mine, *arguments) == 0
    assert score(mine.rename(tmp_path / "yours"), *arguments) == 0 and len(lines(tmp_path / "r.jsonl")) == 1
    (tmp_path / "yours" / "x.mkv").write_bytes((videos / "b.mkv").read_bytes())
    assert score(tmp_path / "yours", *arguments) == 0 and len(lines(tmp_path / "r.jsonl")) == 2


def test_several_at_once_keep_their_order(videos, remote, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    remote.script("slow=0.6", "slow=0.3", "slow=0.1")
    assert (
        score(
            videos,
            "--judge",
            f"openai:{remote.address}/",
            "--model",
            "judge",
            *SMALL,
            "--concurrency",
            3,
            "--key-env",
            "MY_KEY",
            "--quiet",
            "--jsonl",
            tmp_path / "r.jsonl",
        )
        == 0
    )
    assert remote.told()["most_at_once"] == 3
    table = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert table[:4] == ["video", "a.mkv", "b.mkv", "c.mkv"]


def test_a_wrong_key_stops_at_once_and_is_not_shown(videos, remote, tmp_path, capsys, monkeypatch):
    wrong = "sk-wrong-77c1"
    monkeypatch.setenv("VIVIDFACE_MLLM_KEY", wrong)
    remote.script()
    for more in ((), ("--concurrency", 3)):
        code = score(
            videos,
            "--judge",
            f"openai:{remote.address}",
            "--model",
            "judge",
            *SMALL,
            "--jsonl",
            tmp_path / "r.jsonl",
            "--json",
            tmp_path / "r.json",
            *more,
        )
        said = capsys.readouterr()
        assert code == 1 and "HTTP 401" in said.err and "Traceback" not in said.err
        assert wrong not in said.err + said.out and not (tmp_path / "r.jsonl").read_text()
        assert not (tmp_path / "r.json").exists()


def test_passes_and_panels(videos, remote, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("VIVIDFACE_MLLM_KEY", KEY)
    remote.script("ok=30", "ok=20")
    assert (
        score(
            videos / "a.mkv",
            "--judge",
            f"openai:{remote.address}",
            "--model",
            "judge",
            *SMALL,
            "--passes",
            2,
            "--json",
            tmp_path / "r.json",
            "--quiet",
        )
        == 0
    )
    cells = rows(capsys.readouterr().out)["a.mkv"]
    assert cells[0] == "25" and cells[6] == "80 ±7.1"  # 10 / √2
    assert [r["body"]["temperature"] for r in remote.seen()] == [0.7, 0.7]
    judgement = json.loads((tmp_path / "r.json").read_text())["videos"][0]["judgement"]
    assert judgement["spread"]["clarity"] == {"mean": 25, "std": pytest.approx(7.071068), "low": 20, "high": 30}
    assert len(judgement["members"]) == 2


def test_a_calibration_corrects_and_belongs_to_its_judge(videos, tmp_path, capsys):
    records = tmp_path / "r.jsonl"
    assert score(videos, "--judge", "technical", "--jsonl", records, "--quiet") == 0
    judged = lines(records)
    given = (10.0, 40.0, 70.0, 88.0, 92.0)
    people = [HumanScore(str(number), judge + 7, judge) for number, judge in enumerate(given)]
    fit_calibration(people, rubric=rubric_version(RUBRIC), judge=judged[0]["judge"]).write(tmp_path / "c.json")
    assert (
        score(
            videos,
            "--judge",
            "technical",
            "--jsonl",
            records,
            "--calibration",
            tmp_path / "c.json",
            "--json",
            tmp_path / "r.json",
            "--quiet",
        )
        == 0
    )
    for video in json.loads((tmp_path / "r.json").read_text())["videos"]:
        own = video["judgement"]["assessment"]["final"]
        assert video["final"] == pytest.approx(min(own + 7, 100), abs=0.5) and video["resumed"]
        assert video["tier"] == RUBRIC.tier(video["final"]) and video["keep"] == (video["final"] > 90)
    capsys.readouterr()
    assert score(videos, "--judge", "technical", "--fps", 3, "--calibration", tmp_path / "c.json") == 1
    assert "fitted for the judge" in capsys.readouterr().err


def test_an_unreadable_video_fails_alone(videos, tmp_path, capsys):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert score(videos / "a.mkv", tmp_path / "broken.mp4", "--judge", "technical", "--json", tmp_path / "r.json") == 1
    said = capsys.readouterr().out
    assert "1 judged" in said and "1 failed" in said and "no media file" in rows(said)["broken.mp4"][0]
    assert [v["state"] for v in json.loads((tmp_path / "r.json").read_text())["videos"]] == ["judged", "failed"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], ["--judge", "technical"]),
        (["--judge", "gpt"], ["gpt"]),
        (["--judge", "technical", "--fps", "0"], ["--fps"]),
        (["--judge", "technical", "--json", "nowhere/r.json"], ["nowhere/r.json"]),
        (["--judge", "technical", "--model", "x"], ["--model"]),
        (["--judge", "technical", "--json", "a", "--jsonl", "a"], ["another"]),
        (["--judge", "technical", "--rubric", "nowhere.json"], ["nowhere.json"]),
        (["--judge", "openai:http://127.0.0.1:9/v1", "--model", "m", "--key-env", "NOT_SET_HERE"], ["NOT_SET_HERE"]),
        (["--judge", "local:/nowhere"], ["/nowhere"]),
    ],
)
def test_bad_options_are_one_line(videos, tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert score(videos, *arguments) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith("vividface: ") and all(word in said[0] for word in words), said
    assert not list(tmp_path.iterdir())


def test_a_model_on_this_machine(videos, tmp_path):
    knows = (answer(structured=True),)
    model = save_tiny_qwen(tmp_path / "qwen", knows=knows, prompt=render_prompt(form="json"))
    command = [
        sys.executable,
        "-m",
        "vividface_core.cli.main",
        "score",
        videos / "a.mkv",
        "--judge",
        f"local:{model}",
        *SMALL,
        "--device",
        "cpu",
        "--json",
        tmp_path / "r.json",
        "--quiet",
    ]
    run = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=REPOSITORY)
    assert run.returncode == 0, run.stderr
    assert not run.stderr, "--quiet"
    assert rows(run.stdout)["a.mkv"] == ["30", "17", "16", "12", "9", "+1", "85", "Premium", "no"]
    told = json.loads((tmp_path / "r.json").read_text())["videos"][0]["judgement"]
    assert told["identity"]["model_type"] == "qwen2_5_vl" and told["identity"]["dtype"] == "float32"


def test_the_help_needs_no_torch():
    program = (
        "import argparse, sys\nfrom vividface_core.cli.score_options import add_options\n"
        "add_options(argparse.ArgumentParser())\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'scipy', 'av')))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY)
    assert run.returncode == 0, run.stderr
