"""Wan's denoiser for one timestep and one text: what depends only on them is computed once and its weights let go.

With t and the text fixed, in every block

- the six modulation vectors are constants. Scale and shift are then a layer norm's own weight and bias,
  LN(x)·(1 + s) + b, and the gates are vectors that a residual is multiplied with.
- the text's keys and values are constants. After n real tokens all others are the same zero vector, so they are one
  key whose logit is larger by ln(length − n). With k_m the last key and K the real ones, softmax is over differences:
  for head h and token u (the query before its norm, r = 1 / rms(u), w the norm's weight)

      z_hj = r · Σ_{i∈h} u_i w_i (k_ji − k_mi) / √d + ln(c_j / c_m),   c = 1 for a real key, length − n for the zeros
      attention = O·v_m + o + Σ_hj p_hj · O_h (v_j − v_m)_h,           p = softmax over (z_h1 … z_h,m−1, 0)

  The empty prompt has one real token, so p is a sigmoid, and a product with 12 columns replaces 512 keys, their
  projections and the output projection. Where nothing follows the only token, attention is a constant.

What follows self-attention looks at one token at a time, so it runs in chunks of tokens, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.errors import UnsupportedCheckpoint
from vividface_core.wan.attention import Attention
from vividface_core.wan.empty_prompt import EmptyPrompt
from vividface_core.wan.injection import Injection, token_frames
from vividface_core.wan.module_types import WanModule
from vividface_core.wan.transformer import T_STAR

TOKENS = 4096
"""Tokens that pass the feed-forward net together. Fewer save memory; from about 2,000 on, more are no faster."""


class FoldedDenoiser(nn.Module):
    """DiT(z, t*, text) of a ``WanTransformer3DModel`` without what t* and the text make constant.

    It shares the weights that it needs; time embedding, text projection, and of the cross attention the projections
    of keys, values and output, are needed no more and are freed with the transformer. Constants are buffers in fp32,
    computed in fp32 from the weights as they are: fold first, then give the weights a narrower type.

    Text and timestep can't be changed afterwards, nor the weights that were folded in: they aren't here any longer.

    Attributes:
        config: of the transformer.
        blocks: the repeated part, :class:`FoldedBlock`.
        attention: what computes self-attention.
        sequence_shard: deals tokens out to several processes,
        :class:`~vividface_core.wan.optimizations.context_parallel.SequenceShard`, or ``None``.
    """

    # Names of modules for ``cast``; as ``WanTransformer3DModel`` has it.
    _keep_in_fp32_modules = (
        "rope",
        "norm1",
        "norm2",
        "norm3",
        "norm_out",
        "gate1",
        "gate3",
        "keys",
        "prior",
        "values",
        "constant",
        "scale",
    )

    def __init__(
        self,
        transformer: WanModule,
        prompt: EmptyPrompt,
        t_star: float = T_STAR,
        *,
        attention: Attention | None = None,
    ) -> None:
        """
        Args:
            transformer: ``WanTransformer3DModel`` without an image branch; it stays whole and usable.
            prompt: its real rows and the length that the denoiser attends to.
            t_star: 0…1000.

        Raises:
            UnsupportedCheckpoint: the transformer also attends to an image.
        """
        super().__init__()
        if transformer.config.image_dim or transformer.config.added_kv_proj_dim:
            raise UnsupportedCheckpoint("This denoiser attends to an image too; a text-to-video denoiser is wanted.")
        self.config, self.attention = transformer.config, attention or Attention()
        self.rope, self.patch_embedding = transformer.rope, transformer.patch_embedding
        with torch.inference_mode(False), torch.no_grad():
            moment, modulation, text, counts = _conditions(transformer, prompt, t_star)
            self.blocks = nn.ModuleList(
                FoldedBlock(block, modulation, text, counts, self.attention) for block in transformer.blocks
            )
            shift, scale = (transformer.scale_shift_table.float() + moment)[0]
            self.norm_out = FoldedNorm(1 + scale, shift, transformer.norm_out.eps)
        self.proj_out = transformer.proj_out
        self.sequence_shard: Any = None
        self._table: tuple[Any, Tensor] = ((), torch.empty(0))

    @torch.no_grad()
    def forward(
        self,
        latent: Tensor,
        on_block: Callable[[int], None] | None = None,
        run: Callable[[FoldedBlock, Tensor, Tensor], None] | None = None,
        injections: Sequence[Injection] = (),
    ) -> Tensor:
        """The velocity in Wan's own direction, as :func:`~vividface_core.wan.transformer.one_step_velocity`.

        Args:
            latent: ``[B, C, T', h, w]``, normalised; h and w multiples of the patch.
            on_block: called with 1, 2, … as the blocks finish.
            run: called with block, tokens and rotations instead of the block itself.
            injections: what is added to the tokens before each block, as many as blocks, or none.

        Returns:
            ``[B, C, T', h, w]`` fp32.
        """
        weight = self.patch_embedding.weight
        latent = latent.to(weight.device, weight.dtype)
        # A stride as wide as the kernel is a product with each patch.
        x = F.linear(self._patchify(latent), weight.flatten(1), self.patch_embedding.bias)
        table = self.rotations(latent)
        frames = token_frames(latent.shape[2], x) if injections else None
        if self.sequence_shard is not None:
            x, table = self.sequence_shard.shard(x, table)
            if frames is not None:
                frames = self.sequence_shard.shard(frames[None])[0][0]
                injections = [one.shard(lambda part: self.sequence_shard.shard(part)[0]) for one in injections]
        with self.attention.chosen():
            block: WanModule
            for number, block in enumerate(self.blocks, start=1):
                if frames is not None:
                    _inject(injections[number - 1], x, frames)
                run(block, x, table) if run else block(x, table)
                if on_block is not None:
                    on_block(number)
        x = self.proj_out(self.norm_out(x))
        if self.sequence_shard is not None:
            x = self.sequence_shard.gather(x)
        return self._unpatchify(x, latent.shape).float()

    def rotations(self, latent: Tensor) -> Tensor:
        """``[1, T, 1, d/2, 2]`` fp32: cosine and sine for each token and pair of channels; kept for the next pass."""
        # Contents are of the size alone; the device is part of the key as a host may move the module.
        key = (*latent.shape[2:], latent.device)
        if self._table[0] != key:
            with torch.inference_mode(False), torch.no_grad():
                cos, sin = self.rope(latent)
                # diffusers repeats each number for both channels of its pair.
                self._table = key, torch.stack([cos[..., 0::2], sin[..., 1::2]], -1).to(latent.device, torch.float32)
        return self._table[1]

    def _patchify(self, latent: Tensor) -> Tensor:
        """``[B, T, C·patch]``"""
        x = latent
        for axis, step in enumerate(self.config.patch_size):
            x = x.unflatten(2 + 2 * axis, (-1, step))
        return x.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(1, 3)

    def _unpatchify(self, x: Tensor, shape: torch.Size) -> Tensor:
        """``[B, T, patch·C]`` to ``[B, C, T', h, w]``."""
        steps = self.config.patch_size
        counts = [size // step for size, step in zip(shape[2:], steps)]
        x = x.reshape(shape[0], *counts, *steps, -1).permute(0, 7, 1, 4, 2, 5, 3, 6)
        return x.reshape(shape[0], -1, *shape[2:])


class FoldedBlock(nn.Module):
    """Self-attention, text and feed-forward net on tokens ``[B, T, width]``, which it changes in place."""

    gate1: Tensor
    gate3: Tensor

    def __init__(
        self, block: WanModule, modulation: Tensor, text: Tensor, counts: Tensor, attention: Attention
    ) -> None:
        super().__init__()
        own = block.attn1
        self.heads, self.attention = own.heads, attention
        shift1, scale1, gate1, shift3, scale3, gate3 = (block.scale_shift_table.float() + modulation)[0]
        self.norm1, self.norm3 = (
            FoldedNorm(1 + scale1, shift1, block.norm1.eps),
            FoldedNorm(1 + scale3, shift3, block.norm3.eps),
        )
        self.register_buffer("gate1", gate1.clone())
        self.register_buffer("gate3", gate3.clone())
        self.to_q, self.to_k, self.to_v, self.to_out = own.to_q, own.to_k, own.to_v, own.to_out[0]
        self.norm_q, self.norm_k = own.norm_q, own.norm_k
        self.text = FoldedCrossAttention(block, text, counts)
        self.up, self.down = block.ffn.net[0].proj, block.ffn.net[2]

    def forward(self, x: Tensor, table: Tensor) -> None:
        self._attend(x, table)
        for start in range(0, x.shape[1], TOKENS):
            part = x[:, start : start + TOKENS]
            self.text(part)
            part.addcmul_(self.down(_gelu(self.up(self.norm3(part)))), self.gate3)

    def _attend(self, x: Tensor, table: Tensor) -> None:
        normed = self.norm1(x)
        query = apply_rotary(self.norm_q(self.to_q(normed)).unflatten(-1, (self.heads, -1)), table)
        key = apply_rotary(self.norm_k(self.to_k(normed)).unflatten(-1, (self.heads, -1)), table)
        value = self.to_v(normed).unflatten(-1, (self.heads, -1))
        del normed
        x.addcmul_(self.to_out(self.attention(query, key, value).flatten(2)), self.gate1)


class FoldedCrossAttention(nn.Module):
    """Cross attention to a constant text, added to tokens in place."""

    constant: Tensor
    keys: Tensor
    prior: Tensor
    values: Tensor

    def __init__(self, block: WanModule, text: Tensor, counts: Tensor) -> None:
        """
        Args:
            text: ``[m, width]``, each different token once.
            counts: ``[m]``, how often each occurs.
        """
        super().__init__()
        own, width = block.attn2, text.shape[-1]
        project, depth = own.to_out[0], width // own.heads
        keys, values = (_linear(layer, text) for layer in (own.to_k, own.to_v))
        keys = F.rms_norm(keys, (width,), own.norm_k.weight.float(), own.norm_k.eps)
        self.register_buffer("constant", _linear(project, values[-1]))
        self.others = len(text) - 1
        if not self.others:
            return
        self.to_q, self.eps, self.heads = own.to_q, own.norm_q.eps, own.heads
        plain = isinstance(block.norm2, nn.Identity)
        self.norm2 = block.norm2 if plain else FoldedNorm(block.norm2.weight, block.norm2.bias, block.norm2.eps)
        # Rows (head, key): one head's channels of one key, zero elsewhere.
        keys = (keys[:-1] - keys[-1]) * own.norm_q.weight.float() / math.sqrt(depth)
        head = torch.eye(own.heads, device=keys.device).repeat_interleave(depth, 1)
        self.register_buffer("keys", (head[:, None] * keys).flatten(0, 1))
        self.register_buffer("prior", (counts[:-1] / counts[-1]).log().repeat(own.heads))
        spread = (head[:, None] * (values[:-1] - values[-1])).flatten(0, 1)
        self.register_buffer("values", F.linear(spread, project.weight.float()))

    def forward(self, x: Tensor) -> None:
        if not self.others:
            x.add_(self.constant)
            return
        query = self.to_q(self.norm2(x)).float()
        size = torch.linalg.vector_norm(query, dim=-1, keepdim=True)
        inverse = torch.rsqrt(size.square() / query.shape[-1] + self.eps)
        share = self._shares((F.linear(query, self.keys) * inverse).add_(self.prior))
        x.add_(F.linear(share, self.values.t(), self.constant))

    def _shares(self, z: Tensor) -> Tensor:
        """Softmax over each head's keys, of which the last has the logit 0 and is left out."""
        if self.others == 1:
            return z.sigmoid()
        z = F.pad(z.unflatten(-1, (self.heads, self.others)), (0, 1))
        return z.softmax(-1)[..., :-1].flatten(-2)


class FoldedNorm(nn.Module):
    """Layer norm with constants in fp32, whatever the type of the tokens."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", weight.detach().float().clone())
        self.register_buffer("bias", bias.detach().float().clone())

    def forward(self, x: Tensor) -> Tensor:
        shape = self.weight.shape
        # A compiler fuses the conversions; without one they are passes over memory.
        if x.dtype == torch.float32 or (not torch.compiler.is_compiling() and _mixed_norm(x.device.type, x.dtype)):
            return F.layer_norm(x, shape, self.weight, self.bias, self.eps)
        return F.layer_norm(x.float(), shape, self.weight, self.bias, self.eps).to(x.dtype)


def apply_rotary(x: Tensor, table: Tensor) -> Tensor:
    """Rotary positions: each pair of channels of ``[B, T, heads, d]`` turned by its angle, in fp32.

    In place where ``x`` is fp32, in the arithmetic of (a + ib)(cos + i sin).
    """
    pairs = x.float().unflatten(-1, (-1, 2))
    if x.device.type in ("cpu", "cuda") and not torch.compiler.is_compiling():
        torch.view_as_complex(pairs).mul_(torch.view_as_complex(table))
    else:  # no complex numbers there, or none that a compiler would fuse
        (a, b), (cos, sin) = pairs.unbind(-1), table.unbind(-1)
        pairs = torch.stack([a * cos - b * sin, a * sin + b * cos], -1)
    return pairs.flatten(-2).to(x.dtype)


def _conditions(transformer: WanModule, prompt: EmptyPrompt, t_star: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Time ``[1, 1, width]``, modulation ``[1, 6, width]``, tokens of the text ``[m, width]``, counts."""
    embedder, device = transformer.condition_embedder, transformer.patch_embedding.weight.device
    embed = embedder.time_embedder
    x = embedder.timesteps_proj(torch.tensor([t_star], dtype=torch.float32, device=device))
    moment = _linear(embed.linear_2, F.silu(_linear(embed.linear_1, x)))
    modulation = _linear(embedder.time_proj, F.silu(moment)).unflatten(1, (6, -1))
    rows = prompt.rows.to(device, torch.float32)
    repeated = prompt.length - len(rows)
    counts = torch.ones(len(rows), device=device)
    if repeated:
        rows = F.pad(rows, (0, 0, 0, 1))
        counts = F.pad(counts, (0, 1), value=repeated)
    project = embedder.text_embedder
    text = _linear(project.linear_2, F.gelu(_linear(project.linear_1, rows), approximate="tanh"))
    return moment[:, None], modulation, text, counts


def _linear(layer: WanModule, x: Tensor) -> Tensor:
    """In fp32, one matrix at a time."""
    return F.linear(x, layer.weight.float(), layer.bias.float())


def _inject(injection: Injection, x: Tensor, frames: Tensor) -> None:
    """Change all tokens in place, a chunk at a time."""
    for start in range(0, x.shape[1], TOKENS):
        place = slice(start, start + TOKENS)
        injection.add_to(x[:, place], frames[place], place)


def _gelu(x: Tensor) -> Tensor:
    return torch.ops.aten.gelu_(x, approximate="tanh")


@lru_cache
def _mixed_norm(device: str, dtype: torch.dtype) -> bool:
    """Whether the device's layer norm takes fp32 weights for narrower values."""
    try:
        one = torch.ones(8, device=device)
        F.layer_norm(one.to(dtype)[None], (8,), one, one)
    except (RuntimeError, NotImplementedError):
        return False
    return True
