"""The network of FasterVQA: a Video Swin Transformer (tiny) whose position bias knows the fragments' borders.

A clip is a mosaic of 7×7 fragments. Within a fragment two tokens are as far apart in the picture as in the mosaic;
across a border they are not. So each pair has two learnt biases, one for either case (gated relative position biases,
GRPB; Wu et al.: "FAST-VQA", ECCV 2022, section 3.3). Parameters have the names of the authors' checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vividface_core.errors import UnsupportedCheckpoint
from vividface_core.io.tensors import find_prefix, read_tensors, unfamiliar

FRAMES, SIDE = 32, 224
"""What the network takes: frames, and pixels a side."""
GRID = 7
"""Fragments a side."""
PATCH, WINDOW, SHIFT = (2, 4, 4), (8, 7, 7), (4, 3, 3)
"""Frames, rows, columns: pixels of a token, tokens of a window, and by how much every second block moves windows."""
WIDTH, DEPTHS, HEADS, GATED = 96, (2, 2, 6, 2), (3, 6, 12, 24), (True, True, True, False)
HIDDEN = 64
TOKENS = WINDOW[0] * WINDOW[1] * WINDOW[2]
AT_ONCE = 4
"""Windows whose attention is computed together; it bounds the memory of their biases to some 30 MB."""
APART = -100.0
"""Added for two tokens that only the cyclic shift has brought together."""

ANCHOR = "fragments_backbone.patch_embed.proj.weight"
CONSTANTS = ("relative_position_index", "attn_mask")
"""Of no meaning in a checkpoint: both follow from the window's shape."""


class FragmentSwin(nn.Module):
    """Video ``[N, 3, 32, 224, 224]`` of fragments, ImageNet-normalised → raw scores ``[N]``, higher is better."""

    def __init__(self) -> None:
        super().__init__()
        self.fragments_backbone = _Backbone()
        self.vqa_head = _Head(WIDTH * 2 ** (len(DEPTHS) - 1))

    def forward(self, video: Tensor) -> Tensor:
        if tuple(video.shape[1:]) != (3, FRAMES, SIDE, SIDE):
            raise ValueError(f"expected [N, 3, {FRAMES}, {SIDE}, {SIDE}], got {list(video.shape)}")
        return self.vqa_head(self.fragments_backbone(video)).mean((1, 2, 3, 4))


class _Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = _Patches()
        stages = zip(DEPTHS, HEADS, GATED)
        self.layers = nn.ModuleList(
            _Stage(WIDTH * 2**number, *stage, last=number == len(DEPTHS) - 1) for number, stage in enumerate(stages)
        )
        self.norm = nn.LayerNorm(WIDTH * 2 ** (len(DEPTHS) - 1))

    def forward(self, video: Tensor) -> Tensor:
        """Features ``[N, 16, 7, 7, 768]``."""
        x = self.patch_embed(video)
        for stage in self.layers:
            x = stage(x)
        return self.norm(x)


class _Patches(nn.Module):
    """Video → tokens ``[N, 16, 56, 56, 96]``."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, WIDTH, PATCH, PATCH)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, video: Tensor) -> Tensor:
        depth, height, width = PATCH
        x = rearrange(video, "n c (t d) (y h) (x w) -> n t y x (c d h w)", d=depth, h=height, w=width)
        return self.norm(_pointwise(x, self.proj))


class _Head(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc_hid, self.fc_last = nn.Conv3d(width, HIDDEN, 1), nn.Conv3d(HIDDEN, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """A score of each place, ``[N, 16, 7, 7, 1]``."""
        return _pointwise(F.gelu(_pointwise(features, self.fc_hid)), self.fc_last)


def _pointwise(x: Tensor, layer: nn.Conv3d) -> Tensor:
    # As a product of matrices, for cuDNN would round a convolution's factors to TF32 and the score with them.
    return F.linear(x, layer.weight.flatten(1), layer.bias)


class _Stage(nn.Module):
    """Blocks of one resolution, then, but for the last stage, half of it at twice the width."""

    def __init__(self, width: int, depth: int, heads: int, gated: bool, last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(width, heads, gated, shifted=bool(i % 2)) for i in range(depth))
        self.downsample = None if last else _Merge(width)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class _Merge(nn.Module):
    """Four neighbours become one token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(self.norm(rearrange(x, "n t (y h) (x w) c -> n t y x (w h c)", h=2, w=2)))


