"""What may be added to the tokens before a block of the denoiser, computed once a window.

The folded denoiser knows the two kinds here and nothing of where they come from: a gain and a shift a latent frame, and
features whose projection is added to the tokens. In DVFace they come from face priors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vividface_core.wan.attention import Attention
from vividface_core.wan.module_types import WanModule

_ATTEND = Attention()
Shard = Callable[[Tensor], Tensor]
"""A process's part of a tensor ``[B, T, …]`` of all tokens."""


@dataclass(frozen=True)
class Injection:
    """x ← (1 + γ) ⊙ x + β + P·f, before one block.

    Attributes:
        gain, shift: γ and β, ``[B, T', width]`` fp32, a latent frame.
        features: f, ``[B, T, c]``, a token; ``None``: nothing more is added.
        project: P, from c to the tokens' width.
    """

    gain: Tensor
    shift: Tensor
    features: Tensor | None = None
    project: nn.Linear | None = None

    def add_to(self, x: Tensor, frames: Tensor, place: slice) -> None:
        """Change tokens in place.

        Args:
            x: ``[B, n, width]``, some of this process's tokens.
            frames: ``[n]`` int64, the latent frame of each.
            place: where they stand among this process's tokens.
        """
        self._modulate(x, frames)
        if self.features is not None:
            assert self.project is not None  # features come with it
            x.add_(self.project(self.features[:, place]))

    def _modulate(self, x: Tensor, frames: Tensor) -> None:
        x.mul_((1 + self.gain[:, frames]).to(x.dtype)).add_(self.shift[:, frames].to(x.dtype))

    def shard(self, part: Shard) -> Injection:
        """For a process that has a part of the tokens."""
        return self if self.features is None else replace(self, features=part(self.features))

    @property
    def tensors(self) -> list[Tensor]:
        """What changes from window to window."""
        return [x for x in (self.gain, self.shift, self.features) if x is not None]

    @property
    def weights(self) -> list[Tensor]:
        """Parameters that it multiplies with."""
        return [] if self.project is None else list(self.project.parameters())

    def with_tensors(self, tensors: list[Tensor]) -> Injection:
        """The same injection with other :attr:`tensors`."""
        changed: dict[str, Any] = dict(zip(("gain", "shift", "features"), tensors))
        return replace(self, **changed)


@dataclass(frozen=True)
class QueryInjection(Injection):
    """As :class:`Injection`, but f is what the tokens themselves find among features of their latent frame.

    Attributes:
        features: keys and values, ``[B, T', places, 2·c]``.
        to_query: from the tokens' width to c.
        heads: of the attention.
    """

    to_query: nn.Linear | None = None
    heads: int = 1

    def add_to(self, x: Tensor, frames: Tensor, place: slice) -> None:
        assert self.to_query is not None and self.features is not None and self.project is not None
        given = x.clone() if torch.is_grad_enabled() else x  # its gradient needs the tokens as they were
        query, found = self.to_query(given).unflatten(-1, (self.heads, -1)), []
        # Tokens stand frame by frame.
        counts = torch.unique_consecutive(frames, return_counts=True)[1].tolist()
        start = 0
        for count in counts:
            keys, values = self.features[:, frames[start]].unflatten(-1, (2, self.heads, -1)).unbind(2)
            found.append(_ATTEND(query[:, start : start + count], keys, values))
            start += count
        self._modulate(x, frames)
        x.add_(self.project(torch.cat(found, 1).flatten(2)))

    def shard(self, part: Shard) -> Injection:
        return self

    @property
    def weights(self) -> list[Tensor]:
        return [*super().weights, *(self.to_query.parameters() if self.to_query is not None else ())]


def token_frames(count: int, x: Tensor) -> Tensor:
    """The latent frame, of ``count``, of each token of ``x [B, T, width]``, which stand frame by frame: ``[T]``."""
    return torch.arange(count, device=x.device).repeat_interleave(x.shape[1] // count)


@contextmanager
def hooked(transformer: WanModule, injections: Sequence[Injection]) -> Iterator[None]:
    """Within it, diffusers' ``WanTransformer3DModel`` adds the injections before its blocks.

    Not in place, so that gradients pass. Tokens stand frame by frame.
    """

    handles = inject_before(transformer.blocks, lambda number: injections[number]) if injections else []
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def inject_before(blocks: Iterable[nn.Module], injection_of: Callable[[int], Injection]) -> list[RemovableHandle]:
    """Let blocks of diffusers' denoiser add what ``injection_of(number)`` gives when they are called."""

    def before(number: int) -> Callable[..., tuple[Any, ...]]:
        def hook(block: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            injection, x = injection_of(number), arguments[0].clone()
            injection.add_to(x, token_frames(injection.gain.shape[1], x), slice(None))
            return x, *arguments[1:]

        return hook

    return [block.register_forward_pre_hook(before(number)) for number, block in enumerate(blocks)]
