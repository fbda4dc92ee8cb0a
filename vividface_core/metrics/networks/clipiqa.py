"""CLIP-IQA: does CLIP find a picture nearer to "Good image" or to "bad image"? (Wang, Chan, Loy 2023)

Eq. 4 over five pairs of opposite words, and their mean, as IQA-PyTorch has it; the paper has single pairs. The picture
goes through CLIP's ResNet-50 at its own size, without positions in the last attention. Parameters have the names of
OpenAI's and OpenCLIP's files.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.errors import UnsupportedCheckpoint
from vividface_core.io.tensors import read_tensors
from vividface_core.metrics.weights import fill_known

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PROMPTS = {
    "Good image": (886, 2867),
    "bad image": (2103, 2867),
    "Sharp image": (8157, 2867),
    "blurry image": (21977, 2867),
    "sharp edges": (8157, 20938),
    "blurry edges": (21977, 20938),
    "High resolution image": (1400, 9977, 2867),
    "low resolution image": (1042, 9977, 2867),
    "Noise-free image": (9307, 268, 1139, 2867),
    "noisy image": (33495, 2867),
}
"""In pairs, the good word first, with what CLIP's tokenizer makes of them."""
START, END = 49406, 49407
HEAD = 64
"""Channels of an attention head, in both towers."""


class _Bottleneck(nn.Module):
    """ResNet's block, with an average in place of a stride."""

    conv1: nn.Conv2d
    conv2: nn.Conv2d
    conv3: nn.Conv2d
    bn1: nn.BatchNorm2d
    bn2: nn.BatchNorm2d
    bn3: nn.BatchNorm2d

    def __init__(self, width: int, planes: int, stride: int) -> None:
        super().__init__()
        out = 4 * planes
        for number, (a, b, kernel) in enumerate(((width, planes, 1), (planes, planes, 3), (planes, out, 1)), 1):
            setattr(self, f"conv{number}", nn.Conv2d(a, b, kernel, padding=kernel // 2, bias=False))
            setattr(self, f"bn{number}", nn.BatchNorm2d(b))
        self.stride, self.downsample = stride, None
        if stride > 1 or width != out:
            self.downsample = nn.Sequential(nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(self._smaller(y)))
        return F.relu(y + (x if self.downsample is None else self.downsample(self._smaller(x))))

    def _smaller(self, x: Tensor) -> Tensor:
        return x if self.stride == 1 else F.avg_pool2d(x, self.stride)


class _AttentionPool(nn.Module):
    """What the mean of all places finds among them, without their positions."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.c_proj = nn.Linear(width, out)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).transpose(1, 2)
        mean = x.mean(1, keepdim=True)
        every = torch.cat([mean, x], 1)
        parts = (self.q_proj(mean), self.k_proj(every), self.v_proj(every))
        heads = (part.unflatten(2, (-1, HEAD)).transpose(1, 2) for part in parts)
        return self.c_proj(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(1))


class ClipResNet(nn.Module):
    """CLIP's picture tower: ``[n, 3, H, W]``, normalised, sides of 32 or more, to ``[n, out]``."""

    conv1: nn.Conv2d
    conv2: nn.Conv2d
    conv3: nn.Conv2d
    bn1: nn.BatchNorm2d
    bn2: nn.BatchNorm2d
    bn3: nn.BatchNorm2d
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, width: int, depths: list[int], out: int) -> None:
        super().__init__()
        stem = ((3, width // 2, 2), (width // 2, width // 2, 1), (width // 2, width, 1))
        for number, (a, b, stride) in enumerate(stem, 1):
            setattr(self, f"conv{number}", nn.Conv2d(a, b, 3, stride, 1, bias=False))
            setattr(self, f"bn{number}", nn.BatchNorm2d(b))
        before = width
        for number, depth in enumerate(depths):
            planes, blocks = width * 2**number, []
            for place in range(depth):
                blocks.append(_Bottleneck(before, planes, 2 if number and not place else 1))
                before = 4 * planes
            setattr(self, f"layer{number + 1}", nn.Sequential(*blocks))
        self.attnpool = _AttentionPool(before, out)

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = F.relu(norm(conv(x)))
        x = F.avg_pool2d(x, 2)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return self.attnpool(x)


class _Words(nn.Module):
    """A block of CLIP's text tower."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, width // HEAD, batch_first=True)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(width, 4 * width), gelu=_QuickGelu(), c_proj=nn.Linear(4 * width, width))
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class _QuickGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class ClipText(nn.Module):
    """CLIP's text tower."""

    def __init__(self, width: int, layers: int, vocabulary: int, length: int, out: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.zeros(length, width))
        self.transformer = nn.ModuleDict({"resblocks": nn.ModuleList(_Words(width) for _ in range(layers))})
        self.ln_final, self.text_projection = nn.LayerNorm(width), nn.Parameter(torch.zeros(width, out))

    def forward(self, tokens: Sequence[int]) -> Tensor:
        """The vector ``[1, out]`` of a text, which is what its last token has gathered."""
        x = self.token_embedding(torch.tensor([tokens])) + self.positional_embedding[: len(tokens)]
        mask = torch.full((len(tokens), len(tokens)), float("-inf")).triu(1)
        for block in self.transformer["resblocks"].children():
            x = block(x, mask)
        return self.ln_final(x[:, -1]) @ self.text_projection


class ClipIqa(nn.Module):
    """The measure.

    Args:
        prompts: vectors of the texts, in pairs, the good one first, ``[2 p, out]``.
        sharpness: by which cosines are multiplied before softmax.
    """

    prompts: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, visual: ClipResNet, prompts: Tensor, sharpness: float) -> None:
        super().__init__()
        self.visual, self.sharpness = visual, sharpness
        self.register_buffer("prompts", F.normalize(prompts, dim=1))
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Figures ``[n]``, 0…1, of ``[n, 3, H, W]``, 0…1, sides of 32 or more."""
        pictures = F.normalize(self.visual((frames - self.mean) / self.std), dim=1)
        likeness = self.sharpness * pictures @ self.prompts.T
        return likeness.unflatten(1, (-1, 2)).softmax(2)[..., 0].mean(1)


def load_clipiqa(path: Path) -> ClipIqa:
    """CLIP-IQA on the CLIP ResNet of ``path``, frozen.

    Raises:
        UnsupportedCheckpoint: it holds something else.
    """
    state = read_tensors(path)
    try:
        depths, layers = [_count(state, f"visual.layer{i}.") for i in "1234"], _count(state, "transformer.resblocks.")
        (vocabulary, words), out = state["token_embedding.weight"].shape, state["text_projection"].shape[1]
        visual = ClipResNet(len(state["visual.layer1.0.conv1.weight"]), depths, out)
        text = ClipText(words, layers, vocabulary, len(state["positional_embedding"]), out)
        sharpness = float(state["logit_scale"].exp())
    except KeyError as error:
        raise UnsupportedCheckpoint(f"{path} is no CLIP with a ResNet: it lacks {error}.") from error
    fill_known(visual, {key.removeprefix("visual."): value for key, value in state.items()}, path)
    fill_known(text, state, path)
    with torch.no_grad():
        prompts = torch.cat([text.eval()([START, *tokens, END]) for tokens in PROMPTS.values()])
    return ClipIqa(visual, prompts, sharpness).eval().requires_grad_(False)


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})
