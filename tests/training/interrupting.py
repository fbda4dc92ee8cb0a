"""Runs that are stopped midway."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from training.config import load_config
from training.stages.registry import make_stage
from training.trainer.log import read_curve
from training.trainer.loop import Trainer
from vividface_core.errors import Interrupted


def interrupted_after(path: Path, steps: int) -> None:
    """Run a configuration, and ask it to stop in this step."""
    config = load_config(path)
    trainer = Trainer(config, make_stage(config))
    counted = trainer.stage.begin_step

    def begin(step: int) -> None:
        counted(step)
        if step == steps:
            signal.raise_signal(signal.SIGTERM)

    trainer.stage.begin_step = begin
    with pytest.raises(Interrupted):
        trainer.run()


def same_logs(one: Path, other: Path) -> None:
    """Two runs have logged the same but for the time that they took."""
    logs = [read_curve(folder / "log.jsonl") for folder in (one, other)]
    for entry in logs[0] + logs[1]:
        entry.pop("seconds", None)
    assert logs[0] == logs[1] and logs[0]
