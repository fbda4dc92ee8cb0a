"""What a process holds, apart from what its allocator keeps for later."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.paths import REPOSITORY

NOTHING_KEPT = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(128 * 1024)}
"""Variables for a process whose memory is measured: glibc gives back what is freed. Else its peak differs by 80 MB from
run to run. Slower."""


def numbers_of(program: str, *arguments: object) -> list[int]:
    """The whole numbers of the last line that a Python program prints in a process of its own that keeps no freed
    memory: peaks that it measured."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    out = subprocess.check_output(command, text=True, cwd=REPOSITORY, env={**os.environ, **NOTHING_KEPT})
    return [int(word) for word in out.splitlines()[-1].split()]
