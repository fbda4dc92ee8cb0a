"""Asymmetric spatio-temporal fusion (ASTF): what each block of the denoiser gets from the priors.

Before block n,

    x ← (1 + γ) ⊙ x + β + W_o · attention(W_q f_t, W_k f_s, W_v f_s),   (γ, β) = MLP(mean over places of f_t),

a latent frame at a time. MLP's last layer and W_o start at zero, so an untrained fusion is the identity. The paper's
figure draws no arrow from x into the attention, and its parameter count agrees (docs/dvface.md), so nothing here
depends on x: all blocks' terms are computed once a window. ``query = "tokens"`` is the other reading, Q = W_q x.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.dvface.priors import Priors
from vividface_core.errors import UnsupportedCheckpoint
from vividface_core.wan.injection import Injection, QueryInjection

Query = Literal["temporal", "tokens"]


@dataclass(frozen=True)
class FusionConfig:
    """The shape of a :class:`Fusion`.

    Attributes:
        blocks, width: of the denoiser.
        channels: of the priors.
        heads: of the attention between them.
        query: ``temporal``: Q from f_t; ``tokens``: from the denoiser's tokens.
        temporal, spatial: whether that half is there; for ablations.
    """

    blocks: int
    width: int
    channels: int = 256
    heads: int = 8
    query: Query = "temporal"
    temporal: bool = True
    spatial: bool = True

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: Any = "The fusion") -> FusionConfig:
        """Raises UnsupportedCheckpoint for unknown, missing or ill-typed entries."""
        try:
            config = cls(**values)
        except TypeError as error:
            raise UnsupportedCheckpoint(f"{source}: this is no fusion's config ({error}).") from error
        counts = (config.blocks, config.width, config.channels, config.heads)
        if not all(type(n) is int and n > 0 for n in counts) or config.channels % config.heads:
            raise UnsupportedCheckpoint(
                f"{source}: a fusion needs positive numbers, heads that divide channels: {values}."
            )
        if config.query not in get_args(Query) or not all(type(x) is bool for x in (config.temporal, config.spatial)):
            raise UnsupportedCheckpoint(f"{source}: query is temporal or tokens, the halves true or false: {values}.")
        return config

    @property
    def takes_priors(self) -> bool:
        """Whether either half is there; without them the fusion is the identity."""
        return self.temporal or self.spatial

    def to_dict(self) -> dict[str, Any]:
        """JSON values that :meth:`from_dict` takes back."""
        return asdict(self)


class ASTF(nn.Module):
    """The fusion before one block; see the module."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config, c, width = config, config.channels, config.width
        if config.temporal:
            self.modulation = nn.Sequential(nn.Linear(c, c), nn.SiLU(), nn.Linear(c, 2 * width))
            _zero(self.modulation[2])
        if config.spatial:
            self.to_q = nn.Linear(c if config.query == "temporal" else width, c, bias=False)
            self.to_k, self.to_v = nn.Linear(c, c, bias=False), nn.Linear(c, c, bias=False)
            self.to_out = nn.Linear(c, width)
            _zero(self.to_out)

    def forward(self, priors: Priors) -> Injection:
        """What is added to the tokens; the same for a whole window."""
        gain, shift = self._modulation(priors.temporal)
        if not self.config.spatial:
            return Injection(gain, shift)
        spatial, heads = priors.spatial, self.config.heads
        keys, values = self.to_k(spatial), self.to_v(spatial)
        if self.config.query == "tokens":
            return QueryInjection(gain, shift, torch.cat([keys, values], -1), self.to_out, self.to_q, heads)
        # [B·T', heads, places, c / heads]: attention stays within a latent frame.
        query, keys, values = (
            x.flatten(0, 1).unflatten(-1, (heads, -1)).transpose(1, 2)
            for x in (self.to_q(priors.temporal), keys, values)
        )
        found = F.scaled_dot_product_attention(query, keys, values).transpose(1, 2).flatten(2)
        return Injection(gain, shift, found.unflatten(0, spatial.shape[:2]).flatten(1, 2), self.to_out)

    def _modulation(self, temporal: Tensor) -> tuple[Tensor, Tensor]:
        """γ and β, ``[B, T', width]`` fp32."""
        if not self.config.temporal:
            nothing = temporal.new_zeros(*temporal.shape[:2], self.config.width).float()
            return nothing, nothing
        gain, shift = self.modulation(temporal.mean(2)).float().chunk(2, -1)
        return gain, shift


class Fusion(nn.Module):
    """An :class:`ASTF` a block of the denoiser."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(ASTF(config) for _ in range(config.blocks))

    def forward(self, priors: Priors) -> list[Injection]:
        return [block(priors) for block in self.blocks]


def _zero(layer: nn.Module) -> None:
    for tensor in layer.parameters():
        nn.init.zeros_(tensor)
