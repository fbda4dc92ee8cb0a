"""CONTRIBUTING.md is followed to the letter in a copy of the engine: one file a metric, a preset of either kind."""

from __future__ import annotations

import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.core.video.work import make
from tests.paths import REPOSITORY
from vividface_core.degrade.files import read_record

PAGE = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")


def section(title: str) -> tuple[str, str]:
    """The file that a section of the page names first, and its code."""
    text = re.search(rf"^## {title}\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)[1]
    return re.search(r"`(vividface_core/[\w/]+\.\w+)`", text)[1], re.search(r"```\w+\n(.*?)```", text, re.DOTALL)[1]


def insert(copy: Path, file: str, code: str, before: str) -> None:
    path = copy / file
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{file} has one place to put it"
    path.write_text(text.replace(before, code + before), encoding="utf-8")


def changed(copy: Path) -> list[str]:
    """Files of the copy that aren't those of the repository."""
    files = [path.relative_to(copy) for path in copy.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return [str(f) for f in files if not (REPOSITORY / f).exists() or not filecmp.cmp(copy / f, REPOSITORY / f, False)]


def vividface(copy: Path, *arguments: object) -> str:
    """What the copy's command prints."""
    command = [sys.executable, "-m", "vividface_core.cli.main", *map(str, arguments)]
    where = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run(command, cwd=copy, env=where, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def copy(tmp_path) -> Path:
    shutil.copytree(
        REPOSITORY / "vividface_core", tmp_path / "vividface_core", ignore=shutil.ignore_patterns("__pycache__")
    )
    assert changed(tmp_path) == []
    return tmp_path


def test_a_metric_is_one_file(copy):
    file, code = section("A metric")
    measure, entry = code.split("ENTRIES = (\n")
    insert(copy, file, measure, before="ENTRIES = (\n")
    insert(copy, file, entry.rsplit(")\n", 1)[0], before='    Metric(\n        "psnr",')
    assert changed(copy) == [file]

    clip = make(copy / "clip.mp4", size="64x64", seconds=0.25)
    vividface(copy, "metrics", clip, "--reference", clip, "--only", "mae", "--json", copy / "told.json")
    told = json.loads((copy / "told.json").read_text(encoding="utf-8"))
    assert told["set"]["mae"]["value"] == 0
    assert "mae" in vividface(copy, "metrics", "--list")


def test_presets_are_one_file_each(copy):
    file, code = section("A degradation preset")
    insert(copy, file, code, before="        REAL_WORLD,\n")
    coding, text = section("A codec preset")
    insert(copy, coding, text, before='    "h264": {\n')
    assert sorted(changed(copy)) == sorted([file, coding])

    clip = make(copy / "clip.mp4", size="64x64", seconds=0.25)
    assert "old_phone" in vividface(copy, "degrade", "--list-presets")
    vividface(copy, "degrade", clip, "-o", copy / "out.mp4", "--preset", "old_phone", "--seed", 3)
    record = read_record(copy / "out.mp4")
    assert record is not None and record["preset"] == "old_phone"

    assert "h264_draft" in vividface(copy, "restore", "--help")
    program = (
        "import sys\n"
        "from vividface_core.video.reader import VideoReader\n"
        "from vividface_core.video.writer import VideoWriter, part_suffix\n"
        "with VideoReader(sys.argv[1]) as reader:\n"
        "    with VideoWriter('part' + part_suffix('h264_draft'), reader.info, 'h264_draft') as writer:\n"
        "        for frame in reader:\n"
        "            writer.write(frame)\n"
        "print(writer.frames)\n"
    )
    where = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run([sys.executable, "-c", program, clip], cwd=copy, env=where, capture_output=True, text=True)
    assert done.stdout.strip() == "6", done.stderr
