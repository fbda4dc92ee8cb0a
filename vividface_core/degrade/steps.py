"""The steps that degradations are made of: each takes frames in a stream and hands out as many.

A frame is ``Tensor[1, 3, H, W]``, float32, RGB, 0…1. Each step that draws something for a frame has a random source
of its own, so a step draws the same whatever the others do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vividface_core.degrade import footage
from vividface_core.degrade.codec import through_codec
from vividface_core.degrade.filters import downscale, gaussian_blur, oriented_blur, shrink
from vividface_core.degrade.parameters import Choice, Range, Value

Flow = Iterator[Tensor]
Drawn = Mapping[str, Any]
DETAIL = 1.5
"""Blur that parts fine detail from the rest, σ in pixels."""
GRAIN = 1.0
"""Blur that texture is freed of, σ in pixels."""


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        run: ``run(frames, drawn, rng, size)``; ``size`` is the input's height and width.
        values: the names that it reads, and what they are if a preset says nothing.
        random: it draws something for each frame.
    """

    run: Callable[[Flow, Drawn, np.random.Generator, tuple[int, int]], Flow]
    values: dict[str, Value] = field(default_factory=dict)
    random: bool = False


def _blur(frames: Flow, drawn: Drawn, *_: object) -> Flow:
    radius = drawn["kernel_size"] // 2 if drawn["kernel_size"] else None
    for frame in frames:
        if drawn["kernel"] == "iso":
            yield gaussian_blur(frame, drawn["sigma"], radius)
        else:
            yield oriented_blur(frame, drawn["sigma"], drawn["sigma_y"], drawn["angle"], radius)


def _downscale(frames: Flow, drawn: Drawn, *_: object) -> Flow:
    for frame in frames:
        yield downscale(frame, drawn["scale"])


def _shrink(frames: Flow, drawn: Drawn, *_: object) -> Flow:
    for frame in frames:
        yield shrink(frame, drawn["scale"], drawn["filter"])


def _enlarge(frames: Flow, drawn: Drawn, rng: object, size: tuple[int, int]) -> Flow:
    """Back to the input's size before the codec, bilinear."""
    for frame in frames:
        same = tuple(frame.shape[-2:]) == size
        yield frame if same else F.interpolate(frame, size=size, mode="bilinear", align_corners=False)


def _noise(frames: Flow, drawn: Drawn, rng: np.random.Generator, _: object) -> Flow:
    fixed = None
    for frame in frames:
        strength = _of_frame(drawn["noise"], rng)
        if strength > 0:
            channels = 1 if drawn["gray"] > 0 and rng.random() < drawn["gray"] else 3
            if fixed is None or drawn["pattern"] == "fresh":
                fixed = rng.standard_normal((1, channels, *frame.shape[-2:]), dtype=np.float32)
            frame = frame + torch.from_numpy(fixed).to(frame) * (strength / 255.0)
        yield frame.clamp(0, 1)


def _codec(frames: Flow, drawn: Drawn, *_: object) -> Flow:
    if drawn["codec"] == "none":
        return frames
    return through_codec(frames, drawn["codec"], crf=drawn["crf"], bitrate=drawn["bitrate"], rate=drawn["rate"])


def _flicker(frames: Flow, drawn: Drawn, rng: np.random.Generator, _: object) -> Flow:
    """Frames taken with ``probability`` are multiplied by ``gain``, in 8 bits that saturate."""
    for frame in frames:
        if rng.random() < drawn["probability"]:
            frame = (frame * 255 * _of_frame(drawn["gain"], rng)).round().clamp(0, 255) / 255
        yield frame


