"""Residual blocks of small networks over frames: causal, normed per pixel, scaled by a code of what they see."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.wan.motion import moved

Memory = dict[Any, Tensor]
"""What a stream remembers: the shifted channels of the last frame before each block."""

SHIFTED = 4
"""One in so many channels of a block's input comes from the frame before."""


class Block(nn.Module):
    """Two 3×3 convolutions around an activation, added to the input.

    Args:
        shifted: whether a quarter of the channels that the convolutions see is a frame old.
        measured: channels of a code that scales the channels between the convolutions; 0: none. At first it has no
            effect.
        normed: whether the convolutions see channels of mean 0 and variance 1.
    """

    def __init__(self, width: int, shifted: bool, measured: int = 0, normed: bool = False) -> None:
        super().__init__()
        self._normed = normed
        self._shift = width // SHIFTED if shifted else 0
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.measured = nn.Conv2d(measured, width, 1) if measured else None
        for tensor in (*self.conv2.parameters(), *(self.measured.parameters() if self.measured else ())):
            nn.init.zeros_(tensor)

    def forward(
        self, x: Tensor, batch: int, memory: Memory, code: Tensor | None = None, places: Tensor | None = None
    ) -> Tensor:
        """``[B·T, C, h, w]``, B·T frames in the order of the batch; ``code`` of the same height and width.

        ``places`` is where in the frame before each place is found (:func:`vividface_core.wan.motion.places`);
        ``None``: at the same one.
        """
        seen = normed(x) if self._normed else x
        found = self.conv1(self._shifted(seen, batch, memory, places) if self._shift else seen)
        if self.measured is not None:
            scale = self.measured(code)
            # Fetching memory for another map of a large frame takes as long as the sum; a gradient needs both.
            found = torch.addcmul(found, found, scale) if torch.is_grad_enabled() else found.addcmul_(found, scale)
        return self.conv2(F.relu_(found)).add_(x)

    def _shifted(self, x: Tensor, batch: int, memory: Memory, places: Tensor | None) -> Tensor:
        own = x[:, : self._shift].unflatten(0, (batch, -1)).clone()
        # Before the first frame there is nothing to remember: it stands for its own past.
        before = memory.get(self, own[:, :1])
        memory[self] = own[:, -1:].clone()
        # What is normed is a copy already; the block's own input is needed as it is.
        out = x if self._normed else x.clone()
        target = out[:, : self._shift]
        if places is not None:
            target.copy_(moved(torch.cat([before, own[:, :-1]], 1).flatten(0, 1), places))
            return out
        target = target.unflatten(0, (batch, -1))
        target[:, 1:], target[:, :1] = own[:, :-1], before
        return out


def normed(x: Tensor) -> Tensor:
    """``[N, C, H, W]`` with channels of mean 0 and variance 1 at each pixel."""
    return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], eps=1e-4).permute(0, 3, 1, 2)


def levels(widths: tuple[int, ...], counts: tuple[int, ...], measured: int = 0, normed: bool = False) -> nn.ModuleList:
    """Blocks of each level. Those at half the size see their own frame: a shift there costs a pass over much memory."""
    return nn.ModuleList(
        nn.ModuleList(Block(width, level > 0, measured, normed) for _ in range(count))
        for level, (width, count) in enumerate(zip(widths, counts))
    )


def run_blocks(
    blocks: nn.Module,
    x: Tensor,
    batch: int,
    memory: Memory,
    code: Tensor | None = None,
    places: Tensor | None = None,
) -> Tensor:
    """``[B·T, C, h, w]`` through the blocks of a level."""
    for block in blocks.children():
        x = block(x, batch, memory, code, places)
    return x


def larger(x: Tensor, scale: int = 2) -> Tensor:
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
