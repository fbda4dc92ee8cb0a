"""Each command before its work: a file of the user's is never replaced by accident, whatever the command."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.assets import clip, run_ffmpeg
from tests.paths import REPOSITORY
from tests.tiny import save_tiny_checkpoint
from vividface_core.cli.main import main
from vividface_core.comfy_client.files import find_videos
from vividface_core.comfy_client.journal import Journal

WORKFLOW = REPOSITORY / "workflows" / "api" / "restore_video.api.json"
NO_MODEL = ("--model", "no-such-model")
"""Whatever names it comes as far as the model and no farther."""


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a short video, results and other files of the user's."""
    monkeypatch.chdir(tmp_path)
    run_ffmpeg("-i", clip("franck"), "-frames:v", "3", "-vf", "scale=96:96", "-c:v", "libx264", "in.mp4")
    Path("clips").mkdir()
    Path("clips/a.mp4").write_bytes(Path("in.mp4").read_bytes())
    Path("out.mp4").write_bytes(b"a result")
    Path("link.mp4").symlink_to("in.mp4")
    os.link("in.mp4", "hard.mp4")
    Path("flow.json").write_bytes(WORKFLOW.read_bytes())
    Path("notes.txt").write_text("mine")
    Path("picture.png").write_bytes(clip("franck").read_bytes()[:64])
    return tmp_path


WRITERS = [
    # restore
    ("restore in.mp4 -o in.mp4", "the input itself"),
    ("restore in.mp4 -o link.mp4 --overwrite", "the input itself"),
    ("restore in.mp4 -o hard.mp4 --overwrite", "the input itself"),
    ("restore in.mp4 -o new.mp4 --side-by-side in.mp4 --overwrite", "the input itself"),
    ("restore in.mp4 -o new.mp4 --side-by-side new.mp4", "--output too"),
    ("restore in.mp4 -o new.mp4 --side-by-side hard.mp4", "the input itself"),
    ("restore in.mp4 -o new.mp4 --side-by-side out.mp4", "out.mp4 exists already"),
    ("restore in.mp4 -o new.mp4 --side-by-side side.txt", ".mp4"),
    ("restore in.mp4 -o new.mp4 --side-by-side no/side.mp4", "does not exist"),
    ("restore in.mp4 -o out.mp4", "out.mp4 exists already"),
    ("restore in.mp4 -o out.mp4 --resume", "nothing to resume"),
    ("restore in.mp4 -o new.txt", "new.txt"),
    ("restore clips -o clips/a.mp4 --overwrite", "clips"),
    # degrade
    ("degrade in.mp4 -o hard.mp4 --overwrite", "the input itself"),
    ("degrade in.mp4 -o out.mp4", "out.mp4 exists already"),
    ("degrade clips -o clips", "the input"),
    # metrics
    ("metrics in.mp4 --json hard.mp4 --overwrite", "a clip itself"),
    ("metrics in.mp4 --json notes.txt", "notes.txt exists already"),
    ("metrics in.mp4 --json r --csv r", "--json too"),
    ("metrics in.mp4 --html new.mp4", "another kind"),
    # score
    ("score in.mp4 --judge technical --json link.mp4 --overwrite", "a clip itself"),
    ("score in.mp4 --judge technical --json flow.json", "flow.json exists already"),
    ("score in.mp4 --judge technical --jsonl notes.txt", "holds no judged videos"),
    ("score in.mp4 --judge technical --jsonl flow.json", "holds no judged videos"),
    # run
    ("run flow.json -i clips -o done --report flow.json --overwrite", "the workflow itself"),
    ("run flow.json -i clips -o done --report clips/a.mp4 --overwrite", "clips/a.mp4"),
    ("run flow.json -i clips -o done --report notes.txt", "notes.txt exists already"),
    # models
    ("models convert --dit in.mp4 -o in.mp4 --vae out.mp4 --prompt out.mp4", "in.mp4"),
    ("models convert --dit dit.safetensors -o dit.safetensors --overwrite", "--dit itself"),
]


