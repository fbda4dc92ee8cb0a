"""Codebooks that start where the latents are."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from vividface_core.bfvr_stc import VQAutoEncoder3D
from vividface_core.bfvr_stc.layers import frame_residual
from vividface_core.bfvr_stc.quantizer import nearest_codes, rows_of

ROUNDS = 8
"""Of Lloyd's algorithm."""
ROWS_PER_CODE = 40
"""Latent vectors that are kept for each code."""


@torch.no_grad()
def start_codebooks(net: VQAutoEncoder3D, clips: Iterable[Tensor], seed: int) -> None:
    """Set both codebooks to the centres of clusters: the temporal one of TA(z) + R(z), the spatial one of z.

    Args:
        clips: ``[1, 3, T, H, W]``, 0…1.
    """
    generator, codes = torch.Generator().manual_seed(seed), len(net.quantize.embedding_s.weight)
    spatial: list[Tensor] = []
    temporal: list[Tensor] = []
    training = net.training
    net.eval()
    for clip in clips:
        z = net.encode(clip)
        spatial.append(rows_of(z))
        temporal.append(rows_of(net.quantize.SA(z) + frame_residual(z)))
    net.train(training)
    for embedding, rows in (
        (net.quantize.embedding_s, torch.cat(spatial)),
        (net.quantize.embedding_t, torch.cat(temporal)),
    ):
        few = rows[torch.randperm(len(rows), generator=generator)[: ROWS_PER_CODE * codes]]
        embedding.weight.copy_(centres(few, codes, generator))


def centres(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``[count, C]``: centres of clusters of ``rows [N, C]``; one without rows goes to a random row."""
    found = rows[torch.randint(len(rows), (count,), generator=generator)].clone()
    for _ in range(ROUNDS):
        nearest = nearest_codes(rows, found)
        sizes = torch.bincount(nearest, minlength=count)
        sums = torch.zeros_like(found).index_add_(0, nearest, rows)
        random = rows[torch.randint(len(rows), (count,), generator=generator)]
        found = torch.where(sizes[:, None] > 0, sums / sizes.clamp_min(1)[:, None], random)
    return found
