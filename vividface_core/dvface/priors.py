"""The prior encoder: degraded frames to features of the spatial and of the temporal codebook on the tokens' grid.

Its network is BFVR-STC's stage II without the generator (:class:`~vividface_core.bfvr_stc.CodeFormer3D`), with a
convolution before the spatial lookup and attention within a frame. Of the paper only figures are public; what they
leave open is decided here and named in docs/dvface.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vividface_core.bfvr_stc import CodeFormer3D
from vividface_core.errors import InvalidOption

SEGMENT = 12
"""Latent frames of the priors that are computed together, of which the first is there for the others' sake: the 24
frames that BFVR-STC was made for."""


class Priors(NamedTuple):
    """Attributes:
    spatial, temporal: f_s and f_t, ``[B, T', places, c]``, T' latent frames of the denoiser, places row by row.
    """

    spatial: Tensor
    temporal: Tensor


class PriorEncoder(CodeFormer3D):
    """Encoder, codebooks and lookups. The state dict has the names of BFVR-STC's stage II without ``generator``."""

    generates: ClassVar[bool] = False

    def features(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """f_s = S[i] and f_t = T[j] of the best codes, ``[B, C, T // 2, h, w]`` each; clip ``[B, 3, T, H, W]``, 0…1.

        Raises:
            InvalidOption: see :meth:`~vividface_core.bfvr_stc.VQAutoEncoder3D.encode`.
        """
        z = self.encode(clip)
        batch, _, frames, height, width = z.shape
        looked_up = []
        for codes, book in zip(self.codes(z), (self.quantize.embedding_s, self.quantize.embedding_t)):
            looked_up.append(book(codes).view(batch, frames, height, width, -1).permute(0, 4, 1, 2, 3))
        return looked_up[0], looked_up[1]


def load_from_stage_two(net: Any) -> PriorEncoder:
    """A prior encoder with the weights of a stage II network, whose generator it doesn't need.

    Raises:
        InvalidOption: the network is stage I.
    """
    if not isinstance(net, CodeFormer3D):
        raise InvalidOption("Priors come from a checkpoint of stage II, with its lookups; this is stage I.")
    made = PriorEncoder(**net.config)
    made.load_state_dict({name: value for name, value in net.state_dict().items() if not name.startswith("generator.")})
    return made.eval()


def priors_of(
    net: PriorEncoder,
    read: Callable[[int, int], Tensor],
    frames: int,
    grid: tuple[int, int],
    temporal_ratio: int,
    on_part: Callable[[float], None] | None = None,
) -> Priors:
    """The priors of a clip on the denoiser's grid, a segment at a time.

    The denoiser's first latent frame holds the first frame alone and each later one ``temporal_ratio`` frames. The
    prior encoder joins frames in pairs, so the first frame is doubled, and pairs and cells are averaged to the
    denoiser's grid.

    Args:
        read: ``read(start, stop)``: degraded frames ``[B, 3, n, H, W]``, 0…1, on the network's device.
        frames: of the clip, 1 + a multiple of ``temporal_ratio``.
        grid: rows and columns of tokens.
        temporal_ratio: even.
        on_part: called with the share that is done.

    Raises:
        InvalidOption: lengths or sides that don't fit the two grids.
    """
    if temporal_ratio % 2 or (frames - 1) % temporal_ratio:
        raise InvalidOption(
            f"Priors need an autoencoder that joins an even number of frames and clips of 1 + a multiple of it; these "
            f"are {frames} frames and a ratio of {temporal_ratio}."
        )
    total, found = (frames + 1) // 2, []
    dtype = next(net.parameters()).dtype
    for start in range(0, total, SEGMENT - 1):
        first, stop = max(0, start - 1), min(total, start + SEGMENT - 1)
        # Latent frame k of the priors holds frames 2k − 1 and 2k; frame −1 is the first one again.
        clip = read(max(0, 2 * first - 1), 2 * stop - 1)
        if first == 0:
            clip = torch.cat([clip[:, :, :1], clip], 2)
        pair = torch.stack(net.features(clip.to(dtype)), 1)[:, :, :, start - first :]
        found.append(_on_grid(pair, grid))
        if on_part is not None:
            on_part(stop / total)
    spatial, temporal = (_by_latent_frame(x, temporal_ratio // 2) for x in torch.cat(found, 3).unbind(1))
    return Priors(spatial, temporal)


def _on_grid(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Mean over the cells of each token: ``[B, 2, C, t, h, w]`` to ``[B, 2, C, t, *grid]``."""
    height, width = x.shape[-2:]
    if height % grid[0] or width % grid[1]:
        raise InvalidOption(f"{grid[0]}×{grid[1]} tokens a frame don't divide the priors' {height}×{width} cells.")
    cells = (1, height // grid[0], width // grid[1])
    return F.avg_pool3d(x.flatten(0, 1), cells).unflatten(0, x.shape[:2])


def _by_latent_frame(x: Tensor, pairs: int) -> Tensor:
    """``[B, C, 1 + k·pairs, h, w]`` to ``[B, 1 + k, h·w, C]``."""
    joined = torch.cat([x[:, :, :1], x[:, :, 1:].unflatten(2, (-1, pairs)).mean(3)], 2)
    return joined.flatten(3).permute(0, 2, 3, 1).contiguous()
