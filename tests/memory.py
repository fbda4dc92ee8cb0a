"""What a process holds, apart from what its allocator keeps for later."""

from __future__ import annotations

NOTHING_KEPT = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(128 * 1024)}
"""Variables for a process whose memory is measured: glibc gives back what is freed. Else its peak differs by 80 MB from
run to run. Slower."""
