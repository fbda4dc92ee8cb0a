"""A reader that leaves early, as head does, ends no command with an error and no work without its result."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.assets import clip, run_ffmpeg
from tests.paths import REPOSITORY


def unread(*words: object, both: bool = False) -> tuple[int, str]:
    """The command's status and stderr when nobody reads its stdout (or either stream): the pipe is closed before."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "vividface_core.cli.main", *map(str, words)],
            stdout=writer,
            stderr=writer if both else subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
    finally:
        os.close(writer)
    _, errors = process.communicate(timeout=500)
    return process.returncode, errors or ""


@pytest.mark.parametrize(
    "words",
    [
        ["degrade", "--list-presets"],
        ["metrics", "--list"],
        ["models", "list"],
        ["restore", "--help"],
    ],
    ids=" ".join,
)
def test_listings_end_quietly(words):
    assert unread(*words) == (0, "")


def test_work_is_done_though_nobody_listens(tmp_path):
    source, output = tmp_path / "in.mp4", tmp_path / "out.mp4"
    run_ffmpeg("-i", clip("franck"), "-frames:v", "2", "-vf", "scale=64:64", "-c:v", "libx264", source)
    assert unread("degrade", source, "-o", output, both=True)[0] == 0
    assert output.exists()