def _warp(frames: Flow, drawn: Drawn, rng: np.random.Generator, _: object) -> Flow:
    """Points on a grid are displaced by up to ``shift`` pixels in each frame anew, all between them smoothly."""
    for frame in frames:
        height, width = frame.shape[-2:]
        points = [2 + side // drawn["cell"] for side in (height, width)]
        moved = rng.uniform(-drawn["shift"], drawn["shift"], (1, 2, *points)).astype(np.float32)
        if drawn["shift"] > 0:
            field = F.interpolate(
                torch.from_numpy(moved).to(frame), size=(height, width), mode="bicubic", align_corners=True
            )[0]
            x = (torch.arange(width, device=frame.device) + 0.5 + field[0]) * (2 / width) - 1
            y = (torch.arange(height, device=frame.device)[:, None] + 0.5 + field[1]) * (2 / height) - 1
            frame = F.grid_sample(
                frame, torch.stack((x, y), -1)[None], mode="bicubic", padding_mode="reflection", align_corners=False
            ).clamp(0, 1)
        yield frame


def _sharpness(frames: Flow, drawn: Drawn, rng: np.random.Generator, _: object) -> Flow:
    """x + g (x − x ⊛ k), with g drawn from ±``sharpness`` in each frame anew."""
    for frame in frames:
        share = float(rng.uniform(-drawn["sharpness"], drawn["sharpness"]))
        yield (frame + share * (frame - gaussian_blur(frame, DETAIL))).clamp(0, 1)


def _texture(frames: Flow, drawn: Drawn, rng: np.random.Generator, _: object) -> Flow:
    """Grey noise n − n ⊛ k, scaled to ``texture``: the high frequencies of white noise, new in each frame."""
    for frame in frames:
        grain = torch.from_numpy(rng.standard_normal((1, 1, *frame.shape[-2:]), dtype=np.float32)).to(frame)
        grain = (grain - gaussian_blur(grain, GRAIN)) / _high_pass_deviation(GRAIN)
        yield (frame + grain * (drawn["texture"] / 255.0)).clamp(0, 1)


def _high_pass_deviation(sigma: float) -> float:
    """Standard deviation of n − n ⊛ k for white noise n of deviation 1: √(1 − 2 k₀ + Σ k²)."""
    size = 2 * int(np.ceil(3 * sigma)) + 1
    point = torch.zeros(1, 1, size, size, dtype=torch.float64)
    point[0, 0, size // 2, size // 2] = 1
    kernel = gaussian_blur(F.pad(point, (size,) * 4), sigma)
    return float((1 - 2 * kernel.max() + kernel.square().sum()) ** 0.5)


def _of_frame(value: float | Range, rng: np.random.Generator) -> float:
    """A range is drawn from in each frame."""
    return float(rng.uniform(value.low, value.high)) if isinstance(value, Range) else value


STEPS = {
    "blur": Step(
        _blur,
        {
            "sigma": Range(0.0, 0.0),
            "sigma_y": Range(0.0, 0.0),
            "angle": Range(0.0, 0.0),
            "kernel": Choice(("iso",)),
            "kernel_size": Range(0, 0),
        },
    ),
    "downscale": Step(_downscale, {"scale": Range(1.0, 1.0)}),
    "shrink": Step(_shrink, {"scale": Range(1.0, 1.0), "filter": Choice(("bilinear",))}),
    "enlarge": Step(_enlarge),
    "noise": Step(
        _noise, {"noise": Range(0.0, 0.0), "gray": Range(0.0, 0.0), "pattern": Choice(("fresh",))}, random=True
    ),
    "codec": Step(
        _codec,
        {"crf": Range(23, 23), "codec": Choice(("libx264",)), "bitrate": Range(1024, 1024), "rate": Range(25, 25)},
    ),
    "flicker": Step(_flicker, {"probability": Range(0.0, 0.0), "gain": Range(1.0, 1.0)}, random=True),
    "warp": Step(_warp, {"shift": Range(0.0, 0.0), "cell": Range(24, 24)}, random=True),
    "sharpness": Step(_sharpness, {"sharpness": Range(0.0, 0.0)}, random=True),
    "texture": Step(_texture, {"texture": Range(0.0, 0.0)}, random=True),
    "grey": Step(footage.grey),
    "interlace": Step(footage.interlace, {"fields": Choice(("blend",))}),
    "ringing": Step(footage.ringing, {"cutoff": Range(1.0, 1.0), "sharpening": Range(0.0, 0.0)}),
    "grain": Step(
        footage.grain,
        {"grain": Range(0.0, 0.0), "grain_size": Range(0.5, 0.5), "pattern": Choice(("fresh",))},
        random=True,
    ),
    "compress": Step(
        footage.compress, {"encoder": Choice(("libx264",)), "crf": Range(23, 23), "quantizer": Range(4, 4)}
    ),
    "compress_again": Step(
        footage.compress_again,
        {"encoder_again": Choice(("libx264",)), "crf_again": Range(23, 23), "quantiser_again": Range(4, 4)},
    ),
}
"""All of them by name."""
