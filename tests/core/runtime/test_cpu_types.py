"""Short number types on processors: flags as Linux tells them of real machines."""

from __future__ import annotations

import platform

import pytest
import torch

from vividface_core.runtime.cpu_types import cpu_flags, emulation_notice, is_emulated

SKYLAKE = "fpu sse2 ssse3 fma sse4_1 sse4_2 avx f16c avx2 avx512f avx512dq avx512cd avx512bw avx512vl".split()
ZEN_4 = [*SKYLAKE, "avx512_bf16", "avx512_vnni"]
SAPPHIRE_RAPIDS = [*ZEN_4, "avx512_fp16", "amx_bf16", "amx_tile"]
RASPBERRY_5 = "fp asimd evtstrm aes crc32 atomics fphp asimdhp cpuid".split()
GRAVITON_3 = [*RASPBERRY_5, "sve", "svebf16", "i8mm", "bf16"]


@pytest.mark.parametrize(
    "flags, bf16, fp16",
    [
        (SKYLAKE, True, True),
        (ZEN_4, False, True),
        (SAPPHIRE_RAPIDS, False, False),
        (RASPBERRY_5, True, False),
        (GRAVITON_3, False, False),
        ([], False, False),
    ],
)
def test_what_is_emulated(flags, bf16, fp16):
    assert is_emulated(torch.bfloat16, flags) == bf16
    assert is_emulated(torch.float16, flags) == fp16
    assert not is_emulated(torch.float32, flags) and not is_emulated(None, flags)


@pytest.mark.skipif(not hasattr(torch.cpu, "_is_avx512_bf16_supported"), reason="this torch doesn't tell")
@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="torch tells it of x86 only")
def test_this_processor_as_torch_sees_it():
    native = torch.cpu._is_avx512_bf16_supported()
    assert not (native and is_emulated(torch.bfloat16, cpu_flags()))
    told = emulation_notice(torch.bfloat16, "cpu")
    assert (told is None) == (not is_emulated(torch.bfloat16, cpu_flags()))
    assert emulation_notice(torch.bfloat16, "cuda") is None and emulation_notice(torch.float32, "cpu") is None
