"""The command line, run in this process: one of its own takes seconds, which only few tests need."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from vividface_core.cli.main import main


@dataclass(frozen=True)
class Ended:
    """A command that has ended: what :class:`subprocess.CompletedProcess` tells, too."""

    returncode: int
    stdout: str
    stderr: str


def vividface(*words: object) -> Ended:
    """``vividface WORDS…``; an error that is no sentence of the program's own is raised."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = main(list(map(str, words)))
        except SystemExit as end:  # argparse
            status = int(end.code or 0)
    return Ended(status, out.getvalue(), err.getvalue())


def in_a_process(*words: object, **environment: str) -> subprocess.CompletedProcess:
    """The same in a process of its own: for memory, signals, and what is read once for all from the environment."""
    command = [sys.executable, "-m", "vividface_core.cli.main", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def one_sentence(run: Ended | subprocess.CompletedProcess, *words: str) -> None:
    """The last line is the program's own, tells the words, and no traceback is shown."""
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr
    line = run.stderr.strip().splitlines()[-1]
    assert line.startswith("vividface: ")
    for word in words:
        assert word in line, line
