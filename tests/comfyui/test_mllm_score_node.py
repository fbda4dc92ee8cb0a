"""MLLM Score and Score Folder on a real server: by measurements, by a real chat-completions server, by a real model."""

from __future__ import annotations

import csv
import json
import shutil
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.assets import run_ffmpeg
from tests.comfyui.conftest import degraded_face
from tests.comfyui.prompts import LOAD, node
from tests.comfyui.server import ComfyServer, error_of, refusal
from tests.openai_server import KEY, Remote, answer
from tests.tiny_qwen import save_tiny_qwen
from vividface_core.mllm.judges.sampling import Sampling
from vividface_core.mllm.judges.technical import NAME, TechnicalJudge
from vividface_core.mllm.rubric import RUBRIC, render_prompt, rubric_version

JUDGE = {
    "judge": NAME,
    "model": "auto",
    "server": "",
    "server_model": "",
    "threshold": -1.0,
    "passes": 1,
    "fps": 2.0,
    "frames": 4,
    "frame_pixels": 16_384,
    "max_tokens": 2048,
    "precision": "auto",
    "rubric": "paper",
    "calibration": "none",
}
ASKED = {"judge": "server", "server_model": "judge"}
FOLDER = {"folder": "set", "subfolders": True, "sort": "no copies", "name": "graded"}
OUTPUTS = ("score", "tier", "keep", "table", "answer", "record")
SAMPLING = Sampling(frames=4, frame_pixels=16_384)


@pytest.fixture(scope="module")
def remote():
    server = Remote()
    yield server
    server.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory, remote):
    """ComfyUI whose environment names the remote server and holds its key; clips and two tiny models lie in it."""
    folder = tmp_path_factory.mktemp("scoring")
    (folder / "input" / "set" / "deep").mkdir(parents=True)
    degraded_face(folder / "input" / "face.mp4")
    for name, blur in (("1", 0.1), ("2", 3), ("deep/10", 6)):
        run_ffmpeg(
            "-i",
            folder / "input" / "face.mp4",
            "-vf",
            f"gblur={blur}",
            "-an",
            "-c:v",
            "ffv1",
            folder / "input" / "set" / f"{name}.mkv",
        )
    models = folder / "models" / "LLM" / "Makers"
    knows = (answer(structured=True),)
    prompt = render_prompt(form="json")
    save_tiny_qwen(models / "knows", knows=knows, prompt=prompt)
    endless = save_tiny_qwen(models / "babbles", "qwen3_vl", prompt=prompt) / "generation_config.json"
    endless.write_text(json.dumps({**json.loads(endless.read_text()), "eos_token_id": 999_999}))
    environment = {
        "VIVIDFACE_MLLM_KEY": KEY,
        "VIVIDFACE_MLLM_SERVERS": remote.address,
        "XDG_CONFIG_HOME": str(folder / "config"),
    }
    with ComfyServer(folder, environment=environment) as running:
        yield running


def scored(file: str = "face.mp4", **options: Any) -> dict[str, Any]:
    """Video Load → MLLM Score → all its texts."""
    return {
        "load": node("VividFaceVideoLoad", **{**LOAD, "file": file}),
        "judge": node("VividFaceMLLMScore", video=["load", 0], **{**JUDGE, "image_fps": 24.0, **options}),
        **{name: node("PreviewAny", source=["judge", place]) for place, name in enumerate(OUTPUTS)},
    }


def folder(**options: Any) -> dict[str, Any]:
    return {"judge": node("VividFaceScoreFolder", **{**FOLDER, **JUDGE, **options})}


def texts(outputs: dict[str, Any]) -> dict[str, str]:
    return {name: outputs[name]["text"][0] for name in OUTPUTS}


def failure(server: ComfyServer, prompt: dict[str, Any]) -> str:
    return error_of(server.wait(server.queue(prompt)))


def interrupt(server: ComfyServer, prompt: dict[str, Any], ready: Callable[[], bool]) -> None:
    """Queue, press stop when ``ready``, and wait until it has stopped; by itself it would take far longer."""
    prompt_id = server.queue(prompt)
    while not ready():
        assert prompt_id not in server.get(f"/history/{prompt_id}"), "it isn't done yet"
        time.sleep(0.05)
    server.post("/interrupt", {})
    assert error_of(server.wait(prompt_id)) == "interrupted"


