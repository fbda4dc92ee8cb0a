"""LPIPS and DISTS: distances of pictures in the features of a network that has seen many.

Both take pictures ``[N, 3, H, W]``, RGB, 0…1, and give ``[N]``, 0 = equal, lower is better. Both are differentiable, so
they serve as losses too.

LPIPS (Zhang et al. 2018) is a weighted squared difference of unit-length features; DISTS (Ding et al. 2020) compares
each feature map's mean (texture) and its covariance with the other's (structure).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.errors import UnsupportedCheckpoint
from vividface_core.io.tensors import read_tensors

VGG_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
ALEX_STAGES = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
"""Channels, kernel, stride, padding; a pooling stands before the second and the third."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VggStages(nn.Module):
    """VGG16's five stages of convolutions, each after the last ReLU before its pooling.

    Args:
        pool: what stands between stages; LPIPS has the network's own maximum, DISTS a smooth one.
    """

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool, width = pool, 3
        self.stages = nn.ModuleList()
        for stage in VGG_STAGES:
            layers: list[nn.Module] = []
            for channels in stage:
                layers += [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU()]
                width = channels
            self.stages.append(nn.Sequential(*layers))

    def forward(self, x: Tensor) -> list[Tensor]:
        out: list[Tensor] = []
        for stage in self.stages:
            x = stage(self.pool(x) if out else x)
            out.append(x)
        return out


class AlexStages(nn.Module):
    """AlexNet's five convolutions, each after its ReLU."""

    def __init__(self) -> None:
        super().__init__()
        width = 3
        self.stages = nn.ModuleList()
        for channels, kernel, stride, padding in ALEX_STAGES:
            self.stages.append(nn.Sequential(nn.Conv2d(width, channels, kernel, stride, padding), nn.ReLU()))
            width = channels

    def forward(self, x: Tensor) -> list[Tensor]:
        out: list[Tensor] = []
        for number, stage in enumerate(self.stages):
            x = stage(F.max_pool2d(x, 3, 2) if number in (1, 2) else x)
            out.append(x)
        return out


class SmoothPool(nn.Module):
    """Halves a picture: the root of its squares under a 3×3 Hann window, which makes no aliases (DISTS, Eq. 4)."""

    def forward(self, x: Tensor) -> Tensor:
        line = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype, device=x.device)
        kernel = (line[:, None] * line).expand(x.shape[1], 1, 3, 3)
        return (F.conv2d(x.square(), kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


class Lpips(nn.Module):
    """LPIPS 0.1 with ``alex`` or ``vgg`` features."""

    shift: Tensor
    scale: Tensor

    def __init__(self, network: str = "alex") -> None:
        super().__init__()
        self.features = AlexStages() if network == "alex" else VggStages(nn.MaxPool2d(2))
        widths = [stage[0] for stage in ALEX_STAGES] if network == "alex" else [stage[-1] for stage in VGG_STAGES]
        self.heads = nn.ParameterList(torch.zeros(width) for width in widths)
        # The original's normalisation, for values of −1…1.
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1), persistent=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """``[N]`` of two ``[N, 3, H, W]``, 0…1."""
        pair = [self.features((2 * x - 1 - self.shift) / self.scale) for x in (first, second)]
        total = first.new_zeros(len(first))
        for a, b, head in zip(*pair, self.heads):
            squares = (_unit(a) - _unit(b)).square()
            total = total + (squares * head.view(1, -1, 1, 1)).sum(1).mean((1, 2))
        return total


def _unit(x: Tensor) -> Tensor:
    # The small number stands under the root too: a pixel without any feature has no direction, nor a gradient.
    return x / ((x.square().sum(1, keepdim=True) + 1e-20).sqrt() + 1e-10)


class Dists(nn.Module):
    """DISTS with VGG16 features; the picture itself is the first feature."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = VggStages(SmoothPool())
        width = 3 + sum(stage[-1] for stage in VGG_STAGES)
        self.alpha, self.beta = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """``[N]`` of two ``[N, 3, H, W]``, 0…1."""
        pair = [[x, *self.features((x - self.mean) / self.std)] for x in (first, second)]
        weight = self.alpha.sum() + self.beta.sum()
        widths = [x.shape[1] for x in pair[0]]
        similarity = first.new_zeros(len(first))
        for a, b, alpha, beta in zip(*pair, self.alpha.split(widths), self.beta.split(widths)):
            texture, structure = _texture_and_structure(a, b)
            similarity = similarity + (texture * alpha + structure * beta).sum(1) / weight
        return 1 - similarity


def _texture_and_structure(a: Tensor, b: Tensor, small: float = 1e-6) -> tuple[Tensor, Tensor]:
    mean_a, mean_b = a.mean((2, 3)), b.mean((2, 3))
    square_a, square_b = (a - mean_a[..., None, None]).square(), (b - mean_b[..., None, None]).square()
    covariance = (a * b).mean((2, 3)) - mean_a * mean_b
    texture = (2 * mean_a * mean_b + small) / (mean_a.square() + mean_b.square() + small)
    structure = (2 * covariance + small) / (square_a.mean((2, 3)) + square_b.mean((2, 3)) + small)
    return texture, structure


def load_perceptual(name: str, *paths: Path) -> nn.Module:
    """``lpips-alex``, ``lpips-vgg`` or ``dists``, frozen, with the weights of our own file or of two published ones.

    Args:
        paths: a file of the whole network's own state; or the authors' (LPIPS's heads, DISTS's α and β) and
            torchvision's AlexNet or VGG16.

    Raises:
        MissingWeights: a file isn't there.
        UnsupportedCheckpoint: it is of another network.
    """
    net = Dists() if name == "dists" else Lpips(name.removeprefix("lpips-"))
    files = [read_tensors(path) for path in paths]
    fill(net, files[0] if len(files) == 1 else published(net, *files), " with ".join(map(str, paths)))
    return net.eval().requires_grad_(False)


def published(net: nn.Module, authors: Mapping[str, Tensor], backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of ``net`` out of the tensors of two published files; what they lack is missing in it."""
    state = {key: authors[key].flatten() for key in ("alpha", "beta") if key in authors}
    names = {f"heads.{i}": f"lin{i}.model.1.weight" for i in range(5)}
    state |= {key: authors[name].flatten() for key, name in names.items() if name in authors}
    # torchvision counts pooling and ReLU too, so only the order is the same.
    places = {key.split(".")[1] for key in backbone if key.startswith("features.")}
    layers = sorted(int(place) for place in places if place.isdigit())
    ours = [key.removesuffix(".weight") for key in net.state_dict() if key.startswith("features.") and "weight" in key]
    names = {f"{our}.{part}": f"features.{n}.{part}" for our, n in zip(ours, layers) for part in ("weight", "bias")}
    return state | {key: backbone[name] for key, name in names.items() if name in backbone}


def fill(net: nn.Module, state: Mapping[str, Tensor], source: Path | str) -> None:
    """Load ``state`` and say in one sentence what doesn't fit."""
    try:
        net.load_state_dict(dict(state))
    except RuntimeError as error:
        raise UnsupportedCheckpoint(f"{source} holds other weights than {type(net).__name__}'s: {error}") from error
