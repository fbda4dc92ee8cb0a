"""What stands before a face and should stay as it is: hands, microphones, strands of hair, glasses.

A small network of our own says for each pixel of a crop whether something covers the face there. It reads the first
layers of the network that recognises people (:mod:`vividface_core.faces.embed`) and the crop itself, and was trained on
faces with things drawn over them (``training.occluders``). How well it does: ``docs/occlusion.md``.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.faces.compose import gaussian
from vividface_core.faces.embed import load_embedder
from vividface_core.faces.weights import FOLDER, read_weights

WEIGHTS = FOLDER / "occluders.safetensors"
SIDE = 176
"""Side of the crops that the network sees: the faces in them are about as large as the recogniser knows them."""
UNSURE, SURE = 0.2, 0.4
"""Probabilities up to which nothing counts as covered, and from which all does."""
GROWN, EDGE = 1, 1.0
"""By how much what was found is made larger, and the deviation of its soft edge; pixels of 176."""
REACH = 1
"""How far the cover of a frame reaches into those before and after it, and half the length of its fading."""
MODES = ("keep", "restore")
"""What becomes of that which stands before a face: it stays as it is, or it is restored like the face."""
_STAGES = (4, 9, 16)
"""Modules of the recogniser after which its features are taken."""
_CHANNELS = (64, 64, 128)
"""Channels of those features, whose sides are 1/2, 1/4 and 1/8 of the crop's."""


class _Block(nn.Sequential):
    """Filter each channel, then mix them."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, inputs, 3, padding=dilation, dilation=dilation, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class OccluderNet(nn.Module):
    """Crops ``[N, 3, S, S]`` RGB 0…1 and the recogniser's features of them → logits ``[N, 1, S, S]`` that something
    covers the pixel."""

    def __init__(self) -> None:
        super().__init__()
        fine, middle, coarse = _CHANNELS
        self.coarse = nn.Sequential(
            _mix(coarse, 96), _Block(96, 96), _Block(96, 96, 2), _Block(96, 96, 4), _Block(96, 48)
        )
        self.middle_in, self.middle = _mix(middle, 32), nn.Sequential(_Block(48 + 32, 48), _Block(48, 24))
        self.fine_in, self.fine = _mix(fine, 16), nn.Sequential(_Block(24 + 16, 24), _Block(24, 12))
        self.pixels = nn.Sequential(nn.Conv2d(12 + 3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))

    def forward(self, crops: Tensor, features: list[Tensor]) -> Tensor:
        fine, middle, coarse = features
        deep = self.middle(torch.cat([_twice(self.coarse(coarse)), self.middle_in(middle)], 1))
        deep = self.fine(torch.cat([_twice(deep), self.fine_in(fine)], 1))
        return self.pixels(torch.cat([_twice(deep), crops - 0.5], 1))


def _mix(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def _twice(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


class Recogniser(nn.Module):
    """The first layers of the network that recognises people, unchanged."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        super().__init__()
        layers = list(load_embedder(device).net.children())
        starts = (0, *_STAGES[:-1])
        self.stages = nn.ModuleList(nn.Sequential(*layers[first:last]) for first, last in zip(starts, _STAGES))

    @torch.no_grad()
    def forward(self, crops: Tensor) -> list[Tensor]:
        """Features of three sizes, of crops ``[N, 3, S, S]`` RGB 0…1."""
        features = (crops.flip(1) * 255 - 127) / 128
        out = []
        for stage in self.stages:
            features = stage(features)
            out.append(features)
        return out


class OccluderFinder:
    """Finds what stands before faces, crop by crop."""

    def __init__(self, net: OccluderNet, recogniser: Recogniser, device: str | torch.device = "cpu") -> None:
        self._net, self._recogniser, self._device = net, recogniser, torch.device(device)

    @torch.inference_mode()
    def find(self, crops: Tensor) -> Tensor:
        """How probably each pixel is covered, ``[N, 1, 176, 176]`` on the CPU.

        Args:
            crops: ``[N, 3, S, S]`` RGB 0…1, upright, framed as :func:`vividface_core.faces.crop.square_crop` does.
        """
        small = crops.to(self._device, torch.float32)
        if small.shape[-1] != SIDE:
            small = F.interpolate(small, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        # So the convolutions are twice as fast on a CPU.
        small = small.clamp(0, 1).contiguous(memory_format=torch.channels_last)
        return self._net(small, self._recogniser(small)).sigmoid().cpu().contiguous()


class SteadyCover:
    """What covers the face of one track, frame by frame, without flicker; memory doesn't grow with the track.

    A pixel counts as covered as far as it is in any of the frames around, and these maxima are averaged over the same
    frames: nothing is less covered than it was found to be, and what comes and goes is faded in and out. So a few
    frames are looked at ahead. Like the identity guard's, the result depends on the track and its crops alone, not on
    the pieces that they come in.

    Args:
        finder: looks at crops.
        frames: of the track.
        turn: quarter turns counter-clockwise that bring the crops upright.
    """

    def __init__(self, finder: OccluderFinder, frames: int, turn: int = 0) -> None:
        self._finder, self._frames, self._turn = finder, frames, turn
        self._found: dict[int, Tensor] = {}
        self._seen = 0

    def look(self, cut: Tensor) -> None:
        """Take in the next frame's crop ``[3, S, S]`` in 0…1, before it was restored."""
        found = self._finder.find(torch.rot90(cut, self._turn, (-2, -1))[None])[0]
        self._found[self._seen] = soft_cover(torch.rot90(found, -self._turn, (-2, -1)))
        self._seen += 1

    def knows(self, at: int) -> bool:
        """Whether :meth:`take` can be asked for frame ``at`` of the track."""
        return self._seen >= min(at + 2 * REACH + 1, self._frames)

    def take(self, at: int) -> Tensor:
        """How much each pixel of frame ``at`` of the track is covered, ``[1, 176, 176]``, 0…1. Ask in order."""
        total, weights = torch.zeros(1, SIDE, SIDE), 0.0
        for near in range(max(0, at - REACH), min(self._frames, at + REACH + 1)):
            weight = math.cos(math.pi / 2 * (near - at) / (REACH + 1)) ** 2
            around = [self._found[n] for n in range(near - REACH, near + REACH + 1) if n in self._found]
            total, weights = total + weight * torch.stack(around).amax(0), weights + weight
        for old in [n for n in self._found if n <= at - 2 * REACH]:
            del self._found[old]
        return (total / weights).clamp(0, 1)


def soft_cover(found: Tensor) -> Tensor:
    """Of probabilities ``[1, S, S]``: 0 below :data:`UNSURE`, 1 above :data:`SURE`, a little larger than found, with a
    soft edge."""
    cover = ((found - UNSURE) / (SURE - UNSURE)).clamp(0, 1)
    cover = F.max_pool2d(cover, 2 * GROWN + 1, 1, GROWN)
    return gaussian(cover, EDGE)


def load_weights(net: OccluderNet, path: Path) -> None:
    """Read a file of weights into the network.

    Raises:
        MissingWeights: the file isn't there.
    """
    # How many batches a normalisation has seen is of no use here, and not stored.
    net.load_state_dict(net.state_dict() | read_weights(path))


def load_occluder_finder(device: str | torch.device = "cpu", path: Path = WEIGHTS) -> OccluderFinder:
    """The finder with the weights that come with the package.

    Raises:
        MissingWeights: the files aren't there, so the installation is incomplete.
    """
    net = OccluderNet()
    load_weights(net, path)
    return OccluderFinder(net.eval().requires_grad_(False).to(device), Recogniser(device), device)
