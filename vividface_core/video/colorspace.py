"""RGB <-> YUV after matrix, range, bit depth and chroma siting.

Own arithmetic in float32 instead of swscale's: swscale's result depends on its release (chroma siting changed between
ffmpeg 5 and 8) and on hidden defaults (an untagged file is bt601 at any size). The filter is swscale's bicubic, so
that both agree within one code value where they mean the same.
"""

from __future__ import annotations

from functools import lru_cache

import av
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, pad

from vividface_core.errors import UnreadableVideo
from vividface_core.video.info import ColorInfo
from vividface_core.video.pixel_formats import Layout, layout, planes, with_planes

_LUMA_WEIGHTS = {  # (red, blue) share of luma, as the standards define them
    "bt709": (0.2126, 0.0722),
    "smpte170m": (0.299, 0.114),
    "bt470bg": (0.299, 0.114),
    "fcc": (0.30, 0.11),
    "smpte240m": (0.212, 0.087),
    "bt2020nc": (0.2627, 0.0593),
    "bt2020c": (0.2627, 0.0593),  # treated as non-constant luminance, as ffmpeg does
}
_KEYS_A = -0.6
"""Sharpness of the bicubic kernel; swscale's default."""

_NEUTRAL = 2
"""Levels (of 256) of chroma that lossy coding leaves in black-and-white pictures."""

FILTER_REACH = 8
"""A chroma sample depends on luma positions at most this far away (for subsampling by two)."""


def luma_weights(matrix: str) -> tuple[float, float, float]:
    """Shares of red, green and blue in luma.

    Raises:
        UnreadableVideo: a matrix that isn't a plain luma/colour-difference one (``ictcp``, ``ycgco`` …).
    """
    if matrix not in _LUMA_WEIGHTS:
        known = ", ".join(sorted(_LUMA_WEIGHTS))
        raise UnreadableVideo(
            f"The video's colour matrix is {matrix}, which can't be converted here (known: {known}). "
            "Convert it first, for example with ffmpeg -vf zscale=matrix=bt709."
        )
    red, blue = _LUMA_WEIGHTS[matrix]
    return red, 1 - red - blue, blue


def to_rgb(native: av.VideoFrame, color: ColorInfo) -> Tensor:
    """Convert one planar frame.

    Returns:
        ``[3, H, W]`` float32, RGB, 0…1; values outside RGB's cube are clipped.
    """
    shape = layout(native.format.name)
    samples = [torch.from_numpy(plane.astype(np.float32)) for plane in planes(native)[: shape.color_planes]]
    if shape.family == "rgb":
        green, blue, red = samples
        return torch.stack((red, green, blue)).div_(shape.peak)
    zero, span, _, _ = _quantization(shape.depth, color.range)
    luma = samples[0].sub_(zero).div_(span)
    if shape.family == "gray":
        return luma.clamp_(0, 1).expand(3, -1, -1).contiguous()
    return _yuv_to_rgb(luma, torch.stack(samples[1:]), shape, color)


def _yuv_to_rgb(luma: Tensor, chroma: Tensor, shape: Layout, color: ColorInfo) -> Tensor:
    _, _, zero, span = _quantization(shape.depth, color.range)
    height, width = luma.shape
    chroma = _upsample(chroma.sub_(zero).div_(span), shape, color.siting)[:, :height, :width]
    return _matrixed(luma, chroma[0], chroma[1], color)


def _matrixed(luma: Tensor, cb: Tensor, cr: Tensor, color: ColorInfo) -> Tensor:
    red, green, blue = luma_weights(color.matrix)
    out = torch.empty(3, *luma.shape)
    torch.add(luma, cr, alpha=2 * (1 - red), out=out[0])
    torch.add(luma, cb, alpha=-2 * blue * (1 - blue) / green, out=out[1])
    out[1].add_(cr, alpha=-2 * red * (1 - red) / green)
    torch.add(luma, cb, alpha=2 * (1 - blue), out=out[2])
    return out.clamp_(0, 1)


def thumbnail(native: av.VideoFrame, color: ColorInfo, width: int, height: int) -> Tensor:
    """A planar frame made smaller by averaging, then converted: ``[3, height, width]``, 0…1, as :func:`to_rgb`.

    Chroma is averaged over the same area as luma, so its siting doesn't matter.
    """
    shape = layout(native.format.name)
    small = [
        adaptive_avg_pool2d(torch.from_numpy(plane.astype(np.float32))[None], (height, width))[0]
        for plane in planes(native)[: shape.color_planes]
    ]
    if shape.family == "rgb":
        green, blue, red = small
        return torch.stack((red, green, blue)).div_(shape.peak)
    zero, span, chroma_zero, chroma_span = _quantization(shape.depth, color.range)
    luma = small[0].sub_(zero).div_(span)
    if shape.family == "gray":
        return luma.clamp_(0, 1).expand(3, -1, -1).contiguous()
    cb, cr = ((plane - chroma_zero) / chroma_span for plane in small[1:])
    return _matrixed(luma, cb, cr, color)


