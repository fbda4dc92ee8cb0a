"""A folder before a judge: records, tables, copies, stopping; and which servers a workflow may ask."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import pytest
import torch

from tests.assets import clip, run_ffmpeg
from tests.openai_server import KEY, Remote
from vividface_core.errors import InvalidOption, UnreadableVideo
from vividface_core.mllm.folder import score_folder, sort_copies, videos_in
from vividface_core.mllm.judges.allowed_servers import allowed_server, named_servers
from vividface_core.mllm.judges.factory import JudgeOptions, make_judge
from vividface_core.mllm.judges.sampling import Sampling, TimedClip, open_source, sample
from vividface_core.mllm.judges.technical import TechnicalJudge
from vividface_core.mllm.rubric import RUBRIC
from vividface_core.mllm.tables import Table
from vividface_core.video.source import VideoFrames

SMALL = Sampling(frames=4, frame_pixels=16_384)
pytestmark = pytest.mark.usefixtures("no_judge_settings")


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Clips of a real face: a2 sharp, a10 blurred, deep/c noisy; and what is no video."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "deep").mkdir()
    for name, spoil in (("a2", "null"), ("a10", "gblur=sigma=5"), ("deep/c", "noise=alls=30:allf=t:all_seed=1")):
        run_ffmpeg(
            "-i",
            clip("single_face"),
            "-frames:v",
            24,
            "-vf",
            f"scale=256:-2,{spoil}",
            "-an",
            "-c:v",
            "ffv1",
            folder / f"{name}.mkv",
        )
    (folder / "notes.txt").write_text("no video")
    (folder / ".hidden.mkv").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def remote():
    server = Remote()
    yield server
    server.close()


def lines(target: Path) -> list[dict]:
    return [json.loads(line) for line in (target / "scores.jsonl").read_text().splitlines()]


def test_videos_come_in_natural_order_and_nothing_else(videos, tmp_path):
    assert list(videos_in(videos)) == ["a2.mkv", "a10.mkv"]
    assert list(videos_in(videos, subfolders=True)) == ["a2.mkv", "a10.mkv", "deep/c.mkv"]
    with pytest.raises(UnreadableVideo, match="There is no video in"):
        videos_in(tmp_path)


def test_tables_say_the_same(videos, tmp_path):
    clips = videos_in(videos, subfolders=True)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    clips["broken.mp4"] = tmp_path / "broken.mp4"
    rows = score_folder(TechnicalJudge(SMALL), clips, tmp_path / "out", threshold=80)
    told = json.loads((tmp_path / "out" / "scores.json").read_text())
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        sheet = list(csv.DictReader(file))
    assert told["videos"] == rows and told["complete"] and told["threshold"] == 80
    assert [row["name"] for row in rows] == [row["video"] for row in sheet] == list(clips)
    assert {line["name"] for line in lines(tmp_path / "out")} == set(clips)
    assert str(tmp_path) not in (tmp_path / "out" / "scores.jsonl").read_text().replace(rows[3]["error"], "")
    for row, cells in zip(rows[:3], sheet):
        scores = TechnicalJudge(SMALL).judge(clips[row["name"]]).assessment
        assert float(cells["final"]) == row["final"] == scores.final
        assert [float(cells[key]) for key in scores.scores] == list(scores.scores.values())
        assert cells["tier"] == row["tier"] == RUBRIC.tier(scores.final)
        assert cells["keep"] == ("yes" if scores.final > 80 else "no") and row["keep"] == (scores.final > 80)
    assert (rows[3]["state"], sheet[3]["state"], sheet[3]["final"], rows[3]["keep"]) == ("failed", "failed", "", False)
    assert "is a text and no media file" in sheet[3]["error"]


def test_what_was_stopped_goes_on_where_it_was(videos, remote, tmp_path, monkeypatch):
    monkeypatch.setenv("VIVIDFACE_MLLM_KEY", KEY)
    clips = videos_in(videos, subfolders=True)

    def judge():
        options = JudgeOptions(sampling=SMALL, model="judge", server={"retries": 2})
        return make_judge([f"openai:{remote.address}"], options)[0]

    class Stop(Exception):
        pass

    def on_poll():
        if len(remote.seen()) == 2:
            raise Stop

    remote.script("ok=35", "held", "500", "500")
    with pytest.raises(Stop):
        score_folder(judge(), clips, tmp_path / "out", on_poll=on_poll)
    assert [line["name"] for line in lines(tmp_path / "out")] == ["a2.mkv"]
    told = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert not told["complete"] and len(told["videos"]) == 1, "what is done is in the tables"
    remote.release()
    while len(lines(tmp_path / "out")) < 2:
        time.sleep(0.1)
    assert len(remote.seen()) == 2, "nothing is asked any more"
    assert [line["name"] for line in lines(tmp_path / "out")] == ["a2.mkv", "a10.mkv"], "a late answer isn't lost"
    remote.script("ok=10")
    counted = []
    rows = score_folder(judge(), clips, tmp_path / "out", told=lambda row, done, total: counted.append((done, total)))
    assert [row["judgement"]["assessment"]["scores"]["clarity"] for row in rows] == [35, 30, 10]
    assert len(remote.seen()) == 1 and counted == [(1, 3), (2, 3), (3, 3)]
    assert [bool(row.get("resumed")) for row in rows] == [True, True, False]


def test_a_refused_key_ends_it_at_once(videos, remote, tmp_path):
    remote.script()
    judge = make_judge([f"openai:{remote.address}"], JudgeOptions(sampling=SMALL, model="judge"))[0]
    with pytest.raises(Exception, match="HTTP 401"):
        score_folder(judge, videos_in(videos), tmp_path / "out", on_poll=lambda: None)
    assert len(remote.seen()) == 1 and not lines(tmp_path / "out")


def row(name: str, keep: bool, tier: str = "High", content: str = "x") -> dict:
    return {"name": name, "state": "judged", "keep": keep, "tier": tier, "content": content}


def placed(target: Path) -> set[str]:
    return {path.relative_to(target / "sorted").as_posix() for path in (target / "sorted").rglob("*") if path.is_file()}


def test_copies_follow_the_verdict(tmp_path):
    sources, target = {}, tmp_path / "out"
    target.mkdir()
    for name in ("a.mp4", "deep/b.mp4", "c.mp4"):
        sources[name] = tmp_path / "in" / name
        sources[name].parent.mkdir(parents=True, exist_ok=True)
        sources[name].write_bytes(name.encode())
    rows = [
        row("a.mp4", True),
        row("deep/b.mp4", False, "../../evil"),
        row("c.mp4", False),
        {"name": "x.mp4", "state": "failed", "keep": False, "tier": None},
    ]
    sort_copies(rows, sources, target, "by tier")
    assert placed(target) == {"High/a.mp4", "_evil/deep/b.mp4", "High/c.mp4"}
    assert (target / "sorted" / "High" / "a.mp4").read_bytes() == b"a.mp4"
    (target / "sorted" / "High" / "mine.mp4").write_bytes(b"a person's own")
    (target / "sorted" / "High" / "c.mp4").write_bytes(b"cut by a person")
    sort_copies(rows, sources, target, "keep and drop")
    assert placed(target) == {"keep/a.mp4", "drop/deep/b.mp4", "drop/c.mp4", "High/mine.mp4", "High/c.mp4"}
    rows[0] = row("a.mp4", False)
    sort_copies(rows, sources, target, "kept only")
    assert placed(target) == {"High/mine.mp4", "High/c.mp4"}
    assert all(path.read_bytes() == name.encode() for name, path in sources.items()), "originals stay"
    with pytest.raises(InvalidOption, match="can't be sorted"):
        sort_copies(rows, sources, target, "by colour")


def test_a_new_version_of_a_video_replaces_its_copy(tmp_path):
    source, target = tmp_path / "a.mp4", tmp_path
    for content in (b"one", b"two"):
        source.write_bytes(content)
        sort_copies([row("a.mp4", True, content=content.decode())], {"a.mp4": source}, target, "kept only")
        assert (target / "sorted" / "keep" / "a.mp4").read_bytes() == content
    index = json.loads((target / "copies.json").read_text())
    (tmp_path / "precious").write_bytes(b"12345")
    (target / "copies.json").write_text(json.dumps({**index, "../precious": ["x", 5], "../../precious": ["x", 5]}))
    sort_copies([], {}, target, "kept only")
    assert (tmp_path / "precious").exists() and not placed(target), "nothing outside is removed"


def test_frames_in_memory_are_judged_as_those_of_a_file(videos):
    path = videos / "a2.mkv"
    source = VideoFrames(path)
    frames = torch.stack([frame.rgb() for frame in source.read()])
    memory = TimedClip(frames, source.fps, "mine")
    for sampling in (SMALL, Sampling(fps=7, frames=5)):
        ours, theirs = sample(memory, sampling), sample(open_source(path), sampling)
        assert (ours.indices, ours.total, ours.times) == (theirs.indices, theirs.total, pytest.approx(theirs.times))
        assert torch.equal(ours.pixels, theirs.pixels) and ours.path is None
    assert TechnicalJudge(SMALL).judge(memory).assessment.final == TechnicalJudge(SMALL).judge(path).assessment.final
    with pytest.raises(InvalidOption, match="frames a second"):
        TimedClip(frames, 0)


def test_workflows_ask_this_machine_and_what_its_owner_named(tmp_path, monkeypatch):
    local = "http://127.0.0.1:8000/v1"
    assert allowed_server(f"{local}/") == (local, False) and not named_servers()
    for address in (
        "https://api.example.com/v1",
        "http://127.0.0.1.example.com/v1",
        "http://10.0.0.7/v1",
        "http://localhost.example.com:80/v1",
        "http://0.0.0.0/v1",
        "http://[::ffff:10.0.0.7]/v1",
    ):
        with pytest.raises(InvalidOption, match="may not ask"):
            allowed_server(address)
    for address in (
        "file:///etc/passwd",
        "http://127.0.0.1@example.com/",
        "http://127.0.0.1/v1?x=http://a",
        "127.0.0.1",
    ):
        with pytest.raises(InvalidOption):
            allowed_server(address)
    with pytest.raises(InvalidOption, match="No server is named"):
        allowed_server("")
    monkeypatch.setenv("VIVIDFACE_MLLM_SERVERS", f"https://api.example.com/v1, {local}")
    settings = tmp_path / "config" / "vividface" / "mllm.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text('["http://10.0.0.7/v1"]\nconcurrency = 3\n')
    assert allowed_server("https://API.example.com/v1/") == ("https://api.example.com/v1", True)
    for address in ("http://10.0.0.7/v1", local):
        assert allowed_server(address) == (address, True)
    assert allowed_server(" ") == ("https://api.example.com/v1", True), "the first that is named"
    with pytest.raises(InvalidOption, match="may not ask"):
        allowed_server("https://api.example.com/elsewhere")


def test_keys_go_to_named_servers_only(videos, remote, tmp_path, monkeypatch):
    monkeypatch.setenv("VIVIDFACE_MLLM_KEY", KEY)
    options = JudgeOptions(sampling=SMALL, model="judge", named_only=True)
    judge, notices = make_judge([f"openai:{remote.address}"], options)
    assert "gets no key" in notices[0] and KEY not in notices[0]
    remote.script()
    with pytest.raises(Exception, match="HTTP 401"):
        judge.judge(videos / "a2.mkv")
    assert [request["authorization"] for request in remote.seen()] == [None]
    monkeypatch.setenv("VIVIDFACE_MLLM_SERVERS", remote.address)
    judge, notices = make_judge([f"openai:{remote.address}"], options)
    assert not notices and judge.judge(videos / "a2.mkv").assessment.final == 85


def test_cells_are_text_in_markdown():
    text = Table("a|b", ("x", "y"), (("1|2", "two\nlines <b>"),)).markdown()
    assert text.splitlines() == ["**a\\|b**", "", "| x | y |", "| --- | --- |", "| 1\\|2 | two lines &lt;b> |"]
