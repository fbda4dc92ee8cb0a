"""FVD: the Fréchet distance between the videos of two sets, in the features of a network that names actions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vividface_core.errors import UnsupportedCheckpoint
from vividface_core.metrics.metric import Chunk, ClipFacts, ClipResult, Metric, MetricContext
from vividface_core.metrics.weights import WeightFile

I3D = WeightFile(
    "i3d_torchscript.pt",
    "https://huggingface.co/flateon/FVD-I3D-torchscript/resolve/main/i3d_torchscript.pt",
    "MIT, as its uploader says; made by StyleGAN-V's authors of DeepMind's weights (Apache-2.0)",
    "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
    51_235_320,
)
SIDE, WINDOW, LEAST = 224, 16, 10
"""Pixels that the network sees; frames of a window, and the fewest that it can take."""
PUBLISHED_FRAMES = 24
"""The part of a clip that BFVR-STC's script looks at."""

Features = Callable[[Tensor], np.ndarray]
"""Videos ``[n, 3, T, 224, 224]``, −1…1, to features ``[n, d]``."""


def load_i3d(path: Path, device: torch.device | str = "cpu") -> Features:
    """The I3D of StyleGAN-V's FVD: 400 logits of Kinetics.

    The file is a TorchScript archive: no pickle of Python objects, but a program, which torch reads with its own
    unpickler of tensors and plain values and runs in its own interpreter; no Python in it is executed. Still it is a
    program, so take it from nowhere but its address.

    Raises:
        UnsupportedCheckpoint: it is no TorchScript, or one that is called otherwise.
    """
    try:
        network = torch.jit.load(str(path), map_location=device).eval()
        names = {argument.name for argument in network.forward.schema.arguments}
    except (RuntimeError, AttributeError) as error:
        raise UnsupportedCheckpoint(
            f"{path} is damaged or no TorchScript file. Download it again from {I3D.address}."
        ) from error
    if lost := {"rescale", "resize", "return_features"} - names:
        raise UnsupportedCheckpoint(f"{path} is another network than {I3D.address}: it takes no {', '.join(lost)}.")
    return lambda videos: (
        network(videos.to(device), rescale=False, resize=False, return_features=True).double().cpu().numpy()
    )


