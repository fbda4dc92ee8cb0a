"""Which short number types a processor computes in by itself, and which it only emulates."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

NATIVE = {
    torch.bfloat16: {"avx512_bf16", "amx_bf16", "avx10_2", "bf16", "sve_bf16", "svebf16"},
    torch.float16: {"avx512_fp16", "amx_fp16", "avx10_1", "avx10_2", "fphp", "asimdhp", "fp16"},
}
"""Flags of x86 and ARM processors of which one is enough, by type."""
NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16"}
CPUINFO = Path("/proc/cpuinfo")


def cpu_flags() -> frozenset[str]:
    """What the processor can, as Linux tells it, else as torch does; empty: not known."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, flags = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            return frozenset(flags.lower().split())
    told: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return frozenset(str(name).lower() for name, has in told.items() if has is True)


def is_emulated(dtype: torch.dtype | None, flags: Collection[str]) -> bool:
    """Whether a processor with these flags computes in ``dtype`` by way of fp32; false where that isn't known."""
    return bool(flags) and dtype in NATIVE and not NATIVE[dtype] & set(flags)


def emulation_notice(dtype: torch.dtype | None, device: torch.device | str) -> str | None:
    """What the user should know before a computation on the CPU in a type that it emulates; ``None``: nothing."""
    if dtype is None or torch.device(device).type != "cpu" or not is_emulated(dtype, cpu_flags()):
        return None
    # Apple's processors compute in both, and their flags aren't told everywhere.
    if sys.platform == "darwin":
        return None
    return (
        f"This CPU has no instructions for {NAMES[dtype]} and emulates it: that is slower than fp32, not faster, "
        "and less exact. Leave out the type, or choose fp32."
    )
