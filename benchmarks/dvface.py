"""DVFace in figures: its parameters at the true configuration, its cost, and its two paths against each other.

``python -m benchmarks.dvface parameters`` prints parameters by part beside the paper's total.
``python -m benchmarks.dvface operations [FRAMES HEIGHT WIDTH]`` counts operations, at 81×512×512 by default.
``python -m benchmarks.dvface paths [--layers N] [--dtype fp32]`` compares the folded path with diffusers' modules at
the true widths, with random weights of the fusion too.
``python -m benchmarks.dvface time --model FOLDER [FRAMES HEIGHT WIDTH]`` restores a clip, 17×256×256 by default, with a
DVFace checkpoint, with the same one without priors and fusion, and its priors alone, in turns in one process.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vividface_core.dvface import Fusion, FusionConfig, PriorEncoder, priors_of
from vividface_core.errors import InvalidOption
from vividface_core.restorers.dvface import DVFaceRestorer
from vividface_core.runtime.devices import pick_dtype
from vividface_core.wan.empty_prompt import EmptyPrompt
from vividface_core.wan.folded_transformer import FoldedDenoiser
from vividface_core.wan.injection import hooked
from vividface_core.wan.transformer import T_STAR, one_step_velocity
from vividface_core.weights import load_restorer

PAPER_TOTAL = 1_624_550_000
WAN_CELL, WAN_FRAMES, PATCH = 8, 4, 2
"""Pixels and frames a latent cell, and cells a token, of Wan 2.1."""


def true_priors() -> PriorEncoder:
    """The prior encoder with BFVR-STC's widths."""
    return PriorEncoder(attention="frame", spatial_branch="convolution")


def true_fusion(layers: int = 30) -> Fusion:
    return Fusion(FusionConfig(blocks=layers, width=1536))


def true_transformer(layers: int = 30) -> nn.Module:
    """Wan 2.1 T2V-1.3B's denoiser."""
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(num_attention_heads=12, attention_head_dim=128, ffn_dim=8960, num_layers=layers)


