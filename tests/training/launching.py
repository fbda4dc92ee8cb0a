"""Training through Accelerate's launcher, as a user starts it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.paths import REPOSITORY


def launch_command(config: Path, *changes: str, processes: int = 1) -> list[str]:
    """``accelerate launch`` on the CPU; several processes talk through gloo."""
    return [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        # With --cpu the launcher starts one process whatever their number.
        "--cpu" if processes == 1 else "--multi_gpu",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--num_processes",
        str(processes),
        "--num_cpu_threads_per_process",
        "1",
        "--main_process_port",
        "0",
        "-m",
        "training.train",
        str(config),
        *changes,
    ]


def launch(config: Path, *changes: str, processes: int = 1, **options) -> subprocess.CompletedProcess:
    """Train to the end."""
    command = launch_command(config, *changes, processes=processes)
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=500, **options)
    assert run.returncode == 0, run.stderr[-3000:]
    return run


def processes_of(run: Path) -> int:
    """How many took part, by the random states that each of them leaves in the newest state."""
    return len(list(sorted((run / "states").iterdir())[-1].glob("random_states_*.pkl")))