class _Block(nn.Module):
    """Attention within windows, then an MLP, each added to its input."""

    def __init__(self, width: int, heads: int, gated: bool, shifted: bool) -> None:
        super().__init__()
        self.shifted = shifted
        self.norm1, self.attn = nn.LayerNorm(width), _Attention(width, heads, gated)
        self.norm2, self.mlp = nn.LayerNorm(width), _Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        size = tuple(x.shape[1:4])
        # An axis with room for one window only has nowhere to move it.
        shift = tuple(s if self.shifted and n > w else 0 for s, n, w in zip(SHIFT, size, WINDOW))
        fragments, wrapped = (part.to(x.device) for part in _layout(size, shift))
        windows = _windows(torch.roll(self.norm1(x), [-s for s in shift], (1, 2, 3)))
        windows = self.attn(windows, fragments, wrapped)
        x = x + torch.roll(_whole(windows, size), shift, (1, 2, 3))
        return x + self.mlp(self.norm2(x))


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, gated: bool) -> None:
        super().__init__()
        self.heads = heads
        pairs = (2 * WINDOW[0] - 1) * (2 * WINDOW[1] - 1) * (2 * WINDOW[2] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(pairs, heads))
        if gated:
            self.fragment_position_bias_table = nn.Parameter(torch.zeros(pairs, heads))
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, fragments: Tensor, wrapped: Tensor) -> Tensor:
        """Windows ``[N, W, 392, C]``; ``fragments`` ``[W, 392, 2]``, ``wrapped`` ``[W, 392]``: of :func:`_layout`."""
        tables = [self._looked_up(table) for table in self._tables()]
        parts = [
            self._attend(part, _bias(tables, *places))
            for part, *places in zip(x.split(AT_ONCE, 1), fragments.split(AT_ONCE), wrapped.split(AT_ONCE))
        ]
        return torch.cat(parts, 1)

    def _attend(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "n w l (s h c) -> s (n w) h l c", s=3, h=self.heads)
        biases = bias.expand(len(x), *bias.shape).flatten(0, 1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=biases)
        return self.proj(rearrange(out, "(n w) h l c -> n w l (h c)", n=len(x)))

    def _tables(self) -> list[Tensor]:
        gated = hasattr(self, "fragment_position_bias_table")
        return [self.relative_position_bias_table, *([self.fragment_position_bias_table] if gated else [])]

    def _looked_up(self, table: Tensor) -> Tensor:
        """A table's value for each pair of a window's tokens, ``[heads, 392, 392]``."""
        index = _pair_index().to(table.device)
        return table.T[:, index.flatten()].view(self.heads, TOKENS, TOKENS)


def _bias(tables: list[Tensor], fragments: Tensor, wrapped: Tensor) -> Tensor:
    """What is added to the scores of token pairs, ``[W, heads, 392, 392]``."""
    apart = (wrapped[:, :, None] != wrapped[:, None])[:, None]
    if len(tables) == 1:
        return tables[0] + APART * apart
    # The paper's gate is 0 or 1. In the authors' code, and so in their weights, it counts the borders between two
    # tokens, rows and columns together: B = g·B_across + (1 − g)·B_within with g = 0, 1, 2, …
    across, within = tables
    gate = (fragments[:, :, None] - fragments[:, None]).abs().sum(-1)[:, None].to(within.dtype)
    return torch.addcmul(within + APART * apart, gate, across - within)


def _windows(x: Tensor) -> Tensor:
    """``[N, T, Y, X, C]`` → ``[N, W, 392, C]``."""
    depth, height, width = WINDOW
    return rearrange(x, "n (t d) (y h) (x w) c -> n (t y x) (d h w) c", d=depth, h=height, w=width)


