"""How fast a restorer is and what memory it takes, by size: ``python -m benchmarks.restore_speed [--model NAME]``.

Every size runs in a process of its own, so that its peak memory is its own. A clip of ``--frames`` frames in memory is
restored to frames in memory: once to warm up, then ``--runs`` times; the median counts. ``--json FILE`` keeps the
figures, ``--table FILE`` puts them between the ``speed`` markers of a Markdown file.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

SIZES = (128, 256, 384, 512)


def measure(model: str, size: int, frames: int, runs: int, device: str, dtype: str) -> dict[str, float]:
    """Seconds a clip, frames a second and peak memory of this process in MiB."""
    import torch

    from vividface_core.runtime.allocator import reuse_memory
    from vividface_core.runtime.devices import pick_device, pick_dtype
    from vividface_core.runtime.memory import peak_memory
    from vividface_core.weights import load_restorer

    reuse_memory()  # as the command line does
    at = pick_device(device)
    restorer = load_restorer(model, device=at, dtype=pick_dtype(dtype))
    frames = frames or restorer.native_frames
    clip = torch.rand(frames, 3, size, size)
    seconds = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        restorer.restore(clip)
        if at.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    median = statistics.median(seconds[1:])
    memory = torch.cuda.max_memory_allocated() if at.type == "cuda" else peak_memory()
    return {
        "size": size,
        "frames": frames,
        "seconds": median,
        "rate": frames / median,
        "memory": memory / 2**20,
        "threads": torch.get_num_threads(),
    }


def table(rows: list[dict[str, float]]) -> str:
    """The rows as Markdown."""
    lines = ["| size | frames | s a clip | frames/s | peak memory |", "|" + "---|" * 5]
    for row in rows:
        lines.append(
            f"| {row['size']}×{row['size']} | {row['frames']} | {row['seconds']:.2f} | {row['rate']:.1f} "
            f"| {row['memory'] / 1024:.2f} GiB |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vividface-nano")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--frames", type=int, default=0, help="of the clip; 0: a window of the model's own length")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto", help="auto, fp32, bf16 or fp16")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.model, args.one, args.frames, args.runs, args.device, args.dtype)))
        return
    rows = []
    for size in args.sizes:
        command = [
            sys.executable,
            "-m",
            "benchmarks.restore_speed",
            "--one",
            str(size),
            "--model",
            args.model,
            "--frames",
            str(args.frames),
            "--runs",
            str(args.runs),
            "--device",
            args.device,
            "--dtype",
            args.dtype,
        ]
        rows.append(json.loads(subprocess.check_output(command, text=True).splitlines()[-1]))
        print(table(rows[-1:]).splitlines()[-1], flush=True)
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps({"machine": platform.machine(), "rows": rows}, indent=1) + "\n")
    if args.table:
        from training.evaluation.report import write_between

        write_between(args.table, "speed", table(rows))


if __name__ == "__main__":
    main()
