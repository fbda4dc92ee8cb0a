"""Memory of a pass of the 1.3B denoiser beside its weights: ``python -m benchmarks.denoiser_memory [--clip TxHxW]``.

Its blocks work one after the other in the same memory, so the first of the 30 stands for all of them. Prints bytes:
measured, and as the engine estimates them beforehand. On a CPU, by the process's own peak.
"""

from __future__ import annotations

import argparse
import gc

import psutil
import torch

from tests.full_size import true_prompt, true_transformer
from vividface_core.progress import peak_memory
from vividface_core.wan.folded import FoldedDenoiser
from vividface_core.wan.memory import denoiser_bytes
from vividface_core.wan.transformer import cast

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@torch.inference_mode()
def measure(dtype: torch.dtype, frames: int, height: int, width: int) -> tuple[int, int]:
    """Bytes measured and estimated for a clip of so many pixels.

    Raises:
        RuntimeError: the clip is so small that making the denoiser takes more than running it.
    """
    denoiser = FoldedDenoiser(true_transformer(dtype, layers=1), true_prompt())
    cast(denoiser, dtype)
    denoiser(torch.rand(1, 16, 1, 4, 4))
    gc.collect()
    before, peak = psutil.Process().memory_info().rss, peak_memory()
    size = 1 + (frames - 1) // 4, height // 8, width // 8
    denoiser(torch.rand(1, 16, *size))
    if peak_memory() <= peak:
        raise RuntimeError("Building the denoiser took more memory than running it: take a larger clip.")
    return peak_memory() - before, denoiser_bytes(denoiser.config, *size, dtype.itemsize, plain=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", default="33x512x512", metavar="TxHxW", help="frames, height and width in pixels")
    parser.add_argument("--dtype", choices=TYPES, default="bf16")
    args = parser.parse_args()
    measured, estimated = measure(TYPES[args.dtype], *map(int, args.clip.split("x")))
    print(f"{args.clip} {args.dtype}: measured {measured}, estimated {estimated}")


if __name__ == "__main__":
    main()
