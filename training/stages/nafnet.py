"""An image restorer after NAFNet (Chen et al. 2022, arXiv 2204.04676), to compare a video restorer of its size with.

It sees one frame at a time. A block is two residual halves, each a norm over channels, a 1×1 convolution, a gate that
multiplies one half of the channels with the other, and a 1×1 convolution; the first half also has a 3×3 convolution of
each channel and an attention over channels. Levels are joined by sums, as in a U-Net, and the input is added at the
end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.errors import MissingWeights, UnsupportedCheckpoint
from vividface_core.io.atomic import read_json, write_json
from vividface_core.io.tensors import read_tensors, write_tensors

CONFIG, WEIGHTS = "nafnet.json", "model.safetensors"


@dataclass(frozen=True)
class NafConfig:
    """The shape of a :class:`NafNet`.

    Attributes:
        width: channels at the full size; each level has twice as many.
        encoder, decoder: blocks of each level on the way down and up. middle: below all of them.
    """

    width: int = 24
    encoder: tuple[int, ...] = (3, 3, 5)
    middle: int = 8
    decoder: tuple[int, ...] = (5, 3, 3)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: Any = "The image restorer") -> NafConfig:
        """Raises UnsupportedCheckpoint for unknown, missing or ill-typed entries."""
        try:
            entries: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            config = cls(**entries)
            counts = [config.width, config.middle, *config.encoder, *config.decoder]
        except TypeError as error:
            raise UnsupportedCheckpoint(f"{source}: this is no image restorer's config ({error}).") from error
        if not all(type(n) is int and n > 0 for n in counts) or len(config.encoder) != len(config.decoder):
            raise UnsupportedCheckpoint(f"{source}: positive numbers, as many levels down as up; this is {values}.")
        return config


class ChannelNorm(nn.Module):
    """Mean 0 and variance 1 over the channels of each pixel, then a learned scale and shift."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _gate(x: Tensor) -> Tensor:
    one, other = x.chunk(2, 1)
    return one * other


class NafBlock(nn.Module):
    """``[N, C, h, w]`` to the same; the identity at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ChannelNorm(width), ChannelNorm(width)
        self.widen, self.around = (
            nn.Conv2d(width, 2 * width, 1),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1, groups=2 * width),
        )
        self.attention = nn.Conv2d(width, width, 1)
        self.narrow = nn.Conv2d(width, width, 1)
        self.mix_in, self.mix_out = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(width, width, 1)
        self.beta, self.gamma = (nn.Parameter(torch.zeros(1, width, 1, 1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = _gate(self.around(self.widen(self.norm1(x))))
        y = self.narrow(y * self.attention(y.mean((2, 3), keepdim=True)))
        x = x + self.beta * y
        return x + self.gamma * self.mix_out(_gate(self.mix_in(self.norm2(x))))


class NafNet(nn.Module):
    """See the module's docstring. At first it returns its input."""

    def __init__(self, config: NafConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * 2**level for level in range(len(config.encoder) + 1)]
        self.intro, self.ending = nn.Conv2d(3, config.width, 3, 1, 1), nn.Conv2d(config.width, 3, 3, 1, 1)
        self.encoder, self.decoder = (
            nn.ModuleList(nn.Sequential(*(NafBlock(wide) for _ in range(count))) for wide, count in zip(sides, counts))
            for sides, counts in ((widths, config.encoder), (widths[-2::-1], config.decoder))
        )
        self.smaller = nn.ModuleList(nn.Conv2d(wide, 2 * wide, 2, 2) for wide in widths[:-1])
        self.middle = nn.Sequential(*(NafBlock(widths[-1]) for _ in range(config.middle)))
        # Interpolated, not shuffled, as in the decoder that it is compared with.
        self.larger = nn.ModuleList(nn.Conv2d(wide, wide // 2, 1) for wide in widths[:0:-1])
        for tensor in self.ending.parameters():
            nn.init.zeros_(tensor)

    def forward(self, pictures: Tensor) -> Tensor:
        """``[N, 3, H, W]``, −1…1, of any size, to the same; not clamped."""
        height, width = pictures.shape[-2:]
        cell = 2 ** len(self.encoder)
        padded = F.pad(pictures, (0, -width % cell, 0, -height % cell), mode="replicate")
        # A fifth faster on a CPU.
        x, skips = self.intro(padded.contiguous(memory_format=torch.channels_last)), []
        for blocks, smaller in zip(self.encoder, self.smaller):
            skips.append(blocks(x))
            x = smaller(skips[-1])
        x = self.middle(x)
        for blocks, larger in zip(self.decoder, self.larger):
            x = blocks(F.interpolate(larger(x), scale_factor=2, mode="bilinear", align_corners=False) + skips.pop())
        return pictures + self.ending(x)[..., :height, :width]


def save_nafnet(folder: Path, net: NafNet, notes: Mapping[str, Any]) -> None:
    """Write the weights in fp32 and the config with ``notes``; the config last, as it makes the folder a checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().float().cpu().contiguous() for key, value in net.state_dict().items()}
    write_tensors(folder / WEIGHTS, state, {"format": "pt"})
    write_json(folder / CONFIG, {"net": asdict(net.config), **notes}, indent=2)


def load_nafnet(folder: Path) -> NafNet:
    """Read what :func:`save_nafnet` wrote, in evaluation mode.

    Raises:
        MissingWeights: a file isn't there.
        UnsupportedCheckpoint: names or shapes don't fit the config.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise MissingWeights(f"{folder} holds no {name}; name the model folder of a run of stage control.")
    net = NafNet(NafConfig.from_dict(read_json(folder / CONFIG).get("net", {}), folder / CONFIG))
    try:
        net.load_state_dict(read_tensors(folder / WEIGHTS))
    except RuntimeError as error:
        raise UnsupportedCheckpoint(f"{folder / WEIGHTS} doesn't fit its config: {error}") from error
    return net.eval().requires_grad_(False)


class ImageRestorer:
    """A trained :class:`NafNet` as a method of comparison: ``[T, 3, H, W]``, RGB, 0…1, frame by frame."""

    def __init__(self, folder: Path) -> None:
        self._net = load_nafnet(folder)

    @torch.inference_mode()
    def __call__(self, clip: Tensor) -> Tensor:
        frames = [self._net(frame[None] * 2 - 1) for frame in clip]
        return ((torch.cat(frames) + 1) / 2).clamp(0, 1)
