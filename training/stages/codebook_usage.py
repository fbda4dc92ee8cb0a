"""How BFVR-STC's two codebooks are used: in a batch, and over the validation clips of all processes."""

from __future__ import annotations

import torch
from torch import Tensor

from training.losses.codebook import CodeUsage

BRANCHES = {"s": "spatial", "t": "temporal"}


class BothUsages:
    """Counts the codes of both codebooks, ``codes`` each."""

    def __init__(self, codes: int) -> None:
        self._codes = codes
        self._usages = self._fresh()

    def _fresh(self) -> dict[str, CodeUsage]:
        return {branch: CodeUsage(self._codes) for branch in BRANCHES}

    def update(self, indices_s: Tensor, indices_t: Tensor) -> None:
        """Codes of any shape."""
        for usage, indices in zip(self._usages.values(), (indices_s, indices_t)):
            usage.update(indices)

    def take(self) -> dict[str, Tensor]:
        """The counts ``[K]`` since the last call, by branch."""
        taken, self._usages = self._usages, self._fresh()
        return {branch: usage.counts for branch, usage in taken.items()}


def usage_figures(counts: dict[str, Tensor]) -> dict[str, float]:
    """``usage_s``, ``usage_t``: shares of codes used at least once; ``perplexity_s``, ``perplexity_t``."""
    figures: dict[str, float] = {}
    for branch, values in counts.items():
        usage = CodeUsage(len(values))
        usage.counts = values.cpu().to(torch.int64)
        figures |= {f"usage_{branch}": usage.usage(), f"perplexity_{branch}": usage.perplexity()}
    return figures


def batch_figures(indices_s: Tensor, indices_t: Tensor, codes: int) -> dict[str, Tensor]:
    """The same of one batch, as scalars beside a loss."""
    usages = BothUsages(codes)
    usages.update(indices_s, indices_t)
    return {
        name: indices_s.new_tensor(value, dtype=torch.float32) for name, value in usage_figures(usages.take()).items()
    }
