"""Does de-flickering work, and does it harm? ``python -m benchmarks.deflicker [--model NAME] [--table PAGE]``.

Seven held-out real clips get BFVR-STC's brightness flicker (each frame with probability 0.3 times U[0.5, 1.5], in 8
bits, a fixed seed a clip). Beside the tool stand ffmpeg's ``deflicker`` and a gain normalisation of each frame, either
with the setting that is best on these very clips. Then the clips as they are, and clips in which a lamp is switched on
half way: nothing should change there. ``--picture`` keeps a column of pixels over time, ``--json`` all figures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training.evaluation.held_out import CLIPS
from training.evaluation.report import write_between
from vividface_core.degrade import load_preset
from vividface_core.pipeline.deflicker import deflicker_options
from vividface_core.pipeline.restore import restore_frames
from vividface_core.restorers.base import Restorer
from vividface_core.restorers.measured_brightness import MeasuredBrightness
from vividface_core.video.colorspace import luma
from vividface_core.video.flicker import FlickerMeter, running_median
from vividface_core.video.source import VideoFrames
from vividface_core.weights import load_restorer

NAMES = (
    "franck@100",
    "franck@3200",
    "cap12_edit@100",
    "cap13_edit2@300",
    "WolfgangLanger_Pexels@10",
    "single_face@5",
    "carphone_pristine@5",
)
FRAMES = 48
LAMP = 0.55
"""The light before a lamp is switched on, half way."""
MODES = ("am", "gm", "hm", "qm", "cm", "pm", "median")
SIZES = (3, 5, 9, 15, 25)
REACHES = (1, 2, 3, 5, 8, 12)
Method = Callable[[Tensor], Tensor]


@dataclass
class Figures:
    """Of one method and clip: PSNR in dB and flicker of three variants of the clip; flicker as in the metric."""

    psnr: float
    flicker: float
    clean: float
    lamp: float
    step: float
    seconds: float


def clips(frames: int = FRAMES) -> Iterator[tuple[str, Tensor]]:
    """Whole frames of the held-out clips, ``[T, 3, H, W]``."""
    for clip in CLIPS:
        if clip.name in NAMES:
            yield (
                clip.name,
                torch.stack([f.rgb() for f in VideoFrames(clip.path()).read(clip.start, clip.start + frames)]),
            )


def flickered(clip: Tensor, seed: int) -> Tensor:
    return load_preset("brightness_flicker").sample(seed)(clip)


def with_lamp(clip: Tensor) -> Tensor:
    light = torch.where(torch.arange(len(clip)) < len(clip) // 2, LAMP, 1.0)
    return eight_bits(clip * light.view(-1, 1, 1, 1))


def eight_bits(clip: Tensor) -> Tensor:
    return (clip.clamp(0, 1) * 255).round() / 255


def psnr(a: Tensor, b: Tensor) -> float:
    """Of the whole clip's mean squared error, at most 99 dB."""
    return min(99.0, float(-10 * torch.log10((eight_bits(a) - eight_bits(b)).square().mean().clamp_min(1e-12))))


def flicker(clip: Tensor) -> float:
    meter = FlickerMeter()
    meter.update(eight_bits(clip))
    return meter.sums.frame


def gain_normalised(clip: Tensor, reach: int, median: bool) -> Tensor:
    """Each frame's mean luma brought to the median, or mean, over the frames around it."""
    level = luma(clip).mean((1, 2, 3))
    around = [level[max(0, t - reach) : t + reach + 1] for t in range(len(level))]
    wanted = running_median(level, reach) if median else torch.stack([part.mean() for part in around])
    return (clip * (wanted / level).view(-1, 1, 1, 1)).clamp(0, 1)


