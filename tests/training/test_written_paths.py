"""The trainer's commands before their work: nothing is written over what is read, or over somebody's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from training import evaluate, export, prepare
from training.data.shards import ShardWriter
from training.evaluation.report import write_between
from vividface_core.errors import InvalidOption


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_not_exported_over_itself(tiny_checkpoint, tmp_path, capsys):
    before = content(tiny_checkpoint)
    (tmp_path / "link").symlink_to(tiny_checkpoint)
    card = tmp_path / "card.json"
    card.write_text("{}")
    for words, told in (
        ([str(tiny_checkpoint), str(tiny_checkpoint), "--overwrite"], "the model itself"),
        ([str(tiny_checkpoint), str(tmp_path / "link"), "--overwrite"], "the model itself"),
        ([str(tiny_checkpoint), str(tmp_path / "o"), "--original", str(tiny_checkpoint)], "the model itself"),
        ([str(tiny_checkpoint), str(card), "--card", str(card)], "--card itself"),
    ):
        assert export.main(words) == 1
        assert told in capsys.readouterr().err
    assert content(tiny_checkpoint) == before and card.read_text() == "{}" and not (tmp_path / "o").exists()


def test_an_exported_folder_is_replaced_only_when_wished(tiny_checkpoint, tmp_path, capsys):
    words = [str(tiny_checkpoint), str(tmp_path / "out"), "--dtype", "fp32"]
    assert export.main(words) == 0
    (tmp_path / "out" / "README.md").write_text("edited by hand")
    assert export.main(words) == 1 and "exists already" in capsys.readouterr().err
    assert (tmp_path / "out" / "README.md").read_text() == "edited by hand"
    assert export.main([*words, "--overwrite"]) == 0


@pytest.mark.parametrize(
    "words, told",
    [
        (["--json", "page.md", "--table", "page.md"], "--table too"),
        (["--table", "page.md"], "<!-- table -->"),
        (["--levels", "--table", "nowhere.md"], "nowhere.md"),
        (["--json", "no/found.json"], "does not exist"),
        (["--json", "clip.mp4"], "another kind"),
        (["--model", "page.md", "--json", "page.md"], "--model itself"),
    ],
)
def test_an_evaluation_says_before_it_begins_what_it_cant_write(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("page.md").write_text("# Mine\n<!-- table -->\nand no end")
    Path("clip.mp4").write_text("x")
    before = content(tmp_path)
    assert evaluate.main(words) == 1
    assert told in capsys.readouterr().err and content(tmp_path) == before


def test_a_page_without_its_markers_stays_whole(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("head\n<!-- table -->\nold\n<!-- /table -->\ntail\n", encoding="utf-8")
    write_between(page, "table", "new")
    assert page.read_text() == "head\n<!-- table -->\nnew\n<!-- /table -->\ntail\n"
    page.write_text("head\n<!-- table -->\nthe rest of a page")
    with pytest.raises(InvalidOption, match="table"):
        write_between(page, "table", "new")
    assert page.read_text() == "head\n<!-- table -->\nthe rest of a page"


def test_samples_go_into_a_folder_of_their_own(tmp_path, capsys):
    films = tmp_path / "films"
    films.mkdir()
    (films / "a.mp4").write_bytes(b"a film")
    before = content(tmp_path)
    assert prepare.main([str(films), "--out", str(films)]) == 1
    assert "other files and no samples" in capsys.readouterr().err
    assert content(tmp_path) == before
    (tmp_path / "manifest.jsonl").write_text("")
    with pytest.raises(InvalidOption, match="other files"):
        ShardWriter(tmp_path, {})
    killed = tmp_path / "killed"
    killed.mkdir()
    (killed / "00000.safetensors").write_bytes(b"")
    (killed / ".00001.safetensors.partial").write_bytes(b"")
    ShardWriter(killed, {})