def is_neutral(native: av.VideoFrame) -> bool:
    """Whether a planar frame has no colour: its chroma, or the difference of its channels, is zero but for coding."""
    shape = layout(native.format.name)
    samples = planes(native)[: shape.color_planes]
    most = _NEUTRAL << (shape.depth - 8)
    if shape.family == "gray":
        return True
    if shape.family == "yuv":
        zero = 128 << (shape.depth - 8)
        return all(int(plane.max()) - zero <= most and zero - int(plane.min()) <= most for plane in samples[1:])
    first = samples[0].astype(np.int32)
    return all(int(np.abs(plane - first).max()) <= most for plane in samples[1:])


def luma(rgb: Tensor, matrix: str = "bt709") -> Tensor:
    """The luma ``[…, 1, H, W]`` of ``[…, 3, H, W]``, by a known matrix."""
    weights = torch.tensor(luma_weights(matrix), dtype=rgb.dtype, device=rgb.device)
    return (rgb * weights.view(3, 1, 1)).sum(-3, keepdim=True)


def without_color(rgb: Tensor, matrix: str) -> Tensor:
    """``[3, H, W]`` in grey, of the same luma by a matrix (any that is known; else bt709's)."""
    red, green, blue = luma_weights(matrix if matrix in _LUMA_WEIGHTS else "bt709")
    return (red * rgb[0] + green * rgb[1] + blue * rgb[2]).expand(3, -1, -1).contiguous()


def from_rgb(rgb: Tensor, shape: Layout, color: ColorInfo) -> list[np.ndarray]:
    """Convert ``[3, H, W]`` (0…1) to the colour planes of a format, rounded to its depth; alpha is not made."""
    rgb = rgb.detach().to("cpu", torch.float32).clamp(0, 1)
    if shape.family == "rgb":
        return [_quantize(rgb[channel] * shape.peak, shape) for channel in (1, 2, 0)]
    red, green, blue = luma_weights(color.matrix)
    luma = red * rgb[0] + green * rgb[1] + blue * rgb[2]
    zero, span, chroma_zero, chroma_span = _quantization(shape.depth, color.range)
    out = [_quantize(luma * span + zero, shape)]
    if shape.family == "yuv":
        chroma = torch.stack(((rgb[2] - luma) / (2 * (1 - blue)), (rgb[0] - luma) / (2 * (1 - red))))
        chroma = _downsample(chroma, shape, color.siting)
        out += [_quantize(plane * chroma_span + chroma_zero, shape) for plane in chroma]
    return out


def convert(native: av.VideoFrame, source: ColorInfo, target_format: str, target: ColorInfo) -> av.VideoFrame:
    """The frame in another planar format and colour coding.

    Same family, matrix and range: luma is copied (scaled by a power of two where the depth differs) and only chroma
    of another subsampling is resampled. Otherwise by way of RGB.
    """
    have, want = layout(native.format.name), layout(target_format)
    samples = planes(native)
    same_coding = have.family == "rgb" or (source.matrix, source.range) == (target.matrix, target.range)
    if have == want and same_coding:
        return native
    if have.family == want.family and same_coding:
        out = [_deepen(samples[0], have, want, source.range)]
        out += _resample_chroma(samples[1 : have.color_planes], samples[0].shape, have, want, source)
    else:
        out = from_rgb(to_rgb(native, source), want, target)
    if want.alpha:
        opaque = np.full_like(out[0], want.peak)
        out.append(_deepen(samples[-1], have, want, "pc") if have.alpha else opaque)
    return with_planes(native, target_format, out)


def _resample_chroma(
    chroma: list[np.ndarray], size: tuple[int, int], have: Layout, want: Layout, color: ColorInfo
) -> list[np.ndarray]:
    if not chroma or (have == want):
        return chroma
    values = torch.from_numpy(np.stack(chroma).astype(np.float32))
    if (have.log2_w, have.log2_h) != (want.log2_w, want.log2_h):
        # Up to full size and down again: one path for every pair of subsamplings.
        full = _upsample(values, have, color.siting)[:, : size[0], : size[1]]
        values = _downsample(full, want, color.siting)
    # Around its zero, which is not a multiple of the peak.
    zero_have, zero_want = ((128 << (shape.depth - 8)) if have.family == "yuv" else 0 for shape in (have, want))
    values = (values - zero_have) * _depth_scale(have, want, color.range) + zero_want
    return [_quantize(plane, want) for plane in values]


