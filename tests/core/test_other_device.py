"""The engine and the trainer on a device beside the CPU, each in a process of its own: torch then believes that it has
an accelerator, and everything else in the process with it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("checks", ["tests/core/check_other_device.py", "tests/training/check_stages.py"])
def test_nothing_stays_behind_on_the_cpu(checks, request):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", checks]
    # Options of the run around it may leave out the line that is looked for.
    environment = {key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"}
    run = subprocess.run(command, capture_output=True, text=True, cwd=request.config.rootpath, env=environment)
    assert run.returncode == 0, run.stdout[-4000:]
    assert " passed" in run.stdout
