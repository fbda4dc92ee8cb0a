"""The released model's true size, ours beside diffusers' own modules: ``python -m benchmarks.full_model``.

The weights are random (``tests/full_size.py``): speed and memory are those of the real ones, the pictures aren't. Each
clip of ``--clips`` goes from frames in memory to frames in memory, ``--runs`` times after one to warm up, in turn
with each of ``--who``; every one of them is a process of its own, so that its peak memory is its own. Printed are
medians by stage, peak memory, shares of the arithmetic and the ratio to diffusers; ``--json FILE`` keeps them,
``--plot FILE.png`` draws them, ``--table FILE.md`` puts them between that file's ``full-model`` markers.

On a GPU: ``python -m benchmarks.full_model --clips 81x512x512 --runs 5``; on two CPU cores
``--clips 5x128x128 --layers 2 --dtype fp32`` takes a minute.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.clips import Clip

STAGES = ("encode", "denoise", "decode")
WHO = {
    "diffusers": "diffusers' modules, called as its pipelines do",
    "ours": "constants folded, streaming autoencoder",
    "ours-compiled": "the same, the repeated block compiled",
    "ours-low-memory": "the same as ours, modules on the device in turn, autoencoder in tiles",
}


def serve(args: argparse.Namespace) -> None:
    """The process of one of :data:`WHO`: makes the model, then times a clip for each line that comes in."""
    import torch

    from vividface_core.runtime.devices import pick_device, pick_dtype
    from vividface_core.runtime.memory import peak_memory

    device, dtype = pick_device(args.device), pick_dtype(args.dtype)
    torch.manual_seed(0)
    clip = torch.rand(args.clip.frames, 3, args.clip.height, args.clip.width)
    run = (_diffusers if args.one == "diffusers" else _ours)(args, device, dtype)
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    ready = peak_memory()
    print(json.dumps({"ready": ready}), flush=True)
    for _ in sys.stdin:
        row = run(clip, Clock(device))
        peak = torch.cuda.max_memory_allocated() if on_gpu else peak_memory()
        print(json.dumps({**row, "peak": peak}), flush=True)


class Clock:
    """Seconds by stage, the device's work included."""

    def __init__(self, device: Any) -> None:
        self._device, self.seconds = device, {}
        self._began = self._now()

    def _now(self) -> float:
        import torch

        if self._device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def lap(self, stage: str) -> None:
        """The stage ends now."""
        now = self._now()
        self.seconds[stage], self._began = now - self._began, now


Run = Callable[[Any, Clock], dict[str, float]]


def _modules(args: argparse.Namespace, device: Any, dtype: Any) -> tuple[Any, Any, Any]:
    from tests.full_size import true_prompt, true_transformer, true_vae

    return true_vae(dtype).to(device), true_transformer(dtype, layers=args.layers).to(device), true_prompt()


def _diffusers(args: argparse.Namespace, device: Any, dtype: Any) -> Run:
    import torch

    from vividface_core.wan.transformer import T_STAR

    vae, transformer, prompt = _modules(args, device, dtype)
    text = prompt.padded(device).to(dtype)
    moments = (vae.config.latents_mean, vae.config.latents_std)
    mean, std = (torch.tensor(values, device=device).view(1, -1, 1, 1, 1) for values in moments)
    moment = torch.full((1,), T_STAR, device=device)

    @torch.inference_mode()
    def run(clip: Any, clock: Clock) -> dict[str, float]:
        pixels = (clip.to(device) * 2 - 1).transpose(0, 1)[None].to(dtype)
        latent = (vae.encode(pixels).latent_dist.mode().float() - mean) / std
        clock.lap("encode")
        latent = (
            latent
            - transformer(latent.to(dtype), timestep=moment, encoder_hidden_states=text, return_dict=False)[0].float()
        )
        clock.lap("denoise")
        pixels = vae.decode((latent * std + mean).to(dtype), return_dict=False)[0]
        restored = ((pixels[0].transpose(0, 1).float() + 1) / 2).clamp(0, 1).cpu()
        clock.lap("decode")
        assert restored.shape == clip.shape and torch.isfinite(restored).all()
        return clock.seconds

    return run


def _ours(args: argparse.Namespace, device: Any, dtype: Any) -> Run:
    import torch

    from vividface_core.restorers.one_step import STAGE_SHARES, OneStepRestorer
    from vividface_core.restorers.one_step_options import OneStepExecution

    ends = {"encode": STAGE_SHARES["encode"], "denoise": STAGE_SHARES["encode"] + STAGE_SHARES["denoise"]}
    options = {"compile": True} if args.one == "ours-compiled" else {}
    if args.one == "ours-low-memory":
        options = {"offload": True}
    vae, transformer, prompt = _modules(args, "cpu" if options.get("offload") else device, dtype)
    execution = OneStepExecution(device, dtype, **options)
    restorer = OneStepRestorer(vae, transformer, prompt, execution=execution)
    if args.one == "ours-low-memory":
        while restorer.reduce_memory():
            pass
    del vae, transformer

    def run(clip: Any, clock: Clock) -> dict[str, float]:
        waiting = list(ends)

        def tell(share: float) -> None:
            while waiting and share >= ends[waiting[0]] - 1e-6:
                clock.lap(waiting.pop(0))

        restored = restorer.restore(clip, progress=tell)
        clock.lap("decode")
        assert restored.shape == clip.shape and torch.isfinite(restored).all()
        return clock.seconds

    return run


