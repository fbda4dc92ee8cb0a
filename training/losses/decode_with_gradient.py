"""Gradients through the frozen decoder in bounded memory.

A clip's decoding is a chain of chunks that hand on a causal memory of two frames per convolution. Forwards nothing is
kept but the latents. Backwards the chain is halved again and again: a half's first memory is made by decoding up to
it, and a single chunk is decoded with its activations and walked back. So the activations of one chunk live at a time,
and with a clip of n chunks about log₂ n memories, for log₂ n more passes forwards.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from vividface_core.wan.module_types import WanModule
from vividface_core.wan.vae import StreamingDecoder, after_first

Memory = list[Any]


def decode_with_gradient(vae: WanModule, latents: Tensor, chunk: int = 1) -> Tensor:
    """Decode as :func:`vividface_core.wan.vae.decode` does, with a gradient to ``latents`` and to nothing else.

    Args:
        vae: ``AutoencoderKLWan``; its weights get no gradient.
        latents: ``[B, C, T', h, w]``, normalised.
        chunk: latent frames that are decoded, and kept for the backward pass, together.

    Returns:
        ``[B, 3, T, H, W]`` fp32 around −1…1, not clamped.
    """
    return _Decode.apply(latents, vae, chunk)


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, latents: Tensor, vae: WanModule, chunk: int) -> Tensor:
        ctx.save_for_backward(latents)
        ctx.vae, ctx.chunk, ctx.device = vae, chunk, latents.device.type
        ctx.autocast = torch.get_autocast_dtype(ctx.device) if torch.is_autocast_enabled(ctx.device) else None
        stream = StreamingDecoder(vae)
        return torch.cat([stream.push(part) for part in after_first(latents, chunk)], 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (latents,) = ctx.saved_tensors
        with _precision(ctx):
            chain = _Chain(ctx.vae, list(after_first(latents.detach(), ctx.chunk)), gradient)
            chain.walk(0, len(chain.parts), [], {})
        return torch.cat(chain.gradients, 2), None, None


def _precision(ctx: Any) -> AbstractContextManager:
    """The backward pass decodes again, in the precision of the first time."""
    return torch.autocast(ctx.device, ctx.autocast or torch.bfloat16, enabled=ctx.autocast is not None)


class _Chain:
    """The backward pass over the chunks of one clip."""

    def __init__(self, vae: WanModule, parts: list[Tensor], gradient: Tensor) -> None:
        self._vae, self.parts, self._left = vae, parts, gradient
        self.gradients: list[Tensor] = []

    def walk(self, first: int, last: int, memory: Memory, after: dict[int, Tensor]) -> dict[int, Tensor]:
        """Walk back chunks ``first`` … ``last`` − 1, whose stream begins with ``memory``.

        ``after`` is the gradient of the memory that they leave, by place; returns that of ``memory``.
        """
        if last - first == 1:
            return self._one(first, memory, after)
        middle = (first + last) // 2
        with torch.no_grad():
            left = memory
            for part in self.parts[first:middle]:
                left = self._decode(part, left)[1]
        return self.walk(first, middle, memory, self.walk(middle, last, left, after))

    @torch.enable_grad()
    def _one(self, number: int, memory: Memory, after: dict[int, Tensor]) -> dict[int, Tensor]:
        known = {place: value.detach().requires_grad_() for place, value in enumerate(memory) if _tensor(value)}
        part = self.parts[number].detach().requires_grad_()
        frames, left = self._decode(part, [known.get(place, value) for place, value in enumerate(memory)])
        self._left, gradient = self._left.split([self._left.shape[2] - frames.shape[2], frames.shape[2]], 2)
        places = [place for place in after if left[place].requires_grad]
        found = torch.autograd.grad(
            [frames, *(left[place] for place in places)],
            [part, *known.values()],
            [gradient, *(after[place] for place in places)],
            allow_unused=True,
        )
        self.gradients.insert(0, found[0])
        return {place: value for place, value in zip(known, found[1:]) if value is not None}

    def _decode(self, part: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        stream = StreamingDecoder(self._vae)
        if memory:
            stream.resume(memory)
        return stream.push(part), stream.memory


def _tensor(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
