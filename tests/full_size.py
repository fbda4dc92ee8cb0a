"""Wan's modules in the configuration of VividFace's released weights, with random weights in their place."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

TRANSFORMER = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 12,
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 8960,
    "num_layers": 30,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "eps": 1e-6,
    "rope_max_seq_len": 1024,
}
"""Wan2.1-T2V-1.3B."""


def true_transformer(dtype: torch.dtype, layers: int | None = None, seed: int = 0) -> nn.Module:
    """``WanTransformer3DModel`` of 1.3B, or the first ``layers`` of its 30, made without memory for anything else."""
    from diffusers import WanTransformer3DModel

    from vividface_core.wan.transformer import cast

    with torch.device("meta"):
        model = WanTransformer3DModel(**{**TRANSFORMER, "num_layers": layers or TRANSFORMER["num_layers"]})
        # On the meta device a type costs nothing; what stays in fp32 is seen there.
        types = {name: tensor.dtype for name, tensor in cast(model, dtype).named_parameters()}
    rng = torch.Generator().manual_seed(seed)
    # A part of one long row for each tensor: billions of draws would take longer than the tests.
    row = torch.randn(1 << 24, generator=rng)
    state = {name: _values(name, tensor.shape, row, rng).to(types[name]) for name, tensor in model.named_parameters()}
    model.load_state_dict(state, assign=True)
    rope = model.config
    model.rope = type(model.rope)(rope.attention_head_dim, rope.patch_size, rope.rope_max_seq_len)
    return model.eval().requires_grad_(False)


def parameters_of_all() -> int:
    """Weights of the 1.3B transformer, counted where they take no memory."""
    from diffusers import WanTransformer3DModel

    with torch.device("meta"):
        return sum(parameter.numel() for parameter in WanTransformer3DModel(**TRANSFORMER).parameters())


def true_vae(dtype: torch.dtype, seed: int = 0) -> nn.Module:
    """``AutoencoderKLWan`` of Wan 2.1."""
    from diffusers import AutoencoderKLWan

    with torch.device("meta"):
        model = AutoencoderKLWan()
    rng = torch.Generator().manual_seed(seed)
    row = torch.randn(1 << 24, generator=rng)
    state = {name: _filter(name, tensor.shape, row, rng).to(dtype) for name, tensor in model.named_parameters()}
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)


def true_prompt(rows: int = 1, length: int = 512):
    """An :class:`~vividface_core.wan.empty_prompt.EmptyPrompt` of the text encoder's width."""
    from vividface_core.wan.empty_prompt import EmptyPrompt

    return EmptyPrompt(torch.randn(rows, TRANSFORMER["text_dim"], generator=torch.Generator().manual_seed(1)), length)


def _filter(name: str, shape: torch.Size, row: Tensor, rng: torch.Generator) -> Tensor:
    """Such that maps stay near 1 from layer to layer, and pictures come out between −1 and 1 for the most part."""
    count = math.prod(shape)
    start = int(torch.randint(len(row) - count, (1,), generator=rng))
    values = row[start : start + count].view(shape)
    if name.endswith("gamma"):
        return 1 + 0.1 * values
    if name.endswith("bias"):
        return 0.1 * values
    # What adds to a residual is held small; SiLU halves what it passes, norms make up for it.
    gain = 0.5 if "conv2" in name or "proj" in name or name.startswith("decoder.conv_out") else 1.0
    return values * gain / math.sqrt(count / shape[0])


def _values(name: str, shape: torch.Size, row: Tensor, rng: torch.Generator) -> Tensor:
    """Such that every part of the net has its say: tokens stay near 1, gates are neither 0 nor 1.

    Queries of the text are long enough that the one token of the empty prompt outweighs its 511 zeros for some.
    """
    count = math.prod(shape)
    start = int(torch.randint(len(row) - count, (1,), generator=rng))
    values = row[start : start + count].view(shape)
    if name.endswith("scale_shift_table"):
        return 0.3 * values
    if len(shape) > 1:
        return values / math.sqrt(count / shape[0])
    if name.endswith("attn2.norm_q.weight"):
        return 4 + 0.1 * values
    return 0.1 * values + name.endswith("weight")
