"""A part of the table of odd inputs and of the damaged files, through the command itself; the whole of both is run by
``python -m benchmarks.odd_inputs``."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from benchmarks.odd_inputs import fuzz
from benchmarks.odd_inputs.run import run_row
from benchmarks.odd_inputs.table import ROWS, table
from benchmarks.odd_inputs.worker import Outcome
from vividface_core.cli.main import main

QUICK = [
    "output = a link to the input",
    "output is a FIFO",
    "a report called like a video",
    "a FIFO called weights",
    "a web page saved as a checkpoint",
    "a line break",
    "a name that is no Unicode",
    "ffconcat called .mp4",
    "a FIFO among pictures",
    "a Matroska file called .mp4",
    "a workflow with comments",
    "80 % of a JPEG",
    "VP9 into H.264",
    "mirrored",
    "animated PNG in a folder of pictures",
    "a picture with a colour profile",
    "subtitles into mp4",
    "a variable rate into AVI",
    "matrix ictcp",
    "1 pixel",
]
"""One or two of each section."""


class Here:
    """Runs commands in this process."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured

    def run(self, words: list[str], folder: Path) -> Outcome:
        began, before = time.monotonic(), os.getcwd()
        os.chdir(folder)
        self._captured.readouterr()
        try:
            status = main(words)
        finally:
            os.chdir(before)
        said = self._captured.readouterr()
        return Outcome(status, said.out, said.err, time.monotonic() - began)


def test_the_table_is_long_and_without_doubles() -> None:
    names = [(row.kind, row.what) for row in ROWS]
    assert len(names) == len(set(names)) > 150
    commands = {row.words.split()[0] for row in ROWS}
    assert commands >= {"R", "restore", "degrade", "metrics", "run", "models", "score", "bench"}


@pytest.mark.parametrize("what", QUICK)
def test_a_row(what: str, tiny_checkpoint: Path, tmp_path: Path, capfd) -> None:
    (row,) = [row for row in ROWS if row.what == what]
    finding = run_row(row, tmp_path / "row", tiny_checkpoint, Here(capfd))
    assert not finding.wrong and not finding.lost
    assert "0 tracebacks, 0 lost files, 0 not as they should be" in table([finding])


@pytest.mark.parametrize("suffix", fuzz.CONTAINERS)
def test_damaged_files_end_with_a_result_or_a_sentence(
    suffix: str, tiny_checkpoint: Path, tmp_path: Path, capfd
) -> None:
    whole = fuzz.sources(tmp_path, [suffix])[suffix]
    chosen = [damage for damage in fuzz.damages() if damage.suffix == suffix][2:9:3]
    for damage in chosen:
        assert damage.of(whole) == damage.of(whole) != whole
        ending = fuzz.run_one(damage, whole, tmp_path, tiny_checkpoint, Here(capfd))
        assert not ending.wrong, (str(damage), ending.wrong)
