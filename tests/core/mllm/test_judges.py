"""Judges: what they are shown, a real small Qwen-VL, a real server process, averages, and the measuring judge."""

from __future__ import annotations

import base64
import io
import json
import pickle
import statistics
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.assets import clip, run_ffmpeg
from tests.openai_server import KEY, SCORES, Remote, answer
from tests.paths import REPOSITORY
from tests.tiny_qwen import save_tiny_qwen
from vividface_core.errors import (
    InvalidAnswer,
    InvalidOption,
    JudgeFailed,
    MissingWeights,
    UnsupportedCheckpoint,
)
from vividface_core.mllm.judges import http
from vividface_core.mllm.judges.base import NoAssessment
from vividface_core.mllm.judges.factory import JudgeOptions, make_judge
from vividface_core.mllm.judges.http import Refused
from vividface_core.mllm.judges.local import LocalJudge, LocalOptions
from vividface_core.mllm.judges.panel import Panel
from vividface_core.mllm.judges.sampling import Sampling, open_source, sample
from vividface_core.mllm.judges.server import ServerJudge
from vividface_core.mllm.judges.server_settings import Secret, ServerSettings, server_settings
from vividface_core.mllm.judges.technical import TechnicalJudge
from vividface_core.mllm.rubric import RUBRIC, answer_schema, render_prompt, rubric_version
from vividface_core.video.source import VideoFrames

SMALL = Sampling(2, 4, 128 * 128, 64 * 128 * 128)
pytestmark = pytest.mark.usefixtures("no_judge_settings")


@pytest.fixture(scope="module")
def face(tmp_path_factory) -> Path:
    """Three seconds of a real face, small, as a file of its own."""
    path = tmp_path_factory.mktemp("face") / "face.mp4"
    run_ffmpeg(
        "-i",
        clip("franck"),
        "-frames:v",
        72,
        "-vf",
        "fps=24,scale=192:-2",
        "-an",
        "-c:v",
        "libx264",
        "-crf",
        16,
        "-pix_fmt",
        "yuv420p",
        path,
    )
    return path


# What is shown