def test_measurements_are_the_engines_and_say_what_they_are(server):
    outputs = server.run(scored())
    told, face = texts(outputs), server.folder / "input" / "face.mp4"
    wanted = TechnicalJudge(SAMPLING).judge(face).assessment
    assert (float(told["score"]), told["tier"], told["keep"]) == (wanted.final, wanted.tier, "False")
    assert told["answer"] == wanted.raw
    for dimension in RUBRIC.dimensions:
        line = f"| {dimension.label} | {wanted.scores[dimension.key]:g} / {dimension.points} | "
        assert line + wanted.reasons[dimension.key] in told["table"]
    assert "no MLLM" in told["table"] and "no MLLM" in json.loads(told["record"])["judgement"]["judge"]
    (shown,) = outputs["judge"]["vividface_table"]
    assert outputs["judge"]["text"] == [told["table"]] and wanted.tier in shown["title"]
    assert [row[0] for row in shown["rows"]][:5] == [dimension.label for dimension in RUBRIC.dimensions]


def test_images_and_parts_are_graded_like_videos(server):
    prompt = scored() | {
        "parts": node("GetVideoComponents", video=["load", 0]),
        "again": node("CreateVideo", images=["parts", 0], fps=["parts", 2]),
        "half": node("VividFaceVideoLoad", **{**LOAD, "frame_count": 12}),
    }
    sources = {"parts": ["parts", 0], "again": ["again", 0], "half": ["half", 0]}
    for name, source in sources.items():
        prompt[f"of {name}"] = node("VividFaceMLLMScore", video=source, **JUDGE, image_fps=24.0)
        prompt[f"record of {name}"] = node("PreviewAny", source=[f"of {name}", 5])
    outputs = server.run(prompt)
    records = {name: json.loads(outputs[f"record of {name}"]["text"][0]) for name in sources}
    video = json.loads(texts(outputs)["record"])
    for name in ("parts", "again"):
        assert records[name]["final"] == pytest.approx(video["final"], abs=1)
        assert records[name]["judgement"]["frame_seconds"] == video["judgement"]["frame_seconds"] == [0.0, 0.5]
    assert records["half"]["judgement"]["frame_seconds"] == [0.0, 0.25] and video["name"] == "face.mp4"


def test_a_server_grades_and_its_key_stays_in_the_environment(server, remote):
    remote.script("ok=30")
    outputs = server.run(scored(**ASKED))
    told = texts(outputs)
    assert (float(told["score"]), told["tier"], told["keep"]) == (85, "Premium", "False")
    assert json.loads(told["answer"])["scores"]["clarity"]["score"] == 30
    assert "| Clarity | 30 / 35 | clarity seen |" in told["table"] and "true colours" in told["table"]
    (request,) = remote.seen()
    assert request["authorization"] == f"Bearer {KEY}" and request["body"]["model"] == "judge"
    server.run(scored(**ASKED))
    assert len(remote.seen()) == 1, "an unchanged video isn't judged again"
    assert texts(server.run(scored(**ASKED, threshold=84.5)))["keep"] == "True"
    with urllib.request.urlopen(f"{server.address}/object_info") as answered:
        shown = answered.read().decode()
    for text in (json.dumps(server.get("/history")), shown, server.log, json.dumps(outputs)):
        assert KEY not in text
    for path in (one for name in ("output", "temp", "user") for one in (server.folder / name).rglob("*")):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path


def test_passes_are_averaged_with_their_spread(server, remote):
    remote.script("ok=30", "ok=20")
    told = texts(server.run(scored(**ASKED, passes=2)))
    assert float(told["score"]) == 80 and "| Clarity | 25 ±7.1 / 35 |" in told["table"]


