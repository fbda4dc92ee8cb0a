"""The autoencoder alone, ours beside diffusers' own: ``python -m benchmarks.vae_speed``.

Encodes and decodes random clips of ``--clips`` (frames×height×width) with random weights of Wan 2.1's configuration
(``--config true``) or with the embedded model's (``nano``). Each way and stage is a process of its own, so that its
peak memory is its own; they take turns, ``--runs`` times after one to warm up, and medians count. Peak memory is what a
stage needs beside the weights. ``--tile PIXELS`` adds ours tile by tile; ``--json FILE`` keeps the figures.
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
from typing import Any

from benchmarks.clips import Clip

WAYS = ("diffusers", "ours", "tiles")
STAGES = ("encode", "decode")


def prepare(args: argparse.Namespace) -> Any:
    """What the process of one way and stage does each time; ``args.one`` is the pair."""
    import torch

    from vividface_core.runtime.devices import pick_device, pick_dtype
    from vividface_core.wan.fast_vae.streams import FastDecoder, FastEncoder, decoded
    from vividface_core.wan.vae import after_first, latent_frames, spatial_ratio, temporal_ratio

    way, stage = args.one
    device, dtype = pick_device(args.device), pick_dtype(args.dtypes[0])
    vae = _vae(args.config, dtype).to(device)
    frames, height, width = args.clips[0]
    cells = spatial_ratio(vae.config)
    torch.manual_seed(0)
    tile = args.tile if way == "tiles" else None
    if stage == "encode":
        clip = (torch.rand(1, 3, frames, height, width) * 2 - 1).to(device, dtype)

        def read(start: int, stop: int, at: Any) -> Any:
            return clip[:, :, start:stop, at.top : at.bottom, at.left : at.right]

        def ours() -> Any:
            stream = FastEncoder(vae, tile)
            if tile:
                return stream.by_tiles(read, clip.shape[2:], args.chunk)
            return torch.cat([stream.push(part) for part in after_first(clip, args.chunk)], 2)

        return ours if way != "diffusers" else lambda: vae.encode(clip).latent_dist.mode()
    shape = (1, vae.config.z_dim, latent_frames(vae.config, frames), height // cells, width // cells)
    latent, chunk = torch.randn(shape, device=device), args.chunk // temporal_ratio(vae.config)
    if way == "diffusers":
        latent = latent.to(dtype)
        return lambda: vae.decode(latent).sample
    picture = torch.empty(frames, 3, height, width, device=device)

    def ours() -> Any:
        for start, at, part in decoded(FastDecoder(vae, tile), latent, chunk, by_tiles=tile is not None):
            target = picture[start : start + part.shape[2], :, at.top : at.bottom, at.left : at.right]
            target.copy_(part[0].transpose(0, 1))

    return ours


def _vae(config: str, dtype: Any) -> Any:
    if config == "nano":
        from vividface_core.weights import load_restorer

        return load_restorer("vividface-nano", dtype=dtype).vae
    from tests.full_size import true_vae

    return true_vae(dtype)


def serve(args: argparse.Namespace) -> None:
    """The process of one way and stage: a run for each line that comes in."""
    import torch

    from vividface_core.runtime.memory import peak_memory

    run = prepare(args)
    on_gpu = torch.cuda.is_available() and args.device != "cpu"
    ready = torch.cuda.memory_allocated() if on_gpu else peak_memory()
    print(json.dumps({"ready": ready}), flush=True)
    for _ in sys.stdin:
        with torch.inference_mode():
            began = time.perf_counter()
            run()
            if on_gpu:
                torch.cuda.synchronize()
            seconds = time.perf_counter() - began
        peak = torch.cuda.max_memory_allocated() if on_gpu else peak_memory()
        print(json.dumps({"seconds": seconds, "peak": peak - ready, "threads": torch.get_num_threads()}), flush=True)


def measure(args: argparse.Namespace, clip: Clip, dtype: str, stage: str) -> list[dict[str, Any]]:
    """A row for each way."""
    ways = [way for way in args.ways if way != "tiles" or args.tile]
    processes = {way: _start(args, clip, dtype, way, stage) for way in ways}
    rounds: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for number in range(args.runs + 1):
        for way, process in processes.items():
            process.stdin.write("go\n")
            process.stdin.flush()
            row = json.loads(process.stdout.readline())
            if number or not args.runs:
                rounds[way].append(row)
    rows = []
    for way, process in processes.items():
        process.stdin.close()
        process.wait()
        seconds = [row["seconds"] for row in rounds[way]]
        rows.append(
            {
                "config": args.config,
                "clip": str(clip),
                "dtype": dtype,
                "stage": stage,
                "way": way,
                "seconds": statistics.median(seconds),
                "all": seconds,
                "peak": max(row["peak"] for row in rounds[way]),
                "threads": rounds[way][-1]["threads"],
            }
        )
    return rows


def _start(args: argparse.Namespace, clip: Clip, dtype: str, way: str, stage: str) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "benchmarks.vae_speed",
        "--one",
        way,
        stage,
        "--config",
        args.config,
        "--clips",
        str(clip),
        "--dtypes",
        dtype,
        "--device",
        args.device,
        "--chunk",
        str(args.chunk),
        "--tile",
        str(args.tile or 0),
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if not process.stdout.readline():
        raise SystemExit(f"{way} ended with status {process.wait()}; its own words are above.")
    return process


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, with the ratio to diffusers."""
    lines = ["| clip | type | stage | way | s | diffusers / it | peak beside the weights |", "|" + "---|" * 7]
    stock = {(row["clip"], row["dtype"], row["stage"]): row["seconds"] for row in rows if row["way"] == "diffusers"}
    for row in rows:
        base = stock.get((row["clip"], row["dtype"], row["stage"]))
        ratio = f"{base / row['seconds']:.2f}" if base else "–"
        names = " | ".join(row[name] for name in ("clip", "dtype", "stage", "way"))
        lines.append(f"| {names} | {row['seconds']:.2f} | {ratio} | {row['peak'] / 2**30:.2f} GiB |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", choices=("true", "nano"), default="true")
    parser.add_argument("--clips", type=Clip.parse, nargs="+", default=[Clip(9, 128, 128)], metavar="TxHxW")
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--tile", type=int, default=0, metavar="PIXELS")
    parser.add_argument("--chunk", type=int, default=8, metavar="FRAMES", help="that pass ours together")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        serve(args)
        return
    rows = []
    for clip in args.clips:
        for dtype in args.dtypes:
            for stage in args.stages:
                rows += measure(args, clip, dtype, stage)
                print(table(rows[-len(args.ways) :]), flush=True)
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps({"machine": platform.machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
