"""What is freed is used again by programs that ask for it, and goes back to the system on demand."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from vividface_core.runtime.allocator import ALLOCATING

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's allocator")
MEASURE = """
import resource, sys
import torch
from vividface_core.runtime.allocator import reuse_memory, trim_memory

def pages():
    return int(open("/proc/self/statm").read().split()[1])

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "reuse":
    reuse_memory()
for _ in range(20):  # until the places have settled
    torch.ones(16 << 20)
before = faults()
for _ in range(10):
    torch.ones(16 << 20)  # 64 MiB
seen = faults() - before
kept = pages()
trim_memory()
print(seen, kept - pages())
"""


def measured(way: str, **environment: str) -> tuple[int, int]:
    """Page faults of ten tensors of 64 MiB one after the other, and the pages that trimming returns."""
    plain = {name: value for name, value in os.environ.items() if name not in ALLOCATING}
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, way], env={**plain, **environment}, capture_output=True, text=True, check=True
    )
    seen, returned = run.stdout.split()
    return int(seen), int(returned)


@glibc
def test_freed_memory_is_used_again_and_returned_on_demand():
    fetched, _ = measured("default")
    reused, returned = measured("reuse")
    # Whatever the size of a page: ten times all of them, or hardly any.
    assert fetched > 10 * 64 and reused < fetched / 20
    assert returned * os.sysconf("SC_PAGE_SIZE") > 32 << 20


@glibc
def test_what_the_user_says_of_the_allocator_holds():
    fetched, _ = measured("reuse", MALLOC_MMAP_THRESHOLD_="1048576")
    assert fetched > 10 * 64