def measure(clip: Clip, args: argparse.Namespace) -> list[dict[str, Any]]:
    """All of ``args.who`` in turn, one process each; rows of medians."""
    flags = ["--dtype", args.dtype, "--device", args.device, "--layers", str(args.layers)]
    processes = {}
    rounds: dict[str, list[dict[str, float]]] = {who: [] for who in args.who}
    try:
        for who in args.who:
            command = [sys.executable, "-m", "benchmarks.full_model", "--one", who, "--clip", str(clip), *flags]
            processes[who] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            _line(processes[who], who)
        for number in range(args.runs + 1):
            for who, process in processes.items():
                process.stdin.write("go\n")
                process.stdin.flush()
                row = _line(process, who)
                if number or not args.runs:
                    rounds[who].append(row)
    finally:
        for process in processes.values():
            process.stdin.close()
            process.wait()
    return [_median(who, clip, rows) for who, rows in rounds.items()]


def _line(process: subprocess.Popen, who: str) -> dict[str, float]:
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"{who} ended with status {process.wait()}; its own words are above.")
    return json.loads(line)


def _median(who: str, clip: Clip, rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    stages = {stage: statistics.median(row[stage] for row in rows) for stage in STAGES}
    total = statistics.median(sum(row[stage] for stage in STAGES) for row in rows)
    return {
        "who": who,
        "clip": str(clip),
        **stages,
        "total": total,
        "runs": len(rows),
        "peak_gib": max(row["peak"] for row in rows) / 2**30,
    }


def arithmetic(clip: Clip, layers: int) -> dict[str, int]:
    """Operations by stage; see :func:`benchmarks.arithmetic.operations`."""
    import torch
    from diffusers import AutoencoderKLWan, WanTransformer3DModel

    from benchmarks.arithmetic import operations
    from tests.full_size import TRANSFORMER

    with torch.device("meta"):
        vae, transformer = AutoencoderKLWan(), WanTransformer3DModel(**{**TRANSFORMER, "num_layers": layers})
    return operations(vae, transformer, clip.frames, clip.height, clip.width)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = ["| clip | who | encode s | denoise s | decode s | whole s | of diffusers | peak GiB |", "|" + "---|" * 8]
    for row in rows:
        stock = next((r["total"] for r in rows if r["clip"] == row["clip"] and r["who"] == "diffusers"), math.nan)
        lines.append(
            f"| {row['clip']} | {row['who']} | {row['encode']:.2f} | {row['denoise']:.2f} "
            f"| {row['decode']:.2f} | {row['total']:.2f} | {row['total'] / stock:.2f} "
            f"| {row['peak_gib']:.2f} |"
        )
    return "\n".join(lines)


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Time and memory over the number of pixels, a line for each of :data:`WHO`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    for who in dict.fromkeys(row["who"] for row in rows):
        mine = sorted(
            (Clip.parse(row["clip"]).pixels / 1e6, row["total"], row["peak_gib"]) for row in rows if row["who"] == who
        )
        pixels, *curves = zip(*mine)
        for axis, values in zip(axes, curves):
            axis.plot(pixels, values, marker="o", label=who)
    for axis, title in zip(axes, ("seconds a clip", "peak memory, GiB")):
        axis.set(xlabel="million pixels (frames × height × width)", title=title, ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Clip.parse, nargs="+", default=[Clip(81, 512, 512)], metavar="TxHxW")
    parser.add_argument("--who", nargs="+", default=["diffusers", "ours"], choices=WHO)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--layers", type=int, default=30, help="of the denoiser; the model has 30")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--one", choices=WHO, help=argparse.SUPPRESS)
    parser.add_argument("--clip", type=Clip.parse, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        serve(args)
        return
    rows, counts = [], {}
    for clip in args.clips:
        counts[str(clip)] = arithmetic(clip, args.layers)
        rows += measure(clip, args)
    print(table(rows))
    report = {
        "device": _device_name(args.device),
        "dtype": args.dtype,
        "layers": args.layers,
        "operations": counts,
        "rows": rows,
    }
    for clip, count in counts.items():
        print(_told(clip, count, report["device"]))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    if args.plot:
        plot(rows, args.plot)
    if args.table:
        from training.evaluation.report import write_between

        write_between(args.table, "full-model", table(rows))


def _told(clip: str, count: dict[str, int], device: str) -> str:
    from benchmarks.arithmetic import ideal_seconds

    total = sum(count.values())
    shares = ", ".join(f"{stage} {n / total:.0%}" for stage, n in count.items())
    ideal = ideal_seconds(total, device)
    return f"{clip}: {total / 1e12:.1f} TFLOP ({shares})" + (f"; {ideal:.2f} s at the device's peak" if ideal else "")


def _device_name(name: str) -> str:
    import torch

    from vividface_core.runtime.devices import pick_device

    if pick_device(name).type == "cuda":
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} threads of {platform.processor() or platform.machine()}"


if __name__ == "__main__":
    main()
