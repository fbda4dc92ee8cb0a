"""What makes libx264 repeat itself."""

from __future__ import annotations

import torch


def deterministic_x264_params() -> list[str]:
    """Entries of ``x264-params`` with which the same frames give the same bytes on every run.

    x264's AVX-512 code gives other bytes from run to run (seen with libx264 of PyAV 14 to 18); AVX2's are exact. Told
    only where the processor has more than AVX2: a set that it lacks would crash.
    """
    return ["asm=AVX2"] if torch.backends.cpu.get_cpu_capability() == "AVX512" else []