@pytest.mark.parametrize("words, told", WRITERS, ids=[words for words, _ in WRITERS])
def test_nothing_is_lost_and_nothing_is_written(place, words, told, capsys):
    Path("dit.safetensors").write_bytes(b"weights")
    before = content(place)
    arguments = words.split()
    more = NO_MODEL if arguments[0] == "restore" else ()
    assert main([*arguments, *more]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith("vividface: ") and told in said[0], said
    assert content(place) == before


def test_the_sidecar_of_a_degradation_counts_as_a_file_of_the_users(place, capsys):
    Path("new.mp4.degradation.json").write_text("mine")
    assert main(["degrade", "in.mp4", "-o", "new.mp4", "--quiet"]) == 1
    assert "new.mp4.degradation.json exists already" in capsys.readouterr().err
    assert Path("new.mp4.degradation.json").read_text() == "mine" and not Path("new.mp4").exists()
    assert main(["degrade", "in.mp4", "-o", "new.mp4", "--quiet", "--overwrite"]) == 0
    assert json.loads(Path("new.mp4.degradation.json").read_text())["vividface_degradation"]["frames"] == 3


def test_a_checkpoint_folder_keeps_what_is_not_of_the_checkpoint(place, tmp_path, capsys):
    old, made = save_tiny_checkpoint(tmp_path / "old"), save_tiny_checkpoint(tmp_path / "made")
    (made / "README.md").write_text("my notes")
    (made / "vae" / "notes").mkdir()
    (made / "vae" / "notes" / "a.txt").write_text("mine too")
    words = [
        "models",
        "convert",
        "--dit",
        f"{old / 'transformer'}",
        "--vae",
        f"{old / 'vae'}",
        "--prompt",
        f"{old / 'empty_prompt.safetensors'}",
        "-o",
        str(made),
        "--dtype",
        "fp32",
    ]
    assert main(words) == 1 and "exists already" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    assert (made / "README.md").read_text() == "my notes" and (made / "vae" / "notes" / "a.txt").exists()
    assert json.loads((made / "vividface.json").read_text())["made_of"]["dit"] == "transformer"
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]
    inside = [*words[:-4], "-o", str(old), "--overwrite"]
    assert main(inside) == 1 and "is cleared for" in capsys.readouterr().err


def test_a_benchmark_leaves_other_files_alone(place, capsys):
    Path("results").mkdir()
    Path("results/tables.md").write_text("mine")
    assert main(["bench", "folder", "clips", "-o", "results", "--only", "psnr", "--quiet"]) == 1
    assert "is of no benchmark" in capsys.readouterr().err and Path("results/tables.md").read_text() == "mine"
    Path("bench/degraded").mkdir(parents=True)
    Path("bench/degraded/a.mkv").write_bytes(Path("in.mp4").read_bytes())
    assert main(["bench", "folder", "bench/degraded", "-o", "bench", "--only", "psnr", "--quiet"]) == 1
    assert "a clip itself" in capsys.readouterr().err


def test_results_of_a_batch_take_another_name_beside_a_file_of_the_users(place):
    """The journal gives names: never that of a file that no run has made."""
    Path("done").mkdir()
    Path("done/a.mp4").write_text("mine")
    item = find_videos(Path("clips"))[0]
    for _ in range(2):  # a later run replaces its own result, not the user's
        journal = Journal(Path("done"))
        Path("done/.part").write_text("result")
        assert journal.accept(item, "digest", [(Path("done/.part"), "a.mp4")]) == ["a-2.mp4"]
    assert Path("done/a.mp4").read_text() == "mine" and Path("done/a-2.mp4").read_text() == "result"
    assert journal.done(item, "digest")


@pytest.mark.parametrize("answer, code", [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_on_a_terminal_the_user_is_asked(place, answer, code):
    mine, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "vividface_core.cli.main", "degrade", "in.mp4", "-o", "out.mp4", "--quiet"],
            stdin=theirs,
            stderr=theirs,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        os.write(mine, answer.encode())
        process.communicate(timeout=300)
        asked = os.read(mine, 10000).decode()
    finally:
        os.close(mine)
        os.close(theirs)
    assert "out.mp4 exists already. Replace it? [y/N]" in asked
    assert process.returncode == code
    assert (Path("out.mp4").read_bytes() == b"a result") == (code == 1)