def _whole(windows: Tensor, size: tuple[int, ...]) -> Tensor:
    """The reverse of :func:`_windows`, to ``size`` tokens."""
    (depth, height, width), (t, y, x) = WINDOW, (n // w for n, w in zip(size, WINDOW))
    pattern = "n (t y x) (d h w) c -> n (t d) (y h) (x w) c"
    return rearrange(windows, pattern, t=t, y=y, x=x, d=depth, h=height, w=width)


@cache
def _pair_index() -> Tensor:
    """Row of a bias table for each pair of a window's tokens, ``[392, 392]``: their distance on the three axes."""
    at = torch.stack(torch.meshgrid(*map(torch.arange, WINDOW), indexing="ij")).flatten(1)
    depth, height, width = (at[:, :, None] - at[:, None]) + torch.tensor(WINDOW).view(3, 1, 1) - 1
    return (depth * (2 * WINDOW[1] - 1) + height) * (2 * WINDOW[2] - 1) + width


@cache
def _layout(size: tuple[int, ...], shift: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """For each token of each window, windows being moved by ``shift``:

    - row and column of its fragment, ``[W, 392, 2]``;
    - a number that tells from which end of the axes it was brought, ``[W, 392]``.
    """
    at = torch.stack(torch.meshgrid(*map(torch.arange, size), indexing="ij"), -1)
    fragments = at[..., 1:] * GRID // torch.tensor(size[1:])
    # What comes before the shift's length has gone around to the axis's end.
    wrapped = ((at < torch.tensor(shift)) * torch.tensor([4, 2, 1])).sum(-1, keepdim=True)
    moved = torch.roll(torch.cat([fragments, wrapped], -1)[None], [-s for s in shift], (1, 2, 3))
    windows = _windows(moved)[0].to(torch.int16)
    return windows[..., :2], windows[..., 2]


def load_fragment_swin(path: Path) -> FragmentSwin:
    """The network with the authors' weights, frozen, float32.

    Args:
        path: ``FAST_VQA_3D_1_1.pth`` or its tensors in another file, possibly under a prefix.

    Raises:
        MissingWeights: the file isn't there.
        UnsupportedCheckpoint: damaged, or of another network; names the keys at fault.
    """
    with _numpy_numbers_left_out():
        tensors = read_tensors(path)
    prefix = find_prefix(tensors, ANCHOR, path)
    if prefix is None:
        raise UnsupportedCheckpoint(
            f"{path} is no FasterVQA checkpoint: it lacks {ANCHOR}, and holds {unfamiliar(tensors)}."
        )
    state = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix) and not name.endswith(CONSTANTS)
    }
    net = FragmentSwin()
    _check(net.state_dict(), state, path)
    net.load_state_dict(state)
    return net.eval().requires_grad_(False)


@contextmanager
def _numpy_numbers_left_out() -> Iterator[None]:
    """Open pickles that hold NumPy's numbers beside tensors, as the authors' validation results; nothing is made of
    them, and everything else that is no tensor stays forbidden."""
    # NumPy 2 has moved its numbers' maker; a file has the name of its time.
    makers = (("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"), ("numpy", "dtype"))
    before = torch.serialization.get_safe_globals()
    added: list[Any] = [type(name, (_LeftOut,), {"__module__": module}) for module, name in makers]
    torch.serialization.add_safe_globals(added)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


class _LeftOut:
    def __init__(self, *parts: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _check(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    both = wanted.keys() & found.keys()
    wrong = {name for name in both if wanted[name].shape != found[name].shape}
    faults = {"missing": wanted.keys() - both, "unexpected": found.keys() - both, "of another shape": wrong}
    told = [f"{_some(names)} {what}" for what, names in faults.items() if names]
    if told:
        raise UnsupportedCheckpoint(f"{path} doesn't fit FasterVQA's network: {'; '.join(told)}.")


def _some(names: set[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(sorted(names)[:most]) + more
