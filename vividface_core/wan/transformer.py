"""Wan's denoiser used once: the velocity from a degraded latent to its restoration."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vividface_core.wan.module_types import WanModule

T_STAR = 400.0
"""The one timestep, on Wan's scale of 0 (clean) … 1000 (noise): a degraded latent counts as 40 % noised."""
VELOCITY_SCALE = 1.0
"""s in ẑ = z − s·DiT(z, t*, ""). The released weights were trained with 1."""
PROMPT_LENGTH = 512
"""Text tokens that Wan attends to; those after the prompt's end are zero vectors."""


def one_step_velocity(transformer: WanModule, latent: Tensor, prompt: Tensor, t_star: float = T_STAR) -> Tensor:
    """DiT(z, t*, prompt) in Wan's own direction, so that subtracting it restores.

    The paper (Eq. 3) adds a velocity that points from degraded to restored; the released weights keep Wan's, which
    points from clean to noisy.

    Args:
        latent: ``[B, C, T', h, w]``, normalised; h and w multiples of the patch.
        prompt: ``[1, length, text width]``, rows after the prompt's end are zero.

    Returns:
        ``[B, C, T', h, w]`` fp32.
    """
    weight = transformer.patch_embedding.weight
    batch = latent.shape[0]
    velocity = transformer(
        latent.to(weight.device, weight.dtype),
        timestep=torch.full((batch,), t_star, dtype=torch.float32, device=weight.device),
        encoder_hidden_states=prompt.to(weight.device, weight.dtype).expand(batch, -1, -1),
        return_dict=False,
    )[0]
    return velocity.float()


def cast(module: WanModule, dtype: torch.dtype) -> nn.Module:
    """Give the weights a type in place, except those that Wan needs in fp32 (norms, modulation, time embedding).

    They are few, and rounding them costs more than it saves. Weights of 8 bits stay.
    """
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        wanted = weight_type(module, name, dtype)
        if tensor.is_floating_point() and tensor.element_size() > 1 and tensor.dtype != wanted:
            tensor.data = tensor.data.to(wanted)
    return module


def weight_type(module: WanModule, name: str, dtype: torch.dtype) -> torch.dtype:
    """The type of one of the module's tensors where it computes in ``dtype``; see :func:`cast`."""
    keep = tuple(module._keep_in_fp32_modules or ())
    return torch.float32 if any(part in keep for part in name.split(".")) else dtype
