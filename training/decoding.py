"""Gradients through the frozen decoder in bounded memory.

A clip's decoding is a chain of chunks that hand on a causal memory of two frames per convolution. Each link is
checkpointed: forwards it keeps the memory that it was given, backwards it runs again. So the activations of one chunk
live at a time. What still grows with the clip is that memory, about half of the activations it stands for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vividface_core.wan.vae import StreamingDecoder, after_first


def decode_with_gradient(vae: nn.Module, latents: Tensor, chunk: int = 1) -> Tensor:
    """Decode as :func:`vividface_core.wan.vae.decode` does, with a gradient to ``latents``.

    Args:
        vae: ``AutoencoderKLWan``; its weights may be frozen or not.
        latents: ``[B, C, T', h, w]``, normalised.
        chunk: latent frames that are decoded, and kept for the backward pass, together.

    Returns:
        ``[B, 3, T, H, W]`` fp32 around −1…1, not clamped.
    """
    memory: list[Any] = []
    parts = []
    for part in after_first(latents, chunk):
        frames, memory = _link(vae, part, memory)
        parts.append(frames)
    return torch.cat(parts, 2)


def _link(vae: nn.Module, latents: Tensor, memory: list[Any]) -> tuple[Tensor, list[Any]]:
    """One chunk under a checkpoint: its frames and the memory after it."""
    places = [place for place, value in enumerate(memory) if isinstance(value, Tensor)]
    after: list[Any] = []

    def run(chunk: Tensor, *known: Tensor) -> tuple[Tensor, ...]:
        stream = StreamingDecoder(vae)
        if memory:
            given = list(memory)
            for place, value in zip(places, known):
                given[place] = value
            stream.resume(given)
        frames = stream.push(chunk)
        after[:] = stream.memory
        return (frames, *(value for value in stream.memory if isinstance(value, Tensor)))

    frames, *tensors = checkpoint(run, latents, *(memory[place] for place in places), use_reentrant=False)
    supply = iter(tensors)
    return frames, [next(supply) if isinstance(value, Tensor) else value for value in after]