def by_ffmpeg(clip: Tensor, mode: str, size: int) -> Tensor:
    """ffmpeg's filter, through 4:4:4 video of 8 bits."""
    from tests.assets import ffmpeg

    frames, _, height, width = clip.shape
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24"]
    chain = f"format=yuv444p,deflicker=size={size}:mode={mode},format=rgb24"
    command = [ffmpeg(), "-v", "error", *raw, "-s", f"{width}x{height}", "-i", "-", "-vf", chain, *raw, "-"]
    samples = (clip * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    out = subprocess.run(command, input=samples.tobytes(), capture_output=True, check=True).stdout
    return (
        torch.from_numpy(np.frombuffer(out, np.uint8).reshape(frames, height, width, 3).copy()).permute(0, 3, 1, 2)
        / 255
    )


def tool(restorer: Restorer, keep_detail: bool = True) -> Method:
    options = deflicker_options("brightness", keep_detail)
    return lambda clip: restore_frames(clip, restorer, options)[0]


def tuned(settings: Sequence[tuple], method: Callable[..., Tensor], pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple:
    """The setting with the best mean PSNR over these pairs of flickering clip and truth."""
    return max(settings, key=lambda setting: np.mean([psnr(method(low, *setting), truth) for low, truth in pairs]))


def measure(method: Method, truth: Tensor, low: Tensor) -> Figures:
    began = time.perf_counter()
    out = method(low)
    seconds = (time.perf_counter() - began) / len(low)
    lamp, lit = with_lamp(truth), method(with_lamp(truth))
    step = [float(shown[len(shown) // 2].mean() / shown[len(shown) // 2 - 1].mean()) for shown in (lit, lamp)]
    return Figures(
        psnr(out, truth), flicker(out), psnr(method(truth), truth), psnr(lit, lamp), step[0] / step[1], seconds
    )


def slices(columns: dict[str, Tensor], path: Path, zoom: int = 6) -> None:
    """The middle column of pixels of each clip over time, one below the other."""
    strips = []
    for clip in columns.values():
        column = eight_bits(clip[..., clip.shape[-1] // 2]).permute(2, 0, 1)  # [H, T, 3]
        strips.append((column * 255).byte().repeat_interleave(zoom, 1))
        strips.append(torch.full((6, column.shape[1] * zoom, 3), 255, dtype=torch.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(torch.cat(strips[:-1]).numpy()).save(path, quality=90)


def table(rows: dict[str, dict[str, Figures]], settings: dict[str, tuple]) -> str:
    """Means over the clips; the flicker as a share of the input's, clip by clip."""
    inputs = rows["input"]
    lines = [
        "| | PSNR | flicker, of the input's | worst clip | clean clip | lamp clip | lamp step | ms a frame |",
        "|" + "---|" * 8,
    ]
    for name, figures in rows.items():
        shares = [one.flicker / inputs[clip].flicker for clip, one in figures.items()]
        worst = min(one.psnr - inputs[clip].psnr for clip, one in figures.items())
        mean = {
            key: np.mean([getattr(one, key) for one in figures.values()])
            for key in asdict(next(iter(figures.values())))
        }
        low, lamp = (min(getattr(one, key) for one in figures.values()) for key in ("clean", "lamp"))
        cells = [
            f"{mean['psnr']:.2f}",
            f"{np.mean(shares):.3f}",
            f"{worst:+.1f} dB",
            f"{mean['clean']:.1f}, least {low:.1f}",
            f"{mean['lamp']:.1f}, least {lamp:.1f}",
            f"{mean['step']:.3f}",
            f"{1000 * mean['seconds']:.0f}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    last = ", ".join(
        f"{clip} {inputs[clip].psnr:.1f} → {one.psnr:.1f}" for clip, one in list(rows.values())[-1].items()
    )
    lines.append(f"\nThe last row clip by clip, PSNR: {last} dB.")
    lines += [f"\n{name}: the best of its settings on these clips, {setting}." for name, setting in settings.items()]
    return "\n".join(lines)


def methods_of(
    args: argparse.Namespace, pairs: Sequence[tuple[Tensor, Tensor]]
) -> tuple[dict[str, Method], dict[str, tuple]]:
    """All methods by name, and the settings that were tuned."""
    mode, _ = tuned([(mode, 5) for mode in MODES], by_ffmpeg, pairs)
    filters = tuned([(mode, size) for size in SIZES], by_ffmpeg, pairs)
    gains = tuned([(reach, median) for reach in REACHES for median in (True, False)], gain_normalised, pairs)
    methods: dict[str, Method] = {
        "input": lambda clip: clip,
        "ffmpeg deflicker": lambda clip: by_ffmpeg(clip, *filters),
        "gain normalisation": lambda clip: gain_normalised(clip, *gains),
    }
    if args.model != "none":
        restorer = load_restorer(args.model)
        methods[f"{Path(args.model).name}, its picture (no-keep-detail)"] = tool(restorer, keep_detail=False)
        methods[f"the tool with {Path(args.model).name}"] = tool(restorer)
    methods["the tool as it comes (measured-brightness)"] = tool(MeasuredBrightness())
    told = {
        "ffmpeg deflicker": f"mode {filters[0]}, size {filters[1]}",
        "gain normalisation": f"{'median' if gains[1] else 'mean'} over {2 * gains[0] + 1} frames",
    }
    return methods, told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bfvr-stc-nano-deflicker", help="name or path; none: the others only")
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--table", type=Path, metavar="PAGE", help="write the table between its marks in this page")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write a column of pixels over time")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    truths = dict(clips(args.frames))
    lows = {name: flickered(clip, 100 + number) for number, (name, clip) in enumerate(truths.items())}
    methods, settings = methods_of(args, [(lows[name], clip) for name, clip in truths.items()])
    rows: dict[str, dict[str, Figures]] = {}
    for name, method in methods.items():
        rows[name] = {clip: measure(method, truth, lows[clip]) for clip, truth in truths.items()}
        print(f"{name}: {np.mean([one.psnr for one in rows[name].values()]):.2f} dB", flush=True)
    text = table(rows, settings)
    print(text)
    if args.table:
        write_between(args.table, "deflicker", text)
    if args.picture:
        shown = NAMES[1]
        slices(
            {"truth": truths[shown], "input": lows[shown], "output": list(methods.values())[-1](lows[shown])},
            args.picture,
        )
    if args.json:
        told = {name: {clip: asdict(one) for clip, one in figures.items()} for name, figures in rows.items()}
        args.json.write_text(json.dumps({"settings": settings, "rows": told}, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
