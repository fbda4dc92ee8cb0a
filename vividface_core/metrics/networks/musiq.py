"""MUSIQ: how good a picture looks to people, without a reference (Ke et al. 2021).

A picture is cut into patches of 32×32 at three sizes: 224 and 384 pixels on its longer side, and its own. A small
convolutional network makes a token of each, which carries its size and its place on a 10×10 grid; a transformer reads
all of them at once. Parameters have the names of the published checkpoints.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.io.tensors import read_tensors
from vividface_core.metrics.weights import fill_known

PATCH, GRID, SIDES = 32, 10, (224, 384)
CHANNELS, WIDTH, HIDDEN, HEADS, LAYERS = 64, 384, 1152, 6, 14


class _Bottleneck(nn.Module):
    """Residual block with a projection beside it."""

    conv1: nn.Conv2d
    conv2: nn.Conv2d
    conv3: nn.Conv2d
    gn1: nn.GroupNorm
    gn2: nn.GroupNorm
    gn3: nn.GroupNorm

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        for number, (channels, kernel) in enumerate(((width, 1), (width, 3), (out, 1)), 1):
            setattr(self, f"conv{number}", nn.Conv2d(width, channels, kernel, padding=kernel // 2, bias=False))
            setattr(self, f"gn{number}", nn.GroupNorm(32, channels, eps=1e-4))
        self.conv_proj, self.gn_proj = nn.Conv2d(width, out, 1, bias=False), nn.GroupNorm(32, out, eps=1e-4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.gn1(self.conv1(x)))
        y = F.relu(self.gn2(self.conv2(y)))
        return F.relu(self.gn3(self.conv3(y)) + self.gn_proj(self.conv_proj(x)))


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        parts = (layer(x).unflatten(2, (HEADS, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        return self.out(F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(WIDTH, eps=1e-6) for _ in range(2))
        self.attention = _Attention()
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(WIDTH, HIDDEN), "fc2": nn.Linear(HIDDEN, WIDTH)})

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.posembed_input = nn.ParameterDict({"position_emb": torch.zeros(1, GRID * GRID, WIDTH)})
        self.scaleembed_input = nn.ParameterDict({"scale_emb": torch.zeros(len(SIDES) + 1, WIDTH)})
        self.cls = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.transformer = nn.ModuleDict({f"encoderblock_{i}": _Block() for i in range(LAYERS)})
        self.encoder_norm = nn.LayerNorm(WIDTH, eps=1e-6)

    def placed(self, tokens: Tensor, rows: int, columns: int, scale: int) -> Tensor:
        """Tokens ``[n, rows · columns, 384]`` with their place and size."""
        line = torch.arange(GRID, dtype=torch.float32)[None, None]
        row, column = (F.interpolate(line, count, mode="nearest")[0, 0].long() for count in (rows, columns))
        places = (row[:, None] * GRID + column).flatten().to(tokens.device)
        return tokens + self.posembed_input["position_emb"][0, places] + self.scaleembed_input["scale_emb"][scale]

    def forward(self, tokens: Tensor) -> Tensor:
        """The picture's own token, ``[n, 384]``."""
        x = torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], 1)
        for block in self.transformer.values():
            x = block(x)
        return self.encoder_norm(x[:, 0])


class Musiq(nn.Module):
    """MUSIQ with one opinion score, as trained on KonIQ-10k."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_root, self.gn_root = nn.Conv2d(3, CHANNELS, 7, 2, bias=False), nn.GroupNorm(32, CHANNELS, eps=1e-6)
        self.block1 = _Bottleneck(CHANNELS, 4 * CHANNELS)
        self.embedding = nn.Linear(4 * CHANNELS * (PATCH // 4) ** 2, WIDTH)
        self.transformer_encoder = _Encoder()
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Opinion scores ``[n]``, about 0…100, of ``[n, 3, H, W]``, 0…1."""
        x = 2 * frames - 1
        tokens = [self._tokens(y, scale) for scale, y in enumerate([*(_longer_side(x, side) for side in SIDES), x])]
        return self.head(self.transformer_encoder(torch.cat(tokens, 1)))[:, 0]

    def _tokens(self, x: Tensor, scale: int) -> Tensor:
        rows, columns = (-(-side // PATCH) for side in x.shape[-2:])
        patches = F.unfold(_same(x, PATCH, PATCH), PATCH, stride=PATCH).transpose(1, 2)
        y = patches.reshape(-1, 3, PATCH, PATCH)
        y = F.relu(self.gn_root(self.conv_root(_same(y, 7, 2))))
        y = self.block1(F.max_pool2d(_same(y, 3, 2), 3, 2))
        tokens = self.embedding(y.permute(0, 2, 3, 1).reshape(len(x), rows * columns, -1))
        return self.transformer_encoder.placed(tokens, rows, columns, scale)


def _longer_side(x: Tensor, side: int) -> Tensor:
    ratio = side / max(x.shape[-2:])
    size = [round(length * ratio) for length in x.shape[-2:]]
    return F.interpolate(x, size, mode="bicubic", align_corners=False)


def _same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Zeros around ``x`` so that ⌈side / stride⌉ windows fit; an odd one goes to the right and the bottom."""
    lacking = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:]]
    (top, bottom), (left, right) = ((lack // 2, lack - lack // 2) for lack in lacking)
    return F.pad(x, (left, right, top, bottom))


def load_musiq(path: Path) -> Musiq:
    """MUSIQ with the weights of ``path``, frozen.

    Raises:
        UnsupportedCheckpoint: it holds other weights, those of AVA's ten grades, say.
    """
    net = Musiq()
    fill_known(net, read_tensors(path), path)
    _standardise(net)
    return net.eval().requires_grad_(False)


@torch.no_grad()
def _standardise(net: Musiq) -> None:
    # The convolutions were trained on kernels of mean 0 and deviation 1, which the file's are not yet.
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            weight = layer.weight - layer.weight.mean((1, 2, 3), keepdim=True)
            layer.weight.copy_(weight / (weight.std((1, 2, 3), keepdim=True) + 1e-5))
