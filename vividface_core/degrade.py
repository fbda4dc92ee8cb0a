"""The papers' degradation: y = [(x ⊛ k_σ) ↓_r + n_δ] through a video codec at a constant rate factor.

One parameter set a clip, a fresh noise realisation a frame, libx264 in memory, and back to the input's size.
Frames are ``Tensor[T, 3, H, W]``, float32, RGB, 0…1.
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from fractions import Fraction

import av
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Range = tuple[float, float]


@dataclass(frozen=True)
class DegradationRanges:
    """From where the parameters of a clip are drawn, uniformly. A pair of equal numbers fixes a value.

    The defaults are the ranges of the VividFace paper: blur σ 0.1–10 px, down-scaling r 1–4, noise δ 0–10 of 255,
    constant rate factor 18–25 (both ends included).
    """

    sigma: Range = (0.1, 10.0)
    scale: Range = (1.0, 4.0)
    noise: Range = (0.0, 10.0)
    crf: tuple[int, int] = (18, 25)

    def draw(self, seed: int) -> Degradation:
        """Draw one parameter set; the same seed gives the same set on every machine."""
        source = np.random.default_rng(seed)
        return Degradation(
            sigma=float(source.uniform(*self.sigma)),
            scale=float(source.uniform(*self.scale)),
            noise=float(source.uniform(*self.noise)),
            crf=int(source.integers(self.crf[0], self.crf[1] + 1)),
            seed=seed,
        )


@dataclass(frozen=True)
class Degradation:
    """Parameters of one clip. ``sigma`` in pixels, ``scale`` ≥ 1, ``noise`` in 1/255, libx264's ``crf`` or none."""

    sigma: float
    scale: float
    noise: float
    crf: int | None
    seed: int = 0

    def as_dict(self) -> dict[str, float | int | None]:
        """The parameters as plain values, for a record."""
        return asdict(self)

    def __call__(self, clip: Tensor) -> Tensor:
        """Degrade ``[T, 3, H, W]``; the result has the same shape, 0…1."""
        height, width = clip.shape[-2:]
        small = downscale(gaussian_blur(clip, self.sigma), self.scale)
        if self.noise > 0:
            source = np.random.default_rng((self.seed, 1))
            grain = source.standard_normal(tuple(small.shape), dtype=np.float32)
            small = small + torch.from_numpy(grain).to(small) * (self.noise / 255.0)
        small = small.clamp(0, 1)
        if self.crf is not None:
            small = through_h264(small, self.crf)
        return resize(small, height, width)


def gaussian_blur(clip: Tensor, sigma: float) -> Tensor:
    """Blur ``[T, C, H, W]`` with an isotropic Gaussian of ``sigma`` pixels, cut off at 3 σ, reflected borders."""
    radius = int(np.ceil(3 * sigma))
    if radius < 1:
        return clip
    at = torch.arange(-radius, radius + 1, dtype=clip.dtype, device=clip.device)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = kernel / kernel.sum()
    channels = clip.shape[1]
    for axis, shape in ((-1, (1, 1, 1, -1)), (-2, (1, 1, -1, 1))):
        clip = _reflect(clip, radius, axis)
        clip = F.conv2d(clip, kernel.view(shape).expand(channels, *kernel.view(shape).shape[1:]), groups=channels)
    return clip


def _reflect(clip: Tensor, radius: int, axis: int) -> Tensor:
    """Reflect borders by index, because ``F.pad`` refuses a radius beyond the picture's side."""
    size = clip.shape[axis]
    at = torch.arange(-radius, size + radius, device=clip.device)
    period = max(2 * (size - 1), 1)
    at = at.abs() % period
    at = torch.where(at >= size, period - at, at)
    return clip.index_select(axis, at)


def downscale(clip: Tensor, scale: float) -> Tensor:
    """Shrink by ``scale`` ≥ 1 with anti-aliased bilinear filtering; sides are rounded to even numbers for the codec."""
    height, width = (max(2, 2 * round(side / scale / 2)) for side in clip.shape[-2:])
    if (height, width) == tuple(clip.shape[-2:]):
        return clip
    return F.interpolate(clip, size=(height, width), mode="bilinear", antialias=True, align_corners=False)


def resize(clip: Tensor, height: int, width: int) -> Tensor:
    """Bicubic resize to ``height`` × ``width``, clamped to 0…1."""
    if (height, width) == tuple(clip.shape[-2:]):
        return clip.clamp(0, 1)
    return F.interpolate(clip, size=(height, width), mode="bicubic", align_corners=False).clamp(0, 1)


def _repeatable() -> dict[str, str]:
    """x264's AVX-512 code gives other bytes from run to run (seen with libx264 of PyAV 18); AVX2's are exact.

    Told only where the processor has more than AVX2: a set that it lacks would crash.
    """
    return {"x264-params": "asm=AVX2"} if torch.backends.cpu.get_cpu_capability() == "AVX512" else {}


def through_h264(clip: Tensor, crf: int) -> Tensor:
    """Encode ``[T, 3, H, W]`` (even sides) with libx264 in memory and decode it again; yuv420p, bt601."""
    frames = (clip * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    memory = io.BytesIO()
    with av.open(memory, "w", format="mp4") as sink:
        stream = sink.add_stream("libx264", rate=Fraction(25))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), **_repeatable()}
        # Threads would make the bytes depend on the machine.
        stream.codec_context.thread_count = 1
        for picture in frames:
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        sink.mux(stream.encode())
    memory.seek(0)
    # One reformatter for all frames: setting up a new one costs more than the conversion of a small frame.
    to_rgb = av.video.reformatter.VideoReformatter()
    with av.open(memory) as source:
        decoded = [to_rgb.reformat(frame, format="rgb24").to_ndarray() for frame in source.decode(video=0)]
    return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).to(clip) / 255.0
