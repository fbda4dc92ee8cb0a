"""States of a run on disk: whole ones only, the newest few."""

from __future__ import annotations

import shutil
from pathlib import Path

from accelerate import Accelerator


class Checkpoints:
    """Numbered folders of ``Accelerator.save_state``: net, optimizer, schedule, averaged weights, chance, step.

    A state is written under a temporary name and renamed when every process has finished.
    """

    def __init__(self, accelerator: Accelerator, folder: Path, keep: int) -> None:
        self._accelerator, self.folder, self._keep = accelerator, folder, keep

    def all(self) -> list[Path]:
        """The whole states, oldest first."""
        return sorted(path for path in self.folder.glob("[0-9]*") if path.is_dir() and path.suffix != ".partial")

    def resume(self) -> bool:
        """Load the newest state; ``False`` where there is none."""
        states = self.all()
        if states:
            self._accelerator.load_state(str(states[-1]))
        return bool(states)

    def save(self, step: int) -> Path:
        """Write the state after ``step`` steps; older ones than the last ``keep`` are removed."""
        path = self.folder / f"{step:08d}"
        partial = path.with_suffix(".partial")
        lead = self._accelerator.is_main_process
        if lead:
            shutil.rmtree(partial, ignore_errors=True)
        self._accelerator.wait_for_everyone()
        self._accelerator.save_state(str(partial))
        self._accelerator.wait_for_everyone()
        if lead:
            if path.exists():
                shutil.rmtree(path)
            partial.rename(path)
            for old in self.all()[: -self._keep]:
                shutil.rmtree(old)
        self._accelerator.wait_for_everyone()
        return path
