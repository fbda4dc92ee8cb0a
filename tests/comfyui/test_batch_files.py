"""The batch client's parts that need no server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vividface_core.cli.main import main
from vividface_core.comfy_client.files import Item, find_videos, result_names
from vividface_core.comfy_client.history import outputs_of, refusal
from vividface_core.comfy_client.journal import NAME, Journal
from vividface_core.comfy_client.report import Console, table
from vividface_core.comfy_client.server import parse_address
from vividface_core.comfy_client.watch import Watch
from vividface_core.comfy_client.workflow import Workflow
from vividface_core.errors import InvalidOption, WorkflowFailed
from vividface_core.io.file_names import distinct_stems

GRAPH = {
    "1": {"class_type": "LoadVideo", "inputs": {"file": "old.mp4"}, "_meta": {"title": "Load v1.0"}},
    "2": {"class_type": "SaveVideo", "inputs": {"video": ["1", 0], "filename_prefix": "x", "format.codec": "auto"}},
}


def test_the_only_loader_gets_the_file():
    workflow = Workflow(GRAPH)
    assert workflow.filled("a/b.mp4")["1"]["inputs"]["file"] == "a/b.mp4"
    assert GRAPH["1"]["inputs"]["file"] == "old.mp4"
    assert Workflow({"prompt": GRAPH}).digest == workflow.digest


@pytest.mark.parametrize("one_terminal", [True, False])
def test_a_failure_is_told_once(capsys, monkeypatch, one_terminal):
    console, item = Console(1, ["a"]), Item(Path("x.mp4"), "x", {"name": "x.mp4"})
    console.again(item, "The node fell over.")
    item.state, item.reason = "failed", "The node fell over."
    console.finished(item)
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: one_terminal)
    print(table([item], console.seen))
    console.close()
    out, told = capsys.readouterr()
    assert told.count("fell over") == 1 and "x.mp4 failed" in told
    # What goes to a file of its own has the reason too.
    assert out.count("fell over") == (0 if one_terminal else 1) and "failed" in out


def test_several_or_no_loaders_need_a_word():
    two = {**GRAPH, "7": {"class_type": "VHS_LoadVideo", "inputs": {"video": ""}}}
    with pytest.raises(InvalidOption, match=r"1\.file .*7\.video .*--into NODE\.INPUT"):
        Workflow(two)
    assert Workflow(two, into="7.video").node == "7"
    assert Workflow(two, into="VHS_LoadVideo.video").node == "7"
    with pytest.raises(InvalidOption, match=r"2 \(SaveVideo\).*--into"):
        Workflow({"2": GRAPH["2"]})


def test_an_editor_file_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / "graph.json"
    path.write_text(json.dumps({"nodes": [], "links": [], "version": 0.4}))
    with pytest.raises(InvalidOption, match=r"graph\.json.*Export \(API\)"):
        Workflow.read(path)
    path.write_text('{"a": 1}')
    with pytest.raises(InvalidOption, match="API format"):
        Workflow.read(path)
    with pytest.raises(InvalidOption, match="can't be read"):
        Workflow.read(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        ("2.filename_prefix=out/a=b", "filename_prefix", "out/a=b"),
        ("SaveVideo.filename_prefix=5", "filename_prefix", 5),
        ('2.filename_prefix="5"', "filename_prefix", "5"),
        ("2.format.codec=null", "format.codec", None),
    ],
)
def test_set_takes_json_or_text(change, name, value):
    workflow = Workflow(GRAPH, changes=[change])
    assert workflow.filled("f")["2"]["inputs"][name] == value
    assert workflow.digest != Workflow(GRAPH).digest


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("2.prefix=1", "filename_prefix"),
        ("9.file=1", r"1 \(Load v1\.0\)"),
        ("2=1", "NODE.INPUT"),
        ("2.format", "no value"),
        ("Load v1.0.file=x", "gets the videos"),
    ],
)
def test_a_wrong_set_says_what_there_is(change, says):
    with pytest.raises(InvalidOption, match=says):
        Workflow(GRAPH, changes=[change])


def test_a_class_that_two_nodes_have_is_no_name():
    with pytest.raises(InvalidOption, match="2, 3"):
        Workflow({**GRAPH, "3": GRAPH["2"]}, changes=["SaveVideo.filename_prefix=x"])


def test_names(tmp_path):
    for name in ("10.mp4", "9.MOV", "a.mkv", "a.mp4", ".hidden.mp4", "note.txt"):
        (tmp_path / name).write_bytes(b"x")
    items = find_videos(tmp_path)
    assert [item.name for item in items] == ["9.MOV", "10.mp4", "a.mkv", "a.mp4"]
    assert [item.stem for item in items] == ["9", "10", "a-mkv", "a-mp4"]
    assert len({item.upload_name for item in items}) == 4
    assert [item.name for item in find_videos(tmp_path, "*.txt")] == ["note.txt"]
    assert distinct_stems([Path("A.mp4"), Path("a.mov"), Path("a-mov.avi")]) == ["A-mp4", "a-mov-2", "a-mov"]
    assert result_names("a", [("9", "x_1.webm")]) == ["a.webm"]
    assert result_names("a", [("9", "x.png"), ("9", "y.png"), ("4:2", "z.mp4")]) == [
        "a-9-1.png",
        "a-9-2.png",
        "a-4_2-1.mp4",
    ]
    with pytest.raises(InvalidOption, match="no video"):
        find_videos(tmp_path, "*.flv")


def _accept(journal: Journal, item, content: bytes, name: str) -> list[str]:
    part = journal.folder / "part"
    part.write_bytes(content)
    return journal.accept(item, "digest", [(part, name)])


def test_the_journal_knows_what_still_holds(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"a")
    (tmp_path / "b.mp4").write_bytes(b"b")
    first, second = find_videos(tmp_path)
    journal = Journal(tmp_path / "out")
    assert _accept(journal, first, b"result", "a.mp4") == ["a.mp4"]
    assert _accept(journal, second, b"other", "a.mp4") == ["a-2.mp4"]  # not over another video's result
    assert _accept(journal, first, b"result", "a.mp4") == ["a.mp4"]  # but over its own

    with (journal.folder / NAME).open("a") as file:
        file.write('{"input": {"name": "a.mp4"')  # a crash
    again = Journal(tmp_path / "out")
    assert again.done(first, "digest") and again.done(second, "digest")
    assert not again.done(first, "another")
    _accept(again, second, b"newer", "b.mp4")
    assert Journal(tmp_path / "out").done(second, "digest")["outputs"] == [{"name": "b.mp4", "size": 5}]

    (tmp_path / "out" / "a.mp4").unlink()
    assert not again.done(first, "digest")
    (tmp_path / "b.mp4").write_bytes(b"changed")
    assert not again.done(find_videos(tmp_path)[1], "digest")


def test_saved_files_come_before_previews():
    saved = {"filename": "a.mp4", "subfolder": "video", "type": "output"}
    preview = {"filename": "p.png", "subfolder": "", "type": "temp"}
    outputs = {"3": {"images": [preview]}, "9": {"gifs": [saved], "images": [saved], "text": ["x"]}}
    entry = {"status": {"status_str": "success", "messages": []}, "outputs": outputs}
    assert outputs_of(entry) == [("9", saved)]
    del entry["outputs"]["9"]
    assert outputs_of(entry) == [("3", preview)]
    with pytest.raises(WorkflowFailed, match="no file"):
        outputs_of({"outputs": {}})


def test_a_refusal_names_node_and_reason():
    errors = {"1": {"class_type": "LoadVideo", "errors": [{"message": "Bad", "details": "x.mp4"}]}}
    assert refusal({"node_errors": errors, "error": {"message": "all"}}) == "LoadVideo (node 1): Bad: x.mp4"
    assert refusal({"error": {"message": "No prompt", "details": ""}}) == "No prompt"
    assert refusal({"prompt_id": "1", "node_errors": {}}) == ""


def test_progress_of_old_and_new_servers():
    told = []
    watch = Watch(4)
    watch.begin("p", lambda node, share: told.append((node, share)))
    watch.take({"type": "progress", "data": {"prompt_id": "q", "node": "1", "value": 1, "max": 2}})
    assert not told  # somebody else's
    watch.take({"type": "execution_cached", "data": {"prompt_id": "p", "nodes": ["1"]}})
    watch.take({"type": "executing", "data": {"prompt_id": "p", "node": "2"}})
    watch.take({"type": "executing", "data": {"prompt_id": "p", "node": "3"}})
    watch.take({"type": "progress", "data": {"prompt_id": "p", "node": "3", "value": 1, "max": 2}})
    assert told[-1] == ("3", 0.625)
    nodes = {"3": {"value": 3, "max": 4, "state": "running"}}
    watch.take({"type": "progress_state", "data": {"prompt_id": "p", "nodes": nodes}})
    assert told[-1] == ("3", 0.6875) and not watch.ended.is_set()
    watch.take({"type": "execution_success", "data": {"prompt_id": "p"}})
    assert watch.ended.is_set()


def test_addresses():
    assert parse_address("gpu:8188") == ("http://gpu:8188", "http://gpu:8188")
    assert parse_address("https://me:secret@host/comfy/") == ("https://me:secret@host/comfy", "https://host/comfy")
    for wrong in ("ftp://host", "http://", "http://host?token=1", "http://host:port"):
        with pytest.raises(InvalidOption):
            parse_address(wrong)


def test_results_never_go_over_the_videos(tmp_path, capsys):
    (tmp_path / "a.mp4").write_bytes(b"x")
    flow = tmp_path / "flow.json"
    flow.write_text(json.dumps(GRAPH))
    assert main(["run", str(flow), "-i", str(tmp_path), "-o", str(tmp_path)]) == 1
    assert "Name another folder" in capsys.readouterr().err
