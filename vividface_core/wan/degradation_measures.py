"""How noisy, how sharp and how steady the frames are, around each latent cell.

A restorer of all kinds of degradation has to know which one it sees before it can do anything: what is noise in one
clip is detail in another, and on the mean of both the best answer is to change nothing. A network learns to tell them
apart late; these measures say it at once. For bands of the luma of 1, 2, 4 … pixels they are, each as a logarithm,

- the mean contrast of the band around the cell: what blur and down-scaling take away, and noise adds;
- the same of its change since the frame before: noise is new in each frame, detail isn't;
- the least contrast that is found near the cell: in flat areas noise is all that there is,

and the contrast of the chroma's finest band. They are means over a window of known reach, and look one frame back, so
that tiles and streams stay exact.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.luma import BT601

WINDOW = 2
"""Cells around one of which a mean is taken."""
FLAT = 1, 2
"""Cells of the means among which the least is looked for, and cells around one in which it is."""
REACH = 1 + max(WINDOW, sum(FLAT)) + 1
"""Cells around one that its measures depend on: a band's own reach, the windows, the interpolation to pixels."""
FLOOR = 1e-3
"""Added to a contrast, of values in −1…1, before its logarithm: below the steps of eight bits."""


def count(bands: int) -> int:
    """How many measures there are."""
    return 3 * bands + 1


class DegradationMeasures(nn.Module):
    """The measures, and a small network that makes a code of them.

    Args:
        bands: of 1, 2, 4 … pixels; a latent cell is twice as large as the last one.
        width: channels of the code.
    """

    def __init__(self, bands: int, width: int) -> None:
        super().__init__()
        self._bands = bands
        self.code_in = nn.Conv2d(count(bands), 2 * width, 1)
        self.code_out = nn.Conv2d(2 * width, width, 1)

    def forward(self, frames: Tensor, batch: int, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """The code, and what the next piece of a stream gives as ``before``.

        Args:
            frames: ``[B·T, 3, H, W]`` fp32, −1…1, in the order of the batch.
            before: of the piece before; ``None`` at the start, where nothing is known of a change.

        Returns:
            ``[B·T, width, H/cell, W/cell]`` and ``[B, 1, 1, H, W]``.
        """
        luma = (frames * frames.new_tensor(BT601).view(1, 3, 1, 1)).sum(1, keepdim=True)
        clips = luma.unflatten(0, (batch, -1))
        past = torch.cat([clips[:, :1] if before is None else before, clips[:, :-1]], 1).flatten(0, 1)
        values = self._of_bands(luma, past)
        values.append(_log_mean(_high(frames[:, :1] - frames[:, 2:]).abs(), 2**self._bands))
        code = F.gelu(self.code_in(torch.cat(values, 1).to(self.code_in.weight.dtype)))
        return F.gelu(self.code_out(code)), clips[:, -1:].clone()

    def _of_bands(self, luma: Tensor, past: Tensor) -> list[Tensor]:
        values = []
        for band in range(self._bands):
            high, change = _high(luma), _high(luma - past)
            cell = 2 ** (self._bands - band)
            values += [_log_mean(high.abs(), cell), _log_mean(change.abs(), cell), _log_least(high.abs(), cell)]
            luma, past = F.avg_pool2d(luma, 2), F.avg_pool2d(past, 2)
        return values


def _high(x: Tensor) -> Tensor:
    return x - _mean(x, 1)


def _mean(x: Tensor, reach: int) -> Tensor:
    return F.avg_pool2d(F.pad(x, (reach,) * 4, mode="replicate"), 2 * reach + 1, 1)


def _log(x: Tensor) -> Tensor:
    """About −1.5 (nothing) to 2."""
    return (x + FLOOR).log() / 2 + 2


def _log_mean(contrast: Tensor, cell: int) -> Tensor:
    return _log(_mean(F.avg_pool2d(contrast, cell), WINDOW))


def _log_least(contrast: Tensor, cell: int) -> Tensor:
    means, reach = _mean(F.avg_pool2d(contrast, cell), FLAT[0]), FLAT[1]
    return _log(-F.max_pool2d(-means, 2 * reach + 1, 1, reach))
