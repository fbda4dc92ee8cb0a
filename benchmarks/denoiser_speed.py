"""The denoiser of the full 1.3B model against diffusers' own: ``python -m benchmarks.denoiser_speed``.

Random weights of the true configuration, the same tensors through both, in turns, so that a machine with other work
slows both alike: twice to warm up, then ``--runs`` times; medians count. ``--alone`` adds the memory of each, measured
in a process of its own, and ``--memory ours`` measures nothing else: the blocks work one after the other in the same
memory, so that with ``--layers 1`` the first stands for all. With ``--dtype bf16`` both are also compared with
diffusers' in fp32 (``--reference``).

    python -m benchmarks.denoiser_speed --dtype fp32 --clip 5x128x128 --alone --json FILE
    python -m benchmarks.denoiser_speed --device cuda --dtype bf16 --clip 81x512x512 --compile --json FILE
    python -m benchmarks.denoiser_speed --dtype bf16 --clip 33x720x1280 --layers 1 --memory ours
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.clips import Clip

FORMS = ("plain", "ours")


def load(args: argparse.Namespace, dtype: Any = None) -> tuple[dict[str, Any], Any]:
    """Both denoisers as functions of a latent, around the same weights, and the modules."""
    import torch

    from tests.full_size import true_prompt, true_transformer
    from vividface_core.runtime.devices import pick_dtype
    from vividface_core.wan.attention import Attention
    from vividface_core.wan.folded_transformer import FoldedDenoiser
    from vividface_core.wan.optimizations.compile import CompiledDenoiser
    from vividface_core.wan.optimizations.cuda_graphs import GraphedDenoiser
    from vividface_core.wan.optimizations.fp8_linear import use_linears
    from vividface_core.wan.transformer import cast, one_step_velocity

    dtype, prompt = dtype or pick_dtype(args.dtype), true_prompt()
    transformer = true_transformer(dtype, args.layers).to(args.device)
    folded = FoldedDenoiser(transformer, prompt, attention=Attention(args.attention))
    cast(use_linears(folded, args.linear), dtype).to(args.device)
    padded = prompt.padded(args.device)
    ours = CompiledDenoiser(folded) if args.compile else folded
    ours = GraphedDenoiser(folded, ours) if args.graphs else ours

    def plain(latent: torch.Tensor) -> torch.Tensor:
        return one_step_velocity(transformer, latent, padded)

    return {"plain": plain, "ours": ours}, {"plain": transformer, "ours": folded}


def latent_of(args: argparse.Namespace) -> Any:
    import torch

    rng = torch.Generator().manual_seed(5)
    return torch.randn(1, 16, *args.clip.latent, generator=rng)


def compare(output: Any, wanted: Any) -> dict[str, float]:
    """Largest difference as a share of the output's range, and PSNR with that range as the peak."""
    span, error = float(wanted.max() - wanted.min()), output.double() - wanted.double()
    return {"max": float(error.abs().max()) / span, "psnr": 20 * math.log10(span / float(error.square().mean().sqrt()))}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each, their ratio, how far their outputs are apart, and the bytes of their weights.

    ``processor`` counts the processor's seconds, which other work on the machine changes less.
    """
    import torch

    from vividface_core.restorers.base import module_bytes

    reference, latent = None, latent_of(args)
    with torch.inference_mode():
        if args.reference:
            reference = load(args, torch.float32)[0]["plain"](latent).cpu()
            gc.collect()
        forms, modules = load(args)
        seconds: dict[str, list[float]] = {form: [] for form in FORMS}
        processor: dict[str, list[float]] = {form: [] for form in FORMS}
        outputs = {}
        for _ in range(args.runs + 2):
            for form in FORMS:
                began, used = time.perf_counter(), time.process_time()
                velocity = forms[form](latent)
                outputs[form] = velocity.cpu()  # waits for the device
                seconds[form].append(time.perf_counter() - began)
                processor[form].append(time.process_time() - used)
    medians, work = (
        {form: statistics.median(times[2:]) for form, times in kind.items()} for kind in (seconds, processor)
    )
    tokens = math.prod(latent.shape[2:]) // 4
    result = {
        "machine": torch.cuda.get_device_name() if args.device == "cuda" else platform.machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": args.device,
        "dtype": args.dtype,
        "attention": args.attention,
        "linear": args.linear,
        "compile": args.compile,
        "graphs": args.graphs,
        "layers": args.layers or 30,
        "clip": str(args.clip),
        "tokens": tokens,
        "seconds": seconds,
        "medians": medians,
        "ratio": medians["plain"] / medians["ours"],
        "processor": work,
        "processor ratio": work["plain"] / work["ours"],
        "weights": {form: module_bytes(modules[form]) for form in FORMS},
        "ours to plain": compare(outputs["ours"], outputs["plain"]),
    }
    if reference is not None:
        result |= {f"{form} to plain fp32": compare(outputs[form], reference) for form in FORMS}
    return result


def alone(args: argparse.Namespace) -> dict[str, int]:
    """Bytes that one form holds at rest, how much more it takes for a pass, and what the engine estimates for that; in
    this process nothing else runs."""
    import torch

    from vividface_core.restorers.base import module_bytes
    from vividface_core.runtime.devices import pick_dtype
    from vividface_core.runtime.memory import peak_memory
    from vividface_core.wan.optimizations.memory_estimate import denoiser_bytes

    forms, modules = load(args)
    run, module = forms.pop(args.memory), modules.pop(args.memory)
    size = pick_dtype(args.dtype).itemsize
    estimated = denoiser_bytes(module.config, *args.clip.latent, size, plain=args.memory == "plain")
    if args.memory == "ours":
        del forms, modules  # with diffusers' module
        gc.collect()
    latent, small = latent_of(args), torch.randn(1, 16, 1, 4, 4)
    with torch.inference_mode():
        run(small)
        if args.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            rest = torch.cuda.memory_allocated()
            run(latent)
            more = torch.cuda.max_memory_allocated() - rest
        else:
            # The peak of a process only rises: building must not have risen above what a pass needs.
            before = _resident()
            _reset_peak()
            run(latent)
            more = peak_memory() - before
    return {"weights": module_bytes(module), "pass": more, "estimated": estimated}


def _resident() -> int:
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _reset_peak() -> None:
    """Linux forgets a process's peak at this command."""
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--clip", type=Clip.parse, default=Clip(5, 128, 128), metavar="TxHxW", help="frames, height, width in pixels")
    add("--dtype", default="fp32", help="fp32, bf16 or fp16")
    add("--device", default="cpu")
    add("--layers", type=int, help="fewer than the 30 there are")
    add("--attention", default="auto")
    add("--linear", default="auto")
    add("--compile", action="store_true")
    add("--graphs", action="store_true")
    add("--runs", type=int, default=5)
    add("--reference", action="store_true", help="compare with diffusers' in fp32 as well (5.7 GB more)")
    add("--alone", action="store_true", help="measure the memory of each in a process of its own (Linux or CUDA)")
    add("--json", type=Path)
    add("--memory", choices=FORMS, help="measure the memory of this one only, in this process (Linux or CUDA)")
    args = parser.parse_args()
    if args.memory:
        print(json.dumps(alone(args)))
        return
    result = measure(args)
    if args.alone:
        command = [sys.executable, "-m", "benchmarks.denoiser_speed", *sys.argv[1:]]
        result["memory"] = {
            form: json.loads(subprocess.check_output([*command, "--memory", form], text=True).splitlines()[-1])
            for form in FORMS
        }
    print(
        f"{result['tokens']} tokens, {args.dtype}: diffusers {result['medians']['plain']:.2f} s, ours "
        f"{result['medians']['ours']:.2f} s, {result['ratio']:.2f}×"
    )
    print(json.dumps({key: value for key, value in result.items() if key != "seconds"}, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
