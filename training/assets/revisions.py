"""Files of the repository as they were."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

from vividface_core.errors import InvalidOption


def unpack(revision: str, folder: Path, repository: Path, paths: Iterable[str] = ()) -> None:
    """Write the files of a revision below ``folder``, which is made if missing.

    Args:
        paths: files or folders; none: all.

    Raises:
        InvalidOption: the history doesn't reach back to it, or it has no such path.
    """
    run = subprocess.run(["git", "-C", str(repository), "archive", revision, *paths], capture_output=True)
    if run.returncode:
        said = run.stderr.decode(errors="replace").strip()
        raise InvalidOption(f"{revision} isn't in the history here ({said}); it needs a full clone.")
    with tarfile.open(fileobj=io.BytesIO(run.stdout)) as archive:
        archive.extractall(folder, filter="data")
