"""What BFVR-STC's two stages minimise beside pictures: codebook loss, marginal prior and code prediction.

Latents are ``[B, C, t, h, w]``, codes int64 ``[B·t, h·w]``, as :mod:`vividface_core.bfvr_stc` gives them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vividface_core.bfvr_stc.layers import frame_residual
from vividface_core.bfvr_stc.quantizer import rows_of

LEAST_DISTANCE = 1e-6
"""Squared distances are at least this: a latent may lie on a code, and fp32 may round a distance below 0."""


def codebook_loss(z: Tensor, z_q: Tensor, codebook_weight: float = 0.25) -> Tensor:
    """mean‖sg(z_q) − z‖² + w·mean‖z_q − sg(z)‖² on the sum of both codebooks' entries.

    w stands at the codebook's side, as in BFVR-STC; VQ-VAE has it at the encoder's.

    Args:
        z: the latent.
        z_q: S[i] + T[j], with the codebooks' gradient (:class:`~vividface_core.bfvr_stc.quantizer.Quantized`).
    """
    z, z_q = z.float(), z_q.float()
    return F.mse_loss(z, z_q.detach()) + codebook_weight * F.mse_loss(z_q, z.detach())


def marginal_prior(z: Tensor, codebook: Tensor, sharpness: float = 1.0) -> Tensor:
    """KL(P ‖ uniform) = Σₖ Pₖ·log(K·Pₖ), nats, of the soft assignment P of a latent to one codebook ``[K, C]``.

    0 when all codes are asked for equally, log K when one is. Take it of z with the spatial codebook and of
    TA(z) + R(z) with the temporal one; it is the only term whose gradient reaches TA in stage I.

    Args:
        sharpness: see :func:`soft_assignment`.
    """
    p = soft_assignment(rows_of(z), codebook, sharpness)
    return torch.xlogy(p, p * len(codebook)).sum()


def soft_assignment(rows: Tensor, codebook: Tensor, sharpness: float = 1.0) -> Tensor:
    """P ``[K]``: mean over ``rows [N, C]`` of the codes' shares, which are as 1/d, d the squared distance.

    Args:
        sharpness: shares are as d to the power of −``sharpness``. 1 is the published one; there every share is near
            1/K as long as a latent lies about as far from most codes, which is usual in 256 dimensions.
    """
    with torch.autocast(rows.device.type, enabled=False):
        rows, codebook = (x if x.dtype == torch.float64 else x.float() for x in (rows, codebook))
        distances = rows.square().sum(1, keepdim=True) - 2 * rows @ codebook.T + codebook.square().sum(1)
        # softmax(−s·log d) is d^−s over its sum, and neither overflows.
        return F.softmax(-sharpness * distances.clamp_min(LEAST_DISTANCE).log(), dim=1).mean(0)


def released_prior(z: Tensor, codebook: Tensor) -> Tensor:
    """The prior of one codebook as the released code computes it, to compare with: P passes a softmax first, which
    makes it flat, and the sum over codes is a mean. It has next to no gradient."""
    p = soft_assignment(rows_of(z), codebook)
    uniform = torch.full_like(p, 1 / len(p))
    return F.kl_div(F.log_softmax(p, 0), F.softmax(uniform, 0), reduction="sum") / len(p)


def residual_share(z: Tensor) -> Tensor:
    """mean‖R(z)‖² / var(z) of a latent of two frames or more: about 2 where its frames have nothing in common.

    Not of the paper. An encoder that nothing is asked of spreads one still picture over all latent frames; then R(z),
    which the temporal codebook stands for, is as large as z, and the sum of two entries can't come near z.
    """
    z = z.float()
    return frame_residual(z)[:, :, 1:].square().mean() / z.var()


def lookup_loss(
    z: Tensor,
    logits: tuple[Tensor, Tensor],
    target_z_q: Tensor,
    target_codes: tuple[Tensor, Tensor],
    feature_weight: float = 10.0,
    code_weight: float = 1.0,
) -> dict[str, Tensor]:
    """Stage II: w_f·mean‖z_q − z‖² + w_CE·(CE of the spatial codes + CE of the temporal codes).

    Args:
        z: latent of the degraded clip.
        logits: spatial and temporal scores ``[B·t, h·w, K]``.
        target_z_q, target_codes: what frozen stage I makes of the sharp clip; no gradient goes there.
        code_weight: 1 for restoration, 0.5 for de-flickering, as published.

    Returns:
        ``loss`` and its parts ``feature``, ``codes_s``, ``codes_t``, unweighted, and the share of right codes
        ``right_s``, ``right_t``.
    """
    feature = F.mse_loss(z.float(), target_z_q.detach().float())
    pairs = dict(zip("st", zip(logits, target_codes)))
    entropies = {
        f"codes_{branch}": F.cross_entropy(scores.flatten(0, 1).float(), codes.flatten())
        for branch, (scores, codes) in pairs.items()
    }
    right = {
        f"right_{branch}": (scores.detach().argmax(-1) == codes).float().mean()
        for branch, (scores, codes) in pairs.items()
    }
    loss = feature_weight * feature + code_weight * sum(entropies.values())
    return {"loss": loss, "feature": feature, **entropies, **right}


class CodeUsage:
    """Counts how often each code of one codebook is used, over as many clips as are shown to it.

    Attributes:
        counts: int64 ``[K]``; the sum over processes is the count of all.
    """

    def __init__(self, codebook_size: int) -> None:
        self.counts = torch.zeros(codebook_size, dtype=torch.int64)

    def update(self, indices: Tensor) -> None:
        """Codes of any shape, on any device."""
        self.counts += torch.bincount(indices.detach().flatten().cpu(), minlength=len(self.counts))

    def usage(self) -> float:
        """Share of codes that were used at least once, 0…1."""
        return float((self.counts > 0).double().mean())

    def perplexity(self) -> float:
        """exp of the entropy of the counts: K if all codes are equally frequent, 1 if one is used alone; 0 without
        any code."""
        total = self.counts.sum()
        p = self.counts.double() / total.clamp_min(1)
        return float(torch.exp(-torch.xlogy(p, p).sum())) if total else 0.0
