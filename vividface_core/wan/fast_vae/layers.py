"""The arithmetic of Wan's autoencoder, layer by layer, for inference.

The same sums as diffusers' modules in a better order. Features are ``[T, H, W, C]``, contiguous: frames follow each
other in memory, so that remembered frames are put before new ones without copying these, and a pixel's channels lie
together, as convolutions and norms want it. Weights are read off diffusers' modules each time: whoever moves, casts or
patches them is followed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.wan.fast_vae import winograd
from vividface_core.wan.module_types import WanModule

Memory = dict[nn.Module, Tensor]
"""What a stream remembers: the last frames before each causal convolution."""
Fill = Callable[[Tensor], None]
"""Writes a layer's input into the tensor it is given."""

BAND = 4 << 20
"""Bytes of a norm's band: small enough to stay in a core's cache between its passes."""
NARROW = 16
"""Convolutions with fewer channels gain nothing from Winograd's form."""
TINY = 1e-26
"""Keeps the root mean square of an all-zero pixel from being a divisor."""


def norm(x: Tensor, layer: WanModule) -> Tensor:
    """Each pixel's channels divided by their root mean square, times gamma (WanRMS_norm)."""
    out = F.rms_norm(x, x.shape[-1:], layer.gamma.reshape(-1).to(x.dtype), TINY)
    return out if isinstance(layer.bias, float) else out + layer.bias.reshape(-1).to(x.dtype)


