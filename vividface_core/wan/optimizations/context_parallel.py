"""One long window on several devices: each process has all weights and a part of the tokens.

Everything in the denoiser looks at one token at a time except self-attention. For that, each process gives away its
tokens' queries, keys and values and gets those of all tokens for some of the heads; afterwards they change back
(Ulysses). The result is the same on every process. It needs ``torch.distributed`` with a backend for the device
(NCCL, or gloo on the CPU), set up by whoever started the processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from vividface_core.errors import InvalidOption
from vividface_core.wan.attention import Attention
from vividface_core.wan.folded_transformer import FoldedDenoiser
from vividface_core.wan.module_types import WanModule


def enable_context_parallel(denoiser: WanModule, group: dist.ProcessGroup | None = None) -> None:
    """Let a denoiser compute its passes together with those of the other processes, which call it with the same latent.

    Args:
        denoiser: a :class:`~vividface_core.wan.folded_transformer.FoldedDenoiser`, or diffusers' module of a plain
        restorer, whose
            own context parallelism is then switched on (all processes, accelerators only).
        group: the processes; ``None``: all.

    Raises:
        InvalidOption: its heads can't be dealt out evenly, or diffusers can't do it here.
    """
    size, heads = dist.get_world_size(group), denoiser.config.num_attention_heads
    if heads % size:
        raise InvalidOption(f"{heads} heads of attention can't be dealt out to {size} processes evenly.")
    if isinstance(denoiser, FoldedDenoiser):
        denoiser.sequence_shard = SequenceShard(group)
        block: WanModule
        for block in denoiser.blocks:
            block.attention = UlyssesAttention(denoiser.attention, denoiser.sequence_shard)
        return
    try:
        from diffusers import ContextParallelConfig

        denoiser.enable_parallelism(config=ContextParallelConfig(ulysses_degree=size, ulysses_anything=True))
    except (ImportError, AttributeError, TypeError, RuntimeError, ZeroDivisionError, ValueError) as error:
        raise InvalidOption(
            f"diffusers' context parallelism does not run here ({error}); it needs diffusers 0.37 or newer and an "
            "accelerator a process. Use the folded denoiser (without plain)."
        ) from error


class SequenceShard:
    """Each process's part of the tokens: consecutive ones, as even as can be.

    Attributes:
        counts: tokens of each process in the pass at hand.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self._group = group
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        self.counts: list[int] = []

    def shard(self, *tensors: Tensor) -> list[Tensor]:
        """This process's tokens of each ``[B, T, …]``.

        Raises:
            InvalidOption: fewer tokens than processes.
        """
        tokens = tensors[0].shape[1]
        if tokens < self.size:
            raise InvalidOption(f"{tokens} tokens can't be dealt out to {self.size} processes.")
        self.counts = [tokens // self.size + (rank < tokens % self.size) for rank in range(self.size)]
        # Contiguous copies: blocks work in place.
        return [x.split(self.counts, 1)[self.rank].contiguous() for x in tensors]

    def gather(self, x: Tensor) -> Tensor:
        """All tokens ``[B, T, …]`` on every process, of this one's."""
        shapes = [(x.shape[0], count, *x.shape[2:]) for count in self.counts]
        return torch.cat(self.all_to_all([x] * self.size, shapes), 1)

    def all_to_all(self, parts: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """Sends ``parts[i]`` to process i; returns what each sent here, of these shapes."""
        sent = torch.cat([part.reshape(-1) for part in parts])
        sizes = [math.prod(shape) for shape in shapes]
        received = sent.new_empty(sum(sizes))
        dist.all_to_all_single(received, sent, sizes, [part.numel() for part in parts], group=self._group)
        return [piece.view(shape) for piece, shape in zip(received.split(sizes), shapes)]


class UlyssesAttention(Attention):
    """Self-attention over the tokens of all processes."""

    def __init__(self, inner: Attention, share: SequenceShard) -> None:
        super().__init__(inner.name)
        self._share = share

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        share, (batch, mine, heads, depth) = self._share, query.shape
        some = heads // share.size
        packed = torch.stack([query, key, value]).split(some, 3)
        tokens = share.all_to_all(packed, [(3, batch, count, some, depth) for count in share.counts])
        mixed = super().__call__(*torch.cat(tokens, 2))
        back = share.all_to_all(mixed.split(share.counts, 1), [(batch, mine, some, depth)] * share.size)
        return torch.cat(back, 2)
