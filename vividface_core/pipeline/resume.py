"""The state of a run on disk: finished shots and records, so that an interrupted run can be resumed.

Beside an output ``face.mp4`` lies ``.face.mp4.vividface/`` while the run is under way. It holds ``job.json`` (what
was asked for), the analysis, and one part a shot. A part that is being written has another name than a finished one,
so a kill at any moment leaves only whole parts behind.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from vividface_core.errors import AnotherRun, UnwritableVideo
from vividface_core.io.file_names import beside

FORMAT = 1


def work_folder(output: Path) -> Path:
    """Where the work of a run lies until it is done."""
    return beside(output, before=".", after=".vividface")


class RunState:
    """A run's work folder.

    Args:
        output: the final file or folder.
        request: everything that decides the result (input, model, options), as JSON values.
        resume: go on with what an interrupted run left; without it any left-over is cleared.

    Raises:
        AnotherRun: the left-over belongs to a different request; says what differs.
        UnwritableVideo: the output's folder is missing or can't be written.
    """

    def __init__(self, output: Path, request: dict[str, Any], *, resume: bool = False) -> None:
        self.folder = work_folder(output)
        self.resumed = False
        request = json.loads(json.dumps({"format": FORMAT, **request}))
        record = self.folder / "job.json"
        if record.exists() and resume:
            self._check_same(json.loads(record.read_text()), request)
            self.resumed = True
            return
        try:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=False)
        except OSError as error:
            raise UnwritableVideo(
                f"Can't write into {output.parent}: {error.strerror}. Choose an existing folder with write access."
            ) from error
        self.write_json("job.json", request)

    def _check_same(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        if changed:
            details = "; ".join(f"{key}: {before.get(key)!r} then, {now.get(key)!r} now" for key in changed)
            raise AnotherRun(
                f"The interrupted run in {self.folder} can't be resumed, because it was asked for something else "
                f"({details}). Use the same options, or leave out --resume to start anew."
            )

    def read_json(self, name: str) -> Any | None:
        """A stored record; ``None`` if there is none."""
        path = self.folder / name
        return json.loads(path.read_text()) if path.exists() else None

    def write_json(self, name: str, value: Any) -> None:
        """Store a record atomically."""
        scratch = self.folder / f"{name}.partial"
        scratch.write_text(json.dumps(value))
        scratch.replace(self.folder / name)

    def part(self, number: int, suffix: str) -> Path:
        """Path of the finished part of shot ``number``."""
        return self.folder / f"part-{number:05d}{suffix}"

    def has_parts(self) -> bool:
        """Whether any shot is finished."""
        return any(self.folder.glob("part-*"))

    def remove(self) -> None:
        """Delete the work folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
