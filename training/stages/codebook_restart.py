"""Codes that no latent asks for start again where latents are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from training.stages.codebook_usage import BRANCHES
from vividface_core.bfvr_stc.quantizer import SpatialTemporalQuantizer, rows_of


class UnusedCodes(nn.Module):
    """Counts what a quantizer's codes are asked for, and moves those that nothing asked for onto recent latents.

    Not of the paper. A code far from all latents gets next to no gradient of the codebook loss or of the prior, so
    without this it never comes back. Counts and latents are buffers: a resumed run goes on as the undisturbed one, and
    all processes, to which the first one's buffers are sent, move the same codes.
    """

    def __init__(self, quantizer: SpatialTemporalQuantizer, every: int) -> None:
        """
        Args:
            every: batches between two moves.
        """
        super().__init__()
        self._every = every
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        codes, channels = quantizer.embedding_s.weight.shape
        for branch in BRANCHES:
            self.register_buffer(f"used_{branch}", torch.zeros(codes, dtype=torch.int64))
            self.register_buffer(f"latents_{branch}", torch.zeros(codes, channels))

    @torch.no_grad()
    def note(self, z: Tensor, z_t: Tensor, indices_s: Tensor, indices_t: Tensor) -> None:
        """A batch: what the codebooks were asked for, ``[B, C, t, h, w]``, and the codes that were given."""
        batches: Any = self.batches
        batches += 1
        for branch, asked, indices in (("s", z, indices_s), ("t", z_t, indices_t)):
            used, latents = getattr(self, f"used_{branch}"), getattr(self, f"latents_{branch}")
            used += torch.bincount(indices.flatten(), minlength=len(used))
            rows = rows_of(asked.float())
            # Evenly spread over the batch; another place in it each time.
            places = torch.arange(len(latents), device=rows.device) * len(rows) // len(latents) + batches
            latents.copy_(rows[places % len(rows)])

    @torch.no_grad()
    def restart(self, quantizer: SpatialTemporalQuantizer) -> None:
        """Move the codes that were unused since the last time, if it is time."""
        batches: Any = self.batches
        if not batches or batches % self._every:
            return
        for branch in BRANCHES:
            used, latents = getattr(self, f"used_{branch}"), getattr(self, f"latents_{branch}")
            weight = getattr(quantizer, f"embedding_{branch}").weight
            weight.copy_(torch.where(used[:, None] == 0, latents.to(weight), weight))
            used.zero_()