def prepare(frames: Tensor) -> Tensor:
    """``[n, 3, H, W]``, 0…1, for the network: the short side bilinearly to 224, the middle square, −1…1."""
    height, width = frames.shape[-2:]
    size = [math.ceil(side * SIDE / min(height, width)) for side in (height, width)]
    frames = F.interpolate(frames, size=size, mode="bilinear", align_corners=False)
    top, left = ((side - SIDE) // 2 for side in size)
    return frames[..., top : top + SIDE, left : left + SIDE] * 2 - 1


class FvdMeter:
    """Gathers the features of a clip's windows; the set's figure is made of all clips' (:func:`pooled_distance`)."""

    def __init__(self, features: Features) -> None:
        self._features = features
        self._waiting: list[Tensor] = []
        self._moments: tuple[Moments, Moments] | None = None

    def update(self, chunk: Chunk) -> Sequence[float]:
        for pair in zip(prepare(chunk.output), prepare(chunk.frames("reference"))):
            self._waiting.append(torch.stack(pair))
            if len(self._waiting) == WINDOW:
                self._take()
        return ()

    def compute(self) -> ClipResult:
        if len(self._waiting) >= LEAST:
            self._take()
        if self._moments is None:
            return ClipResult(math.nan, (f"it has fewer than {LEAST} frames",))
        count = self._moments[0].count
        notes = ("of one window: the distance of two features" if count == 1 else f"of {count} windows",)
        return ClipResult(frechet_distance(*self._moments), notes, self._moments)

    def _take(self) -> None:
        both = self._features(torch.stack(self._waiting, 2))
        self._waiting = []
        if self._moments is None:
            self._moments = Moments(both[:1]), Moments(both[1:])
        else:
            for moments, row in zip(self._moments, both):
                moments.add(row[None])


def pooled_distance(results: Sequence[ClipResult]) -> float:
    """FVD of a set: between all windows of all outputs and those of all references. NaN: no clip has any."""
    parts = [result.pooled for result in results if result.pooled is not None]
    return frechet_distance(*map(merged, zip(*parts))) if parts else math.nan


class FirstFramesMeter:
    """Squared distance between the features of a clip's first frames and its reference's: BFVR-STC's FVD of a clip."""

    def __init__(self, features: Features) -> None:
        self._features = features
        self._waiting: list[Tensor] = []

    def update(self, chunk: Chunk) -> Sequence[float]:
        room = PUBLISHED_FRAMES - len(self._waiting)
        if room > 0:
            self._waiting += map(
                torch.stack, zip(prepare(chunk.output[:room]), prepare(chunk.frames("reference")[:room]))
            )
        return ()

    def compute(self) -> ClipResult:
        if len(self._waiting) < LEAST:
            return ClipResult(math.nan, (f"it has fewer than {LEAST} frames",))
        # Its script reads files with OpenCV and leaves the channels in that order.
        output, reference = self._features(torch.stack(self._waiting, 2).flip(1))
        return ClipResult(float(np.square(output - reference).sum()))


def _i3d(context: MetricContext) -> Features:
    return context.once("i3d", lambda: load_i3d(context.path(I3D), context.device))


def _fvd(context: MetricContext, clip: ClipFacts) -> FvdMeter:
    return FvdMeter(_i3d(context))


def _per_clip(context: MetricContext, clip: ClipFacts) -> FirstFramesMeter:
    return FirstFramesMeter(_i3d(context))


ENTRIES = (
    Metric(
        "fvd",
        "FVD",
        False,
        "needed",
        f"Fréchet distance between all windows of all outputs and those of all references, covariances with n − 1; "
        f"windows of {WINDOW} consecutive frames without overlap, a clip's last one of {LEAST}–{WINDOW - 1} counts, a "
        "shorter one doesn't; StyleGAN-V's I3D (TorchScript, 400 logits before the softmax), short side bilinear to "
        f"{SIDE}, middle square, RGB. The windows are ours, and the fewer they are the larger the figure: compare "
        "only figures of the same clips. A single clip's figure is that of its own windows.",
        _fvd,
        (I3D,),
        digits=2,
        aggregate=pooled_distance,
    ),
    Metric(
        "fvd-per-clip",
        "FVD (per clip)",
        False,
        "needed",
        f"BFVR-STC's script, for clips of 512×512: the first {PUBLISHED_FRAMES} frames of a clip are one sample, and "
        "of one sample the Fréchet distance is the squared distance of two features; mean over clips. I3D as in FVD, "
        "channels in OpenCV's order, as there.",
        _per_clip,
        (I3D,),
        color="BGR",
        digits=2,
        default=False,
    ),
)


class Moments:
    """Number, mean and scatter of features, in float64.

    Attributes:
        count: of features.
        mean: ``[d]``.
        root: ``[r, d]`` with r ≤ 2 d; ``root.T @ root`` is the scatter.
    """

    def __init__(self, rows: np.ndarray) -> None:
        """Of features ``[n, d]``; n may be 0."""
        rows = np.asarray(rows, np.float64)
        self.count, width = rows.shape
        self.mean = rows.mean(0) if self.count else np.zeros(width)
        self.root = _short(rows - self.mean if self.count > 1 else np.zeros((0, width)))

    def add(self, rows: np.ndarray) -> None:
        """Take further features, ``[n, d]``."""
        self.merge(Moments(rows))

    def merge(self, other: Moments) -> None:
        """Take another set's (Chan et al. 1979)."""
        if not other.count:
            return
        count, between = self.count + other.count, other.mean - self.mean
        weight = np.sqrt(self.count * other.count / count)
        steps = [weight * between[None]] if self.count else []
        self.root = _short(np.concatenate([self.root, other.root, *steps]))
        self.mean = self.mean + between * (other.count / count)
        self.count = count

    @property
    def covariance(self) -> np.ndarray:
        """``[d, d]``, divided by ``count − 1``; zero with fewer than two features."""
        return self.root.T @ self.root / max(self.count - 1, 1)


def merged(parts: Sequence[Moments]) -> Moments:
    """Moments of all of ``parts`` together, at least one; they stay as they are."""
    whole = Moments(np.zeros((0, len(parts[0].mean))))
    for part in parts:
        whole.merge(part)
    return whole


def frechet_distance(one: Moments, other: Moments) -> float:
    """The squared Fréchet distance d² of two sets, each of at least one feature; with one, its covariance is zero."""
    roots = [part.root / np.sqrt(max(part.count - 1, 1)) for part in (one, other)]
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum() if all(map(len, roots)) else 0.0
    spread = sum(np.square(root).sum() for root in roots)
    # Of equal sets rounding leaves a little, perhaps below zero.
    return max(0.0, float(np.square(one.mean - other.mean).sum() + spread - 2 * shared))


def _short(root: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.qr(root, mode="r")) if len(root) > 2 * root.shape[1] else root