def test_only_named_servers_are_asked_and_only_they_get_keys(server, remote):
    for address in ("https://api.example.com/v1", "http://169.254.169.254/latest", "http://127.0.0.1@example.com/v1"):
        said = refusal(server, scored(**ASKED, server=address))
        assert "may not ask" in said or "not into the server's address" in said
    remote.script()
    error = failure(server, scored(**ASKED, server=remote.address.replace("127.0.0.1", "localhost")))
    assert "face.mp4 could not be judged" in error and "HTTP 401" in error and "--" not in error
    assert [request["authorization"] for request in remote.seen()] == [None]


def not_offered(told: str) -> list[str]:
    """The inputs whose values a ComfyUI of today itself refuses, as they aren't in its lists."""
    errors = json.loads(told)["node_errors"].values() if told.startswith("{") else ()
    kinds = [one for node in errors for one in node["errors"]]
    return [one["extra_info"]["input_name"] for one in kinds if one["type"] == "value_not_in_list"]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"judge": "somebody"}, "choose one of"),
        ({"judge": "server"}, "server_model"),
        ({"judge": "local model", "model": "Makers/gone"}, "There is no Makers/gone"),
        ({"rubric": "../secret.json"}, "There is no rubric"),
        ({"calibration": "none.json"}, "There is no calibration"),
        ({"passes": 3}, "only measures"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_judged(server, options, words):
    for prompt in (scored(**options), folder(**options)):
        told = refusal(server, prompt)
        assert words in told or not_offered(told) == list(options)[-1:]


def test_no_answer_is_an_error_that_names_the_video_and_is_asked_for_again(server, remote):
    remote.script("nonsense", "nonsense", "nonsense", "ok=33")
    prompt = scored(**ASKED, fps=3.0)
    error = failure(server, prompt)
    assert "face.mp4 could not be judged" in error and "in 3 answers" in error
    assert float(texts(server.run(prompt))["score"]) == 88


def test_stop_does_not_wait_for_an_answer(server, remote):
    remote.script("held")
    interrupt(server, scored(**ASKED, fps=4.0), lambda: len(remote.seen()) == 1)
    remote.release()


def test_a_rubric_and_a_calibration_of_ones_own(server):
    from dataclasses import replace

    from vividface_core.mllm.calibration import HumanScore, fit_calibration
    from vividface_core.mllm.rubric_schema import write_rubric
    from vividface_core.mllm.scoring import judge_id

    own = replace(RUBRIC, name="mine", keep_above=10.0)
    judge = TechnicalJudge(SAMPLING, own)
    for name in ("rubrics", "calibrations"):
        (server.folder / "models" / "vividface" / name).mkdir(parents=True)
    write_rubric(server.folder / "models" / "vividface" / "rubrics" / "mine.json", own)
    people = [HumanScore(str(score), score - 20, score) for score in (30.0, 50.0, 70.0, 80.0, 99.0)]
    fitted = fit_calibration(people, rubric=rubric_version(own), judge=judge_id(judge.identity))
    fitted.write(server.folder / "models" / "vividface" / "calibrations" / "people.json")
    told = texts(server.run(scored(rubric="mine.json", calibration="people.json")))
    final = judge.judge(server.folder / "input" / "face.mp4").assessment.final
    assert float(told["score"]) == pytest.approx(final - 20) and told["keep"] == "True"
    assert "| Calibrated |" in told["table"]
    assert "was fitted for the" in failure(server, scored(calibration="people.json"))


def test_a_folder_becomes_tables_and_sorted_copies(server):
    broken = server.folder / "input" / "set" / "broken.mp4"
    broken.write_bytes(b"no video")
    try:
        prompt = folder(sort="keep and drop", threshold=78.0) | {
            name: node("PreviewAny", source=["judge", place])
            for place, name in enumerate(("table", "judged", "kept", "failed", "path"))
        }
        outputs = server.run(prompt)
    finally:
        broken.unlink()
    told = {name: outputs[name]["text"][0] for name in ("table", "judged", "kept", "failed", "path")}
    target = server.folder / "output" / "graded"
    finals = {
        name: TechnicalJudge(SAMPLING).judge(server.folder / "input" / "set" / name).assessment.final
        for name in ("1.mkv", "2.mkv", "deep/10.mkv")
    }
    kept = {name for name, final in finals.items() if final > 78}
    assert 0 < len(kept) < 3, finals
    assert (told["judged"], told["kept"], told["failed"]) == ("3", str(len(kept)), "1")
    assert Path(told["path"]) == target
    with (target / "scores.csv").open(newline="") as file:
        sheet = {row["video"]: row for row in csv.DictReader(file)}
    assert list(sheet) == ["1.mkv", "2.mkv", "broken.mp4", "deep/10.mkv"]
    assert {name: float(sheet[name]["final"]) for name in finals} == finals
    assert "broken.mp4: " in told["table"] and sheet["broken.mp4"]["state"] == "failed"
    copies = {path.relative_to(target / "sorted").as_posix() for path in (target / "sorted").rglob("*.mkv")}
    assert copies == {f"{'keep' if name in kept else 'drop'}/{name}" for name in finals}
    assert outputs["judge"]["vividface_table"][0]["title"].startswith("3 judged")
    shutil.rmtree(target / "sorted")
    server.run(folder(sort="by tier", threshold=78.0))
    assert len((target / "scores.jsonl").read_text().splitlines()) == 4, "nothing is judged twice"
    tiers = {path.parent.relative_to(target / "sorted").parts[0] for path in (target / "sorted").rglob("*.mkv")}
    assert tiers == {RUBRIC.tier(final) for final in finals.values()}


@pytest.mark.parametrize("place", ["..", "../output", "set/../..", "/etc", "C:\\Windows", "\\\\host\\share", "gone"])
def test_a_folder_is_below_input_and_its_tables_below_output(server, place):
    assert "There is no folder" in refusal(server, folder(folder=place))
    if place != "gone":
        assert "below ComfyUI's output folder" in refusal(server, folder(name=place))


def test_a_stopped_folder_goes_on_where_it_was(server, remote):
    remote.script("ok=30", "held")
    prompt = folder(**ASKED, name="stopped")
    interrupt(server, prompt, lambda: len(remote.seen()) == 2)
    told = json.loads((server.folder / "output" / "stopped" / "scores.json").read_text())
    assert [row["name"] for row in told["videos"]] == ["1.mkv"] and not told["complete"]
    remote.script("ok=20", "ok=10")
    outputs = server.run(prompt)
    assert [request["word"] for request in remote.seen()] == ["ok=20", "ok=10"]
    finals = [row[7] for row in outputs["judge"]["vividface_table"][0]["rows"]]
    assert finals == ["85", "75", "65"] and "3 of 3, deep/10.mkv" in server.log


def test_a_model_on_this_machine_grades_and_stops(server):
    options = server.get("/object_info/VividFaceMLLMScore")["VividFaceMLLMScore"]["input"]["required"]["model"][1]
    assert options["options"] == ["auto", "Makers/babbles", "Makers/knows"]
    local = {"judge": "local model", "model": "Makers/knows", "frames": 2}
    told = texts(server.run(scored(**local)))
    assert (float(told["score"]), told["tier"]) == (85, "Premium")
    server.run(scored("set/1.mkv", **local))
    assert server.log.count("loading the judge knows as fp32") == 1, "it is still there"
    server.free()
    while "the judge is let go of" not in server.log:
        time.sleep(0.1)
    server.run(scored("set/2.mkv", **local))
    assert server.log.count("loading the judge knows as fp32") == 2, "it was let go of"


def test_stop_ends_a_model_amid_its_answer(server):
    process = psutil.Process(server.process.pid)

    def busy(seconds: float) -> float:
        """Seconds of computing in as many."""
        before = sum(process.cpu_times()[:2])
        time.sleep(seconds)
        return sum(process.cpu_times()[:2]) - before

    babbling = scored(judge="local model", model="Makers/babbles", frames=2, max_tokens=30_000)
    seen = "Requested to load ModuleList"
    loads = server.log.count(seen)
    interrupt(server, babbling, lambda: server.log.count(seen) > loads and busy(1.0) > 0.1)
    while busy(1.0) > 0.1:  # nothing goes on behind the page's back
        pass