def _deepen(plane: np.ndarray, have: Layout, want: Layout, range_: str) -> np.ndarray:
    """Luma, grey or alpha in another depth."""
    if have.depth == want.depth:
        return plane
    return _quantize(torch.from_numpy(plane.astype(np.float32)) * _depth_scale(have, want, range_), want)


def _depth_scale(have: Layout, want: Layout, range_: str) -> float:
    # Limited range grows by whole bits; full range maps the old peak to the new one.
    if range_ == "tv" and have.family != "rgb":
        return 2.0 ** (want.depth - have.depth)
    return want.peak / have.peak


def _quantization(depth: int, range_: str) -> tuple[float, float, float, float]:
    """Luma's zero and span, chroma's zero and span, in code values."""
    step = 1 << (depth - 8)
    if range_ == "pc":
        peak = (1 << depth) - 1
        return 0.0, peak, 128 * step, peak
    return 16 * step, 219 * step, 128 * step, 224 * step


def _quantize(values: Tensor, shape: Layout) -> np.ndarray:
    return values.round().clamp_(0, shape.peak).numpy().astype(shape.dtype)


def _kernel(distance: float) -> float:
    d = abs(distance)
    if d < 1:
        return ((_KEYS_A + 2) * d - (_KEYS_A + 3)) * d * d + 1
    if d < 2:
        return ((_KEYS_A * d - 5 * _KEYS_A) * d + 8 * _KEYS_A) * d - 4 * _KEYS_A
    return 0.0


@lru_cache(maxsize=32)
def _up_taps(factor: int, first: float) -> list[tuple[int, list[float]]]:
    """For each phase of an enlarged line: offset of the first of four taps, and the taps.

    ``first`` is where the first chroma sample lies, in luma samples.
    """
    phases = []
    for phase in range(factor):
        at = (phase - first) / factor
        start = int(np.floor(at)) - 1
        phases.append((start, [_kernel(at - (start + k)) for k in range(4)]))
    return phases


def _enlarge(lines: Tensor, factor: int, first: float) -> Tensor:
    """Enlarge the last dimension; the border sample is repeated outside."""
    length = lines.shape[-1]
    padded = pad(lines, (2, 2), mode="replicate")
    out = lines.new_empty(*lines.shape[:-1], length * factor)
    for phase, (start, taps) in enumerate(_up_taps(factor, first)):
        target = out[..., phase::factor]
        target.zero_()
        for k, tap in enumerate(taps):
            if tap:
                begin = 2 + start + k
                target.add_(padded[..., begin : begin + length], alpha=tap)
    return out


def _shrink(lines: Tensor, factor: int, first: float) -> Tensor:
    """Shrink the last dimension (a multiple of ``factor``) with the kernel stretched to the new sample distance."""
    length, reach = lines.shape[-1] // factor, 2 * factor
    padded = pad(lines, (reach, reach), mode="replicate")
    positions = range(-reach + 1, reach + factor)
    taps = {x: _kernel((x - first) / factor) for x in positions}
    total = sum(taps.values())
    out = lines.new_zeros(*lines.shape[:-1], length)
    for x, tap in taps.items():
        if tap:
            begin = reach + x
            out.add_(padded[..., begin : begin + (length - 1) * factor + 1 : factor], alpha=tap / total)
    return out


def _first_positions(shape: Layout, siting: str) -> tuple[float, float]:
    """Where the first chroma sample lies, horizontally and vertically, in luma samples."""
    horizontal = 0.0 if siting == "left" else ((1 << shape.log2_w) - 1) / 2
    return horizontal, ((1 << shape.log2_h) - 1) / 2


def _upsample(chroma: Tensor, shape: Layout, siting: str) -> Tensor:
    across, down = _first_positions(shape, siting)
    if shape.log2_h:
        chroma = _enlarge(chroma.transpose(-1, -2), 1 << shape.log2_h, down).transpose(-1, -2)
    return _enlarge(chroma, 1 << shape.log2_w, across) if shape.log2_w else chroma


def _downsample(chroma: Tensor, shape: Layout, siting: str) -> Tensor:
    across, down = _first_positions(shape, siting)
    height, width = chroma.shape[-2:]
    chroma = pad(chroma, (0, -width % (1 << shape.log2_w), 0, -height % (1 << shape.log2_h)), mode="replicate")
    if shape.log2_w:
        chroma = _shrink(chroma, 1 << shape.log2_w, across)
    if shape.log2_h:
        chroma = _shrink(chroma.transpose(-1, -2), 1 << shape.log2_h, down).transpose(-1, -2)
    return chroma