def decoded(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """Times and pictures by PyAV itself."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [float(frame.time) for frame in frames], [frame.to_ndarray(format="rgb24") for frame in frames]


def test_frames_are_those_a_player_shows_at_even_distances(face):
    times, pictures = decoded(face)
    shown = sample(VideoFrames(face), Sampling(fps=2, frames=32))
    assert shown.times == pytest.approx([0, 0.5, 1.0, 1.5, 2.0, 2.5], abs=1e-3) and shown.fps == 24
    assert shown.indices == (0, 12, 24, 36, 48, 60) and shown.total == len(times) == 72
    for index, pixels in zip(shown.indices, shown.pixels):
        apart = np.abs(pictures[index].astype(int) - pixels.permute(1, 2, 0).numpy().astype(int))
        assert apart.mean() < 2, "not this frame"
        assert apart.mean() < np.abs(pictures[index + 3].astype(int) - pixels.permute(1, 2, 0).numpy()).mean()
    assert shown.path == face and sample(VideoFrames(face, 0, 10), SMALL).path is None


def test_a_variable_rate_keeps_its_times(face, tmp_path):
    uneven = tmp_path / "uneven.mkv"
    run_ffmpeg("-i", face, "-vf", "select='lt(n,24)+not(mod(n,8))'", "-fps_mode", "vfr", "-c:v", "ffv1", uneven)
    times, _ = decoded(uneven)
    assert len(times) == 24 + 6
    shown = sample(VideoFrames(uneven), Sampling(fps=4, frames=32))
    moments = np.arange(len(shown)) * (shown.times[-1] / (len(shown) - 1))
    assert shown.times == pytest.approx(moments, abs=8 / 24 + 1e-3)
    assert [index / shown.fps for index in shown.indices] == pytest.approx(shown.times, abs=0.6 / shown.fps)
    assert set(np.round(shown.times, 3)) <= set(np.round(np.array(times) - times[0], 3))


@pytest.mark.parametrize(
    "seconds, available, count", [(10, 240, 20), (100, 2400, 32), (0.1, 3, 2), (0.04, 1, 1), (1.5, 36, 2), (2.5, 60, 4)]
)
def test_counts_are_even_and_bounded(seconds, available, count):
    assert Sampling(2, 32).count(seconds, available) == count


@pytest.mark.parametrize("width, height", [(1920, 1080), (512, 512), (64, 48), (4000, 100), (33, 1000)])
@pytest.mark.parametrize("multiple", [1, 28, 32])
def test_sizes_keep_to_the_budget(width, height, multiple):
    sampling = Sampling(2, 32, 300_000, 16 * 300_000)
    for count in (1, 8, 32):
        w, h = sampling.size(width, height, count, multiple, 128 * multiple**2)
        assert w % multiple == h % multiple == 0
        assert w * h <= max(min(300_000, 16 * 300_000 // count), multiple**2)
        assert multiple > 1 or width * height > 16 * 300_000 // max(count, 16) or (w, h) == (width, height)
    assert abs(np.log(Sampling().size(1920, 1080, 8, 28)[0] / Sampling().size(1920, 1080, 8, 28)[1] / (16 / 9))) < 0.05


@pytest.mark.parametrize(
    "values", [{"fps": 0}, {"fps": float("nan")}, {"frames": 0}, {"frame_pixels": 100}, {"total_pixels": 5000}]
)
def test_a_sampling_that_cannot_be(values):
    with pytest.raises(InvalidOption):
        Sampling(**values)


# A model on this machine


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """By family: one that babbles, and one that knows one answer."""
    root, made = tmp_path_factory.mktemp("models"), {}
    lines = (answer(structured=True),)
    for family in ("qwen2_5_vl", "qwen3_vl"):
        made[family] = save_tiny_qwen(root / family, family, prompt=render_prompt(form="json"))
        taught = save_tiny_qwen(root / f"{family}-taught", family, knows=lines, prompt=render_prompt(form="json"))
        made[f"{family} taught"] = taught
    return made


def local(folder: Path, **options) -> LocalJudge:
    return LocalJudge(folder, SMALL, options=LocalOptions(device="cpu", **{"max_tokens": 40, **options}))


@pytest.mark.parametrize("family, patch", [("qwen2_5_vl", 14), ("qwen3_vl", 16)])
def test_the_model_gets_the_frames_their_times_and_the_prompt(models, face, family, patch):
    judge = local(models[family])
    shown = judge.look(open_source(face))
    height, width = shown.pixels.shape[2:]
    assert len(shown) == 4 and height % (2 * patch) == width % (2 * patch) == 0 and height * width <= 128 * 128
    inputs = judge.inputs(shown)
    grid = [2, height // patch, width // patch]
    assert inputs["video_grid_thw"].tolist() == [grid]
    patches = inputs["pixel_values_videos"]
    assert patches.shape == (np.prod(grid), 3 * 2 * patch * patch)
    words = judge._processor.tokenizer
    ids = inputs["input_ids"][0].tolist()
    assert ids.count(words.convert_tokens_to_ids("<|video_pad|>")) == np.prod(grid) // 4
    text = words.decode(ids)
    assert "Facial Detail Clarity (35 points)" in text and text.endswith("<|im_start|>assistant\n")
    # The first patch is the left upper corner of frames 0 and 1, normalised; channels first, then time.
    video = judge._processor.video_processor
    mean, std = (torch.tensor(values)[:, None, None, None] for values in (video.image_mean, video.image_std))
    corner = shown.pixels[:2, :, :patch, :patch].permute(1, 0, 2, 3) / 255
    assert torch.allclose(patches[0].view(3, 2, patch, patch), (corner - mean) / std, atol=1e-5)
    # 72 frames at 24 fps, of which 0, 18, 36 and 54 are shown: 4/3 a second, each step of the grid 1.5 s.
    assert shown.indices == (0, 18, 36, 54)
    if family == "qwen2_5_vl":
        assert inputs["second_per_grid_ts"].tolist() == pytest.approx([1.5])
    else:
        assert "<0.4 seconds>" in text and "<1.9 seconds>" in text  # the middles of 0 and 0.75, and of 1.5 and 2.25


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_babble_is_refused_and_an_answer_is_read(models, face, family):
    with pytest.raises(NoAssessment, match="3 answers") as raised:
        local(models[family]).judge(face)
    assert len(raised.value.refused) == 3 and all("cut off after 40 tokens" in r.reason for r in raised.value.refused)
    assert raised.value.raw, "what it said is kept"
    assert raised.value.refused[0].answer != raised.value.refused[1].answer, "the complaint isn't in the question"
    judge = local(models[f"{family} taught"])
    judgement = judge.judge(face)
    assert judgement.assessment.scores == SCORES and judgement.assessment.final == 85
    assert judgement.answer.strip() == answer(structured=True) and not judgement.refused
    assert judgement.identity["model_type"] == family and judgement.identity["rubric"] == rubric_version(RUBRIC)
    json.dumps(judgement.to_json())


def test_babble_that_ends_by_itself_is_refused_by_the_reader(models, face, tmp_path):
    knows = ("lorem ipsum", " dolor sit amet")
    folder = save_tiny_qwen(tmp_path / "latin", knows=knows, prompt=render_prompt(form="json"))
    with pytest.raises(NoAssessment, match="no scores") as raised:
        local(folder).judge(face)
    assert raised.value.refused[0].answer == "".join(knows)


def test_without_chance_the_answer_is_always_the_same(models, face):
    cold, warm = local(models["qwen2_5_vl"]), local(models["qwen2_5_vl"], temperature=1.0)
    shown = cold.look(open_source(face))

    def said(judge, number):
        with pytest.raises(InvalidAnswer) as raised:
            judge.ask(shown, "", number)
        return raised.value.raw

    assert said(cold, 0) == said(cold, 1) == said(cold, 0)
    state = torch.random.get_rng_state()
    assert said(warm, 0) == said(warm, 0) != said(warm, 1)
    assert torch.equal(state, torch.random.get_rng_state()), "the caller's random numbers are its own"


def test_models_that_cannot_be_used_say_why(models, tmp_path, monkeypatch):
    from safetensors.torch import load_file, save_file

    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    whole = models["qwen2_5_vl"]

    def copy(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file in whole.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        return folder

    lacking = copy("lacking")
    tensors = load_file(lacking / "model.safetensors")
    gone = tensors.pop(next(name for name in tensors if name.endswith("layers.1.mlp.up_proj.weight")))
    save_file(tensors, lacking / "model.safetensors", {"format": "pt"})
    assert gone.numel()
    with pytest.raises(UnsupportedCheckpoint, match=r"lacks 1 tensors.*up_proj"):
        local(lacking)
    (lacking / "model.safetensors").unlink()
    with pytest.raises(MissingWeights, match="model.safetensors"):
        local(lacking)
    damaged = copy("damaged")
    (damaged / "model.safetensors").write_bytes((whole / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(UnsupportedCheckpoint, match="damaged"):
        local(damaged)
    other = copy("other")
    (other / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UnsupportedCheckpoint, match=r"llama.*qwen2_5_vl, qwen3_vl"):
        local(other)
    with pytest.raises(MissingWeights, match="neither a folder nor in the Hub's cache"):
        LocalJudge("Qwen/No-Such-VL")
    with pytest.raises(MissingWeights, match="HF_HUB_OFFLINE"):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        LocalJudge("Qwen/No-Such-VL", options=LocalOptions(download=True))
    with pytest.raises(MissingWeights, match="no folder"):
        LocalJudge(tmp_path / "nowhere")
    with pytest.raises(InvalidOption, match="GPU"):
        local(whole, four_bit=True)


def test_a_broken_transformers_is_one_sentence(models, face, tmp_path):
    (tmp_path / "transformers.py").write_text("raise RuntimeError('no such symbol')")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from vividface_core.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "score", str(face), "--judge", f"local:{models['qwen2_5_vl']}"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert run.returncode == 1 and len(run.stderr.strip().splitlines()) == 1, run.stderr
    assert "needs transformers" in run.stderr


# A server


@pytest.fixture(scope="module")
def remote():
    server = Remote()
    yield server
    server.close()


def asking(remote, *, key: str | None = KEY, tries: int = 3, temperature: float = 0.0, **settings) -> ServerJudge:
    made = ServerSettings(key=Secret(key) if key else None, **{"back_off": 0.05, "timeout": 20, **settings})
    return ServerJudge(remote.address, "judge", SMALL, settings=made, temperature=temperature, tries=tries)


def test_a_server_gets_frames_prompt_and_schema(remote, face):
    from PIL import Image

    remote.script()
    judgement = asking(remote, side=100).judge(face)
    assert judgement.assessment.scores == SCORES and judgement.assessment.final == 85
    assert judgement.facts["usage"]["prompt_tokens"] == 7
    (request,) = remote.seen()
    assert request["authorization"] == f"Bearer {KEY}" and request["path"] == "/v1/chat/completions"
    body = request["body"]
    assert (body["model"], body["temperature"], body["stream"], body["max_tokens"]) == ("judge", 0, False, 2048)
    assert body["response_format"]["json_schema"]["schema"] == answer_schema()
    *pictures, text = body["messages"][0]["content"]
    assert "at these seconds: 0.00, 0.75, 1.50, 2.25" in text["text"] and "Facial Detail Clarity" in text["text"]
    _, wanted = decoded(face)
    for picture, index in zip(pictures, (0, 18, 36, 54), strict=True):
        head, content = picture["image_url"]["url"].split(",")
        assert head == "data:image/jpeg;base64"
        image = Image.open(io.BytesIO(base64.b64decode(content)))
        assert image.format == "JPEG" and max(image.size) <= 100
        truth = Image.fromarray(wanted[index]).resize(image.size, Image.Resampling.BICUBIC)
        assert np.abs(np.asarray(image, int) - np.asarray(truth, int)).mean() < 3


@pytest.mark.parametrize(
    "trouble", ["429=0.4", "500", "reset", "truncated", "garbage", "no-choices", "empty", "held", "drip"]
)
def test_a_failure_that_may_pass_is_tried_again(remote, face, trouble):
    remote.script(trouble, "ok")
    late = trouble in ("held", "drip")
    judgement = asking(remote, timeout=2 if late else 60).judge(face)
    assert judgement.assessment.final == 85 and not judgement.refused
    first, second = remote.seen()
    assert first["body"] == second["body"]
    least = 0.4 if trouble.startswith("429") else 2.0 if late else 0.02
    assert least <= second["at"] - first["at"]
    remote.release()


def test_failures_that_stay_end_with_the_last_reason(remote, face):
    remote.script("500", "500", "500", "ok")
    with pytest.raises(JudgeFailed, match="no whole answer in 3 attempts.*scripted 500"):
        asking(remote, retries=2).judge(face)
    assert len(remote.seen()) == 3
    remote.script("429-long", "ok")
    with pytest.raises(JudgeFailed, match="wait 86400 s"):
        asking(remote).judge(face)
    assert len(remote.seen()) == 1
    nobody = ServerJudge("http://127.0.0.1:9/v1", "judge", SMALL, settings=ServerSettings(retries=1, back_off=0.01))
    with pytest.raises(JudgeFailed, match="2 attempts.*can't be reached"):
        nobody.judge(face)


@pytest.mark.parametrize("trouble, status", [("403", 403), ("redirect", 302)])
def test_a_no_stays_a_no(remote, face, trouble, status):
    remote.script(trouble, "ok")
    with pytest.raises(Refused) as raised:
        asking(remote).judge(face)
    assert raised.value.status == status and len(remote.seen()) == 1
    assert "127.0.0.1" in str(raised.value)


def test_a_cut_answer_is_asked_for_with_more_room(remote, face):
    remote.script("length", "length", "length", "ok")
    assert asking(remote).judge(face).assessment.final == 85
    assert [request["body"]["max_tokens"] for request in remote.seen()] == [2048, 4096, 8192, 8192]
    remote.script(*["length"] * 3)
    with pytest.raises(JudgeFailed, match="cut off"):
        asking(remote, retries=2).judge(face)


def test_a_server_without_schemas_is_asked_for_text_once_and_then_always(remote, face):
    remote.script("no-schema", "ok", "ok")
    judge = asking(remote)
    for _ in range(2):
        assert judge.judge(face).assessment.final == 85
    asked = [request["body"] for request in remote.seen()]
    assert ["response_format" in body for body in asked] == [True, False, False]
    assert "STEP 1" not in asked[0]["messages"][0]["content"][-1]["text"]
    assert "STEP 1" in asked[1]["messages"][0]["content"][-1]["text"]
    assert len(judge.notices) == 1 and "no answer schema" in judge.notices[0]
    remote.script("400", "400")
    with pytest.raises(Refused, match="scripted 400"):
        asking(remote).judge(face)
    assert len(remote.seen()) == 2
    remote.script("text")
    assert asking(remote).judge(face).assessment.final == 85, "a server that ignores the schema"


@pytest.mark.parametrize("word, said", [("refusal", "sorry"), ("nonsense", "lorem ipsum")])
def test_what_is_no_answer_is_asked_again_and_then_counts_as_failed(remote, face, word, said):
    remote.script(word, "ok")
    judgement = asking(remote).judge(face)
    assert judgement.assessment.final == 85 and len(judgement.refused) == 1 and said in judgement.refused[0].answer
    first, second = (request["body"]["messages"][0]["content"][-1]["text"] for request in remote.seen())
    assert "could not be used" in second and second.startswith(first.rstrip("\n")) and "could not" not in first
    remote.script(*[word] * 4)
    with pytest.raises(NoAssessment, match="in 3 answers") as raised:
        asking(remote).judge(face)
    assert len(remote.seen()) == len(raised.value.refused) == 3


def test_streams(remote, face):
    remote.script("stream-cut", "ok")
    judge = asking(remote, stream=True)
    assert judge.judge(face).assessment.final == 85
    assert [request["body"]["stream"] for request in remote.seen()] == [True, True]
    remote.script("stream-cut")
    with pytest.raises(JudgeFailed, match="stream broke off"):
        asking(remote, stream=True, retries=0).judge(face)


def test_a_whole_video(remote, face):
    remote.script()
    judge = asking(remote, send="video")
    assert judge.judge(face).assessment.final == 85
    video, text = remote.seen()[0]["body"]["messages"][0]["content"]
    head, content = video["video_url"]["url"].split(",")
    assert head == "data:video/mp4;base64" and base64.b64decode(content) == face.read_bytes()
    assert "seconds" not in text["text"].split("\n")[0]
    with pytest.raises(InvalidOption, match="one whole file"):
        judge.judge(VideoFrames(face, 0, 10))
    remote.script()
    with pytest.raises(JudgeFailed, match="max_megabytes"):
        asking(remote, max_megabytes=0.001).judge(face)
    assert not remote.seen(), "nothing too large is sent"


def test_pace_and_number_of_requests(remote, face):
    def together(judge, count):
        threads = [threading.Thread(target=judge.judge, args=(face,)) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    remote.script(*["slow=0.5"] * 5)
    together(asking(remote, concurrency=2), 5)
    assert remote.told()["most_at_once"] == 2
    remote.script()
    together(asking(remote, concurrency=4, requests_per_minute=300), 4)
    begun = sorted(request["at"] for request in remote.seen())
    assert begun[-1] - begun[0] > 0.9 * 3 * 0.2


def test_a_servers_pause_holds_for_all_threads():
    pace = http.RateLimiter(at_once=3)
    began = time.monotonic()
    pace.hold(0.3)
    with pace.turn(), pace.turn():
        assert time.monotonic() - began >= 0.3


def test_waits():
    soon = datetime.now(timezone.utc) + timedelta(seconds=30)
    assert http.retry_after("1.5") == 1.5 and http.retry_after("-3") == 0
    assert 27 < http.retry_after(format_datetime(soon, usegmt=True)) <= 30
    for nothing in (None, "", "soon", "nan", "inf"):
        assert http.retry_after(nothing) is None
    drawn = [[http.back_off(attempt, 1.0) for _ in range(200)] for attempt in (1, 2, 3, 20)]
    for waits, whole in zip(drawn, (1, 2, 4, 60)):
        assert whole / 2 <= min(waits) < 0.6 * whole and 0.9 * whole < max(waits) <= whole


@pytest.mark.parametrize("address", ["127.0.0.1:8000", "ftp://h/v1", "http://", "http://h/v1?k=1", "http://h:x/v1"])
def test_addresses_that_are_none(address):
    with pytest.raises(InvalidOption, match="http"):
        ServerJudge(address, "judge")


# Keys and settings


def test_a_key_is_never_shown(remote, face):
    secret = Secret("sk-wrong-1234")
    settings = ServerSettings(key=secret)
    for shown in (repr(secret), str(secret), f"{secret}", repr(settings)):
        assert "sk-wrong" not in shown
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    remote.script()
    with pytest.raises(Refused) as raised:
        asking(remote, key="sk-wrong-1234").judge(face)
    assert raised.value.status == 401 and "sk-wrong" not in str(raised.value)
    assert "Incorrect API key provided: ***" in str(raised.value) and "VIVIDFACE_MLLM_KEY" in str(raised.value)
    with pytest.raises(InvalidOption) as raised:
        ServerJudge("https://me:sk-wrong-1234@host/v1", "judge")
    assert "sk-wrong" not in str(raised.value)
    assert "sk-" not in json.dumps(asking(remote).identity)


def test_where_the_key_comes_from(tmp_path, monkeypatch):
    file = tmp_path / "config" / "vividface" / "mllm.toml"
    file.parent.mkdir(parents=True)
    here = "https://api.example.com/v1"

    def key(address=here, **options):
        found = server_settings(address, **options)[0].key
        return found and found.reveal()

    assert key() is None
    file.write_text(f'key = "common"\nretries = 2\n["{here}/"]\nkey = "own"\nrequests_per_minute = 30\n')
    file.chmod(0o600)
    assert key() == "own" and key("https://other/v1") == "common"
    settings, notices = server_settings(here, timeout=None, retries=7)
    assert (settings.retries, settings.requests_per_minute, settings.timeout) == (7, 30, 180) and not notices
    monkeypatch.setenv("VIVIDFACE_MLLM_KEY", "from-env")
    assert key() == "own" and key("https://other/v1") == "from-env"
    monkeypatch.setenv("OPENAI_API_KEY", "named")
    assert key(key_env="OPENAI_API_KEY") == "named", "the user named it"
    with pytest.raises(InvalidOption, match="NOT_SET"):
        key(key_env="NOT_SET")
    file.chmod(0o644)
    assert "chmod 600" in server_settings(here)[1][0]
    file.write_text('key = "common"\nkeey = 1')
    with pytest.raises(InvalidOption, match="keey"):
        key()
    file.write_text('key = "sk-common')
    with pytest.raises(InvalidOption, match="no valid TOML") as raised:
        key()
    assert "sk-" not in str(raised.value) and raised.value.__cause__ is None
    file.write_text('retries = "many"')
    with pytest.raises(InvalidOption, match="retries.*int"):
        key()
    file.write_text("concurrency = 0")
    with pytest.raises(InvalidOption, match="concurrency"):
        key()
    monkeypatch.setenv("VIVIDFACE_MLLM_SETTINGS", str(tmp_path / "nowhere.toml"))
    with pytest.raises(InvalidOption, match="nowhere.toml"):
        key()


# Several


def test_passes_are_averaged_with_their_spread(remote, face):
    remote.script("ok=30", "ok=26", "ok=31")
    judgement = Panel([asking(remote, temperature=0.7)], passes=3).judge(face)
    assert [request["body"]["seed"] for request in remote.seen()] == [0, 1, 2]
    assert judgement.assessment.scores["clarity"] == pytest.approx(29) and len(judgement.members) == 3
    assert judgement.assessment.scores["lighting"] == 16 and judgement.assessment.final == pytest.approx(84)
    spread = judgement.spread["clarity"]
    assert (spread.low, spread.high) == (26, 31)
    assert spread.std == pytest.approx(statistics.stdev([30, 26, 31]), abs=1e-6)
    assert judgement.spread["final"].mean == pytest.approx(84) and judgement.spread["lighting"].std == 0
    assert judgement.assessment.tier == "High" and not judgement.failures


def test_a_panel_counts_what_was_refused_and_goes_on(remote, face):
    remote.script("nonsense", "nonsense", "nonsense", "ok=32")
    panel = Panel([asking(remote, tries=2), TechnicalJudge(SMALL), asking(remote, tries=2)])
    judgement = panel.judge(face)
    assert len(judgement.refused) == 3 and len(judgement.failures) == 1 and len(judgement.members) == 2
    measured, answered = (member.assessment for member in judgement.members)
    assert answered.scores["clarity"] == 32
    assert judgement.assessment.scores["clarity"] == pytest.approx((32 + measured.scores["clarity"]) / 2)
    assert judgement.assessment.adjustment == pytest.approx((answered.adjustment + measured.adjustment) / 2)
    remote.script(*["nonsense"] * 4)
    with pytest.raises(JudgeFailed, match="None of 2 passes.*lorem ipsum"):
        Panel([asking(remote, tries=2)], passes=2).judge(face)


@pytest.mark.parametrize(
    "names, options, said",
    [
        ([], {}, "Name a judge"),
        (["gpt"], {}, "no judge 'gpt'"),
        (["technical"], {"passes": 0}, "passes"),
        (["technical"], {"passes": 2}, "measures"),
        (["openai:http://h/v1"], {}, "--model"),
        (["openai:http://h/v1"], {"model": "m", "temperature": 0.5}, "luck"),
        (["openai:http://h/v1"], {"model": "m", "temperature": 0, "passes": 2}, "same answer"),
    ],
)
def test_judges_that_cannot_be_chosen(names, options, said):
    with pytest.raises(InvalidOption, match=said):
        make_judge(names, JudgeOptions(**options))


def test_choosing(monkeypatch):
    monkeypatch.setenv("VIVIDFACE_MLLM_KEY", "k")
    options = JudgeOptions(model="m", passes=2, server={"concurrency": 3})
    judge, notices = make_judge(["openai:http://gpu-box:8000/v1/chat/completions"], options)
    assert isinstance(judge, Panel) and judge.concurrency == 3 and "unencrypted" in notices[0]
    assert judge.identity["judges"][0]["temperature"] == 0.7
    assert not make_judge(["openai:http://localhost:8000/v1"], options)[1]


# Measurements


def ladder(face, tmp_path, steps) -> list[float]:
    scores = []
    for number, arguments in enumerate(steps):
        path = tmp_path / f"{number}.{'mp4' if 'libx264' in arguments else 'mkv'}"
        run_ffmpeg("-i", face, *arguments, path)
        scores.append(TechnicalJudge(Sampling(fps=12)).judge(path).assessment.final)
    return scores


LADDERS = {
    "blur": [["-vf", f"gblur=sigma={sigma}", "-c:v", "ffv1"] for sigma in (0.6, 1.2, 2.5, 5)],
    "noise": [["-vf", f"noise=alls={level}:allf=t:all_seed=1", "-c:v", "ffv1"] for level in (4, 9, 18, 36)],
    "crf": [["-c:v", "libx264", "-crf", crf, "-pix_fmt", "yuv420p"] for crf in (33, 39, 45, 51)],
}


@pytest.mark.parametrize("name", ["franck", "single_face", "wolfgang"])
@pytest.mark.parametrize("kind", LADDERS)
def test_measured_scores_fall_with_rising_degradation(name, kind, tmp_path):
    source = tmp_path / "source.mkv"
    run_ffmpeg("-i", clip(name), "-frames:v", 12, "-vf", "scale=384:-2", "-an", "-c:v", "ffv1", source)
    scores = ladder(source, tmp_path, [["-c:v", "copy"], *LADDERS[kind]])
    assert all(better > worse for better, worse in zip(scores, scores[1:])), scores


def test_the_measuring_judge_says_what_it_is(face):
    judge = TechnicalJudge(SMALL)
    first, second = judge.judge(face), judge.judge(face)
    assert "no MLLM" in first.judge and first.identity["kind"] == "technical" and first.identity["model"] is None
    assert first.assessment == second.assessment and not first.assessment.faults and not first.refused
    assert "not measured" in first.assessment.reasons["occlusion"] and first.facts["measures"]["sharpness"] > 0


def test_noise_is_estimated_as_it_is():
    from vividface_core.mllm.judges.technical import measure

    ramp = torch.linspace(60, 190, 256).expand(3, 256, 256)
    for sigma in (2, 5, 10):
        noisy = (ramp + sigma * torch.randn(1, 256, 256)).round().clamp(0, 255).to(torch.uint8)
        assert measure(noisy[None]).noise == pytest.approx(sigma, rel=0.25)
    squares = (torch.rand(3, 32, 32) * 200).repeat_interleave(8, 1).repeat_interleave(8, 2).to(torch.uint8)
    shifted = squares.roll(4, 2).roll(4, 1)
    assert measure(squares[None]).blockiness > 5 > 0.5 > measure(shifted[None]).blockiness