def parameters() -> dict[str, int]:
    """Parameters by part at the true configuration."""
    from diffusers import AutoencoderKLWan

    with torch.device("meta"):
        priors, fusion = true_priors(), true_fusion()
        whole = {"denoiser": true_transformer(), "autoencoder": AutoencoderKLWan()}
    lookups = sum(count(x) for name, x in priors.named_children() if name not in ("encoder", "quantize"))
    tables = sum(x.numel() for name, x in priors.named_parameters(recurse=False))
    local = count(priors.quantize.local)
    return {
        **{name: count(module) for name, module in whole.items()},
        "prior encoder": count(priors.encoder),
        "codebooks and temporal attention": count(priors.quantize) - local,
        "spatial convolution": local,
        "lookups": lookups + tables,
        "fusion (ASTF)": count(fusion),
    }


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def operations(frames: int, height: int, width: int) -> dict[str, int]:
    """Operations of priors, fusion, what the fusion adds in the blocks, and the denoiser, counted without values."""
    latent = 1 + (frames - 1) // WAN_FRAMES
    grid = height // WAN_CELL // PATCH, width // WAN_CELL // PATCH
    tokens = latent * math.prod(grid)
    found = {}
    with torch.device("meta"), torch.no_grad():
        net, fusion, transformer = true_priors().eval(), true_fusion().eval(), true_transformer().eval()
        with FlopCounterMode(display=False) as counter:
            priors = priors_of(net, lambda a, b: torch.empty(1, 3, b - a, height, width), frames, grid, WAN_FRAMES)
        found["priors"] = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            fusion(priors)
        found["fusion, once a window"] = counter.get_total_flops()
        found["fusion, in the blocks"] = 2 * tokens * 256 * 1536 * len(fusion.blocks)
        with FlopCounterMode(display=False) as counter:
            transformer(
                torch.empty(1, 16, latent, height // WAN_CELL, width // WAN_CELL),
                timestep=torch.empty(1),
                encoder_hidden_states=torch.empty(1, 512, 4096),
                return_dict=False,
            )
        found["denoiser"] = counter.get_total_flops()
    return found


@torch.inference_mode()
def compare_paths(layers: int, dtype: torch.dtype, frames: int, height: int, width: int) -> tuple[float, float]:
    """Largest difference by the range, and PSNR in dB, of the folded path against the plain one."""
    torch.manual_seed(0)
    transformer, fusion, net = true_transformer(layers).eval(), true_fusion(layers).eval(), true_priors().eval()
    for parameter in fusion.parameters():
        nn.init.normal_(parameter, std=0.02)
    latent = 1 + (frames - 1) // WAN_FRAMES
    grid = height // WAN_CELL // PATCH, width // WAN_CELL // PATCH
    clip, z = torch.rand(1, 3, frames, height, width), torch.randn(1, 16, latent, *(PATCH * side for side in grid))
    priors = priors_of(net, lambda a, b: clip[:, :, a:b], frames, grid, WAN_FRAMES)
    prompt = EmptyPrompt(torch.randn(1, 4096))
    folded = FoldedDenoiser(transformer, prompt)
    with hooked(transformer, fusion(priors)):
        plain = one_step_velocity(transformer, z, prompt.padded("cpu"), T_STAR)
    for module in (folded, fusion):
        _cast(module, dtype)
    injections = fusion(type(priors)(*(x.to(dtype) for x in priors)))
    difference = folded(z, injections=injections) - plain
    span = float(plain.max() - plain.min())
    return float(difference.abs().max()) / span, 20 * math.log10(span / float(difference.square().mean().sqrt()))


@torch.inference_mode()
def seconds(folder: str, frames: int, height: int, width: int, runs: int) -> dict[str, float]:
    """Medians of ``runs`` turns: the restoration, the same modules without priors and fusion, and the priors alone."""
    torch.manual_seed(0)
    whole = load_restorer(folder)
    if not isinstance(whole, DVFaceRestorer):
        raise InvalidOption(f"{folder} is no DVFace checkpoint.")
    clip = torch.rand(frames, 3, height, width)
    without = copy.copy(whole)
    without._injections = lambda clip, report: ()  # type: ignore[method-assign]
    parts = {
        "with priors": lambda: whole.restore(clip),
        "without": lambda: without.restore(clip),
        "priors and fusion alone": lambda: whole._injections(clip, lambda share: None),
    }
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(runs + 1):
        for name, run in parts.items():
            began = time.perf_counter()
            run()
            if turn:  # the first one warms up
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in taken.items()}


def _cast(module: nn.Module, dtype: torch.dtype) -> None:
    from vividface_core.wan.transformer import cast

    if hasattr(module, "_keep_in_fp32_modules"):
        cast(module, dtype)
    else:
        module.to(dtype)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("parameters", "operations", "paths", "time"))
    parser.add_argument("size", nargs="*", type=int, help="frames, height, width")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--model", metavar="FOLDER", help="time: a DVFace checkpoint")
    parser.add_argument("--runs", type=int, default=5, help="time: turns; default: %(default)s")
    args = parser.parse_args()
    if args.what == "parameters":
        counts = parameters()
        for name, number in counts.items():
            print(f"| {name} | {number / 1e6:,.2f} M |")
        total = sum(counts.values())
        print(f"| together | {total / 1e6:,.2f} M ({total / PAPER_TOTAL - 1:+.2%} of the paper's 1,624.55 M) |")
    elif args.what == "operations":
        counts = operations(*(args.size or (81, 512, 512)))
        for name, number in counts.items():
            print(f"| {name} | {number / 1e12:.2f} TFLOP | {number / counts['denoiser']:.1%} of the denoiser |")
    elif args.what == "time":
        if args.model is None:
            parser.error("time needs --model.")
        taken = seconds(args.model, *(args.size or (17, 256, 256)), args.runs)
        for name, value in taken.items():
            print(f"| {name} | {value:.3f} s | {value / taken['without']:.2f} |")
    else:
        largest, psnr = compare_paths(args.layers, pick_dtype(args.dtype), *(args.size or (9, 256, 256)))
        print(f"{args.layers} layers, {args.dtype}: largest difference {largest:.1e} of the range, {psnr:.1f} dB")


if __name__ == "__main__":
    main()