def norm_silu(x: Tensor, layer: WanModule, out: Tensor) -> None:
    """SiLU of :func:`norm`, written into ``out``."""
    rows = max(1, BAND // (x[0, 0].numel() * x.element_size())) if x.device.type == "cpu" else x.shape[1]
    for source, target in zip(x, out) if x.device.type == "cpu" else ((x, out),):
        axis = source.ndim - 3
        for part, into in zip(source.split(rows, axis), target.split(rows, axis)):
            torch.ops.aten.silu.out(norm(part, layer), out=into)


def pointwise(x: Tensor, layer: WanModule) -> Tensor:
    """A convolution with a kernel of one."""
    weight, bias = _weights(layer, x)
    return F.linear(x, weight.flatten(1), bias)


def causal(
    layer: WanModule, memory: Memory, shape: tuple[int, ...], like: Tensor, fill: Fill, into: Tensor | None = None
) -> Tensor:
    """Causal 3×3×3 convolution of the next frames.

    Args:
        shape: ``(T, H, W, C)`` of the input.
        like: gives type and device.
        fill: writes the input.
        into: is added to, instead of a new tensor.
    """
    frames, height, width, channels = shape
    known = memory.get(layer)
    lead = 0 if known is None and frames == 1 else 2  # before the first frame there is nothing but zeros
    edge = 1 if lead and frames > 1 and _suits_winograd(layer, like) else 0
    x = like.new_empty(lead + frames, height + 2 * edge, width, channels)
    inner = x[:, edge : edge + height]
    if edge:
        x[:, 0] = x[:, -1] = 0
    if lead:
        missing = 2 if known is None else 2 - len(known)
        inner[:missing] = 0
        if known is not None:
            inner[missing:2] = known
    fill(inner[lead:])
    # A copy: a view would keep all of the input alive.
    memory[layer] = inner[max(0, len(inner) - 2) :].clone(memory_format=torch.contiguous_format)
    weight, bias = _weights(layer, x)
    if edge:
        return _by_winograd(x, weight, bias, frames, into)
    if lead == 0:
        out = _as_frames(F.conv2d(x.permute(0, 3, 1, 2), weight[:, :, -1], bias, padding=1))
    elif frames == 1 and x.device.type == "cpu":
        out = _one_frame(x, weight, bias)
    else:
        out = F.conv3d(x.permute(3, 0, 1, 2)[None], weight, bias, padding=(0, 1, 1))[0].permute(1, 2, 3, 0)
    return out.contiguous() if into is None else into.add_(out)


def _suits_winograd(layer: WanModule, x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and min(layer.weight.shape[:2]) >= NARROW


def _by_winograd(x: Tensor, weight: Tensor, bias: Tensor | None, frames: int, into: Tensor | None) -> Tensor:
    out = x.new_empty(frames, x.shape[1] - 2, x.shape[2], len(weight)) if into is None else into
    done = 0
    for outputs in (4, 2):
        kernels = winograd.transform_kernel(weight, outputs) if frames - done >= outputs else []
        while frames - done >= outputs:
            end = done + outputs
            winograd.convolve(x[done : end + 2], kernels, bias, out[done:end], into is not None)
            done = end
    if done < frames:
        last = _one_frame(x[done:, 1:-1], weight, bias)
        out[done:] = last if into is None else out[done:] + last
    return out


def _one_frame(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Three frames to one: a flat convolution over three times the channels; libraries are bad at so thin a volume."""
    x = x.permute(0, 3, 1, 2).flatten(0, 1)[None].contiguous(memory_format=torch.channels_last)
    return _as_frames(F.conv2d(x, weight.permute(0, 2, 1, 3, 4).flatten(1, 2), bias, padding=1))


def _as_frames(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _weights(layer: WanModule, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Usually the parameters as they are; a host may store them in a narrower type than it computes in."""
    return layer.weight.to(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype)


def upsample(x: Tensor, layer: WanModule) -> Tensor:
    """Twice the size by repetition, then a 3×3 convolution (``layer``), as one step.

    A 3×3 window over doubled pixels sees only 2×2 different ones; which, depends on where in its pixel the output lies.
    So there are four 2×2 kernels, sums of the original's rows and columns, and 4/9 of the arithmetic.
    """
    weight, bias = _weights(layer, x)
    kernels = _subpixel_kernels(weight)
    bias = None if bias is None else bias.repeat(4)
    frames, height, width, _ = x.shape
    out = x.new_empty(frames, height, 2, width, 2, len(weight))
    for source, target in zip(x.split(1), out.split(1)) if x.device.type == "cpu" else ((x, out),):
        phases = _as_frames(F.conv2d(source.permute(0, 3, 1, 2), kernels, bias, padding=1)).unflatten(-1, (2, 2, -1))
        for row in range(2):
            for column in range(2):
                here = phases[:, row : row + height, column : column + width, row, column]
                target[:, :, row, :, column] = here
    return out.view(frames, 2 * height, 2 * width, -1)


def _subpixel_kernels(weight: Tensor) -> Tensor:
    """``[O, C, 3, 3]`` to ``[4·O, C, 2, 2]``, phases in reading order."""
    kernel = weight.float()
    rows = torch.stack(
        [  # the upper phase sees its own pixel through two rows of the kernel, the lower one too
            torch.stack([kernel[:, :, 0], kernel[:, :, 1] + kernel[:, :, 2]], 2),
            torch.stack([kernel[:, :, 0] + kernel[:, :, 1], kernel[:, :, 2]], 2),
        ]
    )
    both = torch.stack(
        [
            torch.stack([rows[..., 0], rows[..., 1] + rows[..., 2]], -1),
            torch.stack([rows[..., 0] + rows[..., 1], rows[..., 2]], -1),
        ],
        1,
    )
    return both.flatten(0, 2).to(weight.dtype)


def downsample(x: Tensor, layer: WanModule) -> Tensor:
    """3×3 convolution with stride 2 over a map with zeros to its right and below."""
    weight, bias = _weights(layer, x)
    x = x.permute(0, 3, 1, 2)
    parts = x.split(1) if x.device.type == "cpu" else (x,)
    out = [F.conv2d(F.pad(part, (0, 1, 0, 1)), weight, bias, stride=2) for part in parts]
    return _as_frames(torch.cat(out)).contiguous()


def temporal_upsample(x: Tensor, layer: WanModule, memory: Memory) -> Tensor:
    """Two frames for each by a causal convolution over time alone: ``[T, H, W, C]`` to ``[2T, H, W, C]``."""
    weight, bias = _weights(layer, x)
    taps = weight.flatten(2).unflatten(0, (2, -1))  # [2, C, C, 3]
    history = [*memory[layer], *x] if layer in memory else [*x]
    out = x.new_empty(len(x), 2, *x.shape[1:])
    for index in range(len(x)):
        at = len(history) - len(x) + index
        for half in range(2):
            frames = {2 - back: history[at - back] for back in range(3) if at >= back}
            _time_sum(frames, taps[half], None if bias is None else bias.view(2, -1)[half], out[index, half])
    memory[layer] = torch.stack(history[-2:])
    return out.flatten(0, 1)


def temporal_downsample(x: Tensor, layer: WanModule, memory: Memory) -> Tensor:
    """One frame for two by a causal convolution over time alone; the first frame passes as it is."""
    known = memory.get(layer)
    memory[layer] = x[-1:].clone()
    if known is None:
        return x
    weight, bias = _weights(layer, x)
    history, taps = [known[0], *x], weight.flatten(2)
    out = x.new_empty(len(x) // 2, *x.shape[1:])
    for index, target in enumerate(out):
        _time_sum(dict(enumerate(history[2 * index : 2 * index + 3])), taps, bias, target)
    return out


def _time_sum(frames: dict[int, Tensor], taps: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """Sum over taps of frame·weight, into ``out``."""
    flat = out.view(-1, out.shape[-1])
    for count, (tap, frame) in enumerate(frames.items()):
        lines, weight = frame.reshape(-1, frame.shape[-1]), taps[..., tap].T
        if count:
            flat.addmm_(lines, weight)
        elif bias is None:
            torch.mm(lines, weight, out=flat)
        else:
            torch.addmm(bias, lines, weight, out=flat)


def self_attention(x: Tensor, block: WanModule) -> Tensor:
    """Self-attention with one head within each frame, added to ``x`` in place; a frame at a time."""
    for frame in x:
        tokens = norm(frame, block.norm).flatten(0, 1)
        query, key, value = pointwise(tokens, block.to_qkv)[None, None].chunk(3, -1)
        mixed = F.scaled_dot_product_attention(query, key, value)[0, 0]
        frame += pointwise(mixed, block.proj).view(frame.shape)
    return x
