"""A face as a vector: the same person's faces point the same way.

The network is a MobileFaceNet (Chen et al.: "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification
on Mobile Devices", 2018) of an openly licensed package. What it was trained on isn't documented, so it serves to
follow people through a video and to notice drift; it is not the ArcFace that papers report identity scores with.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vividface_core.faces.weights import FOLDER, read_weights

WEIGHTS = FOLDER / "embedding.safetensors"

SIDE = 112
"""Side of the aligned face that the network takes, in pixels."""
DIMENSIONS = 512
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where the five landmarks go in the aligned face: pixels, the common ArcFace layout."""


class _Bottleneck(nn.Sequential):
    """Widen, filter each channel, narrow."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, inner, 1),
            nn.PReLU(inner),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner),
            nn.PReLU(inner),
            nn.Conv2d(inner, outputs, 1),
        )


class _Residual(_Bottleneck):
    def __init__(self, channels: int, inner: int) -> None:
        super().__init__(channels, inner, channels)

    def forward(self, features: Tensor) -> Tensor:
        return features + super().forward(features)


class MobileFaceNet(nn.Sequential):
    """Aligned faces [N,3,112,112] BGR −1…1 → vectors [N,512], not normalised. Batch norms are folded in."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 64, 3, 2, 1),
            nn.PReLU(64),
            nn.Conv2d(64, 64, 3, 1, 1, groups=64),
            nn.PReLU(64),
            _Bottleneck(64, 128, 64, stride=2),
            *(_Residual(64, 128) for _ in range(4)),
            _Bottleneck(64, 256, 128, stride=2),
            *(_Residual(128, 256) for _ in range(6)),
            _Bottleneck(128, 512, 128, stride=2),
            *(_Residual(128, 256) for _ in range(2)),
            nn.Conv2d(128, 512, 1),
            nn.PReLU(512),
            nn.Conv2d(512, 512, 7, groups=512),
            nn.Conv2d(512, DIMENSIONS, 1),
            nn.Flatten(),
        )


class FaceEmbedder:
    """Aligns faces by their landmarks and embeds them."""

    def __init__(self, net: MobileFaceNet) -> None:
        self.net = net

    @property
    def _like(self) -> Tensor:
        """Of the network's type, on its device."""
        return next(self.net.parameters())

    @torch.inference_mode()
    def embed(self, frame: Tensor, landmarks: np.ndarray) -> np.ndarray:
        """Unit vectors float32 [N,512] of the faces of one frame; their dot product tells how alike two faces are.

        Args:
            frame: [3,H,W] RGB 0…1.
            landmarks: [N,5,2] pixels, in the order of ``FaceDetection.landmarks``.
        """
        if not len(landmarks):
            return np.zeros((0, DIMENSIONS), np.float32)
        return self.vectors(align(frame.to(self._like), landmarks)).cpu().numpy()

    @torch.inference_mode()
    def strengths(self, frame: Tensor, landmarks: np.ndarray) -> np.ndarray:
        """Lengths float32 [N] of the vectors before they are normalised: the longer, the more the network sees of a
        face as it knows faces. Sharp upright ones have 3.3 and more; blur, small size, and landmarks that don't lie
        where eyes and mouth are make it less.

        Args:
            frame, landmarks: as :meth:`embed`.
        """
        if not len(landmarks):
            return np.zeros(0, np.float32)
        return self._raw(align(frame.to(self._like), landmarks)).norm(dim=1).float().cpu().numpy()

    @torch.inference_mode()
    def vectors(self, faces: Tensor) -> Tensor:
        """Unit vectors float32 [N,512] of aligned faces [N,3,112,112] RGB 0…1; see :func:`align`."""
        return functional.normalize(self._raw(faces), dim=1).float()

    def _raw(self, faces: Tensor) -> Tensor:
        # Blue first: the package feeds red first, but then faces of one person are measurably less alike.
        blue_first = faces.to(self._like).flip(1)
        return self.net((blue_first * 255 - 127) / 128)


def align(frame: Tensor, landmarks: np.ndarray, side: int = SIDE) -> Tensor:
    """Turn, scale and shift faces so that their landmarks fit the template best in the least-squares sense.

    Args:
        frame: [3,H,W] RGB 0…1.
        landmarks: [N,5,2] pixels, where 0 is the edge of the first pixel.
        side: of the result, in pixels.

    Returns:
        [N,3,side,side]; black outside the frame. Large faces are averaged, not subsampled.
    """
    height, width = frame.shape[-2:]
    to_unit = torch.tensor([2 / width, 2 / height], dtype=frame.dtype)
    faces = []
    for a, b in map(similarity, np.asarray(landmarks, np.float64)):
        oversampling = max(1, math.ceil(abs(a) * SIDE / side))
        steps = (np.arange(side * oversampling) + 0.5) * SIDE / (side * oversampling)
        at = a * (steps[None, :] + 1j * steps[:, None]) + b
        grid = torch.from_numpy(np.stack([at.real, at.imag], -1)).to(frame.dtype) * to_unit - 1
        sampled = functional.grid_sample(frame[None], grid[None].to(frame.device), align_corners=False)
        faces.append(functional.avg_pool2d(sampled, oversampling))
    return torch.cat(faces)


def similarity(points: np.ndarray) -> tuple[complex, complex]:
    """Least-squares ``a``, ``b`` with points ≈ a·template + b, both read as complex numbers x + iy.

    In this form the best similarity without mirroring (Umeyama 1991) has a closed solution. It is fitted in the
    template's metric, so that all faces weigh their landmarks alike.
    """
    source = points[:, 0] + 1j * points[:, 1]
    target = TEMPLATE[:, 0] + 1j * TEMPLATE[:, 1]
    source_centre, target_centre = source.mean(), target.mean()
    spread = np.vdot(source - source_centre, source - source_centre).real
    to_template = np.vdot(source - source_centre, target - target_centre) / max(spread, 1e-12)
    # Points that all coincide have no scale; then the template's own is as good as any.
    a = 1 / to_template if abs(to_template) > 1e-6 else 1.0 + 0j
    return a, source_centre - a * target_centre


def load_embedder(device: str | torch.device = "cpu") -> FaceEmbedder:
    """The embedder with the weights that come with the package.

    Raises:
        MissingWeights: the file isn't there, so the installation is incomplete.
    """
    net = MobileFaceNet()
    net.load_state_dict(read_weights(WEIGHTS))
    return FaceEmbedder(net.eval().requires_grad_(False).to(device))
