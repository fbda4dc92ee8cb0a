"""Weights that depend on a parameter's name and shape alone, as the reference vectors were made with."""

from __future__ import annotations

import json
import math
import os
import zlib
from pathlib import Path

import torch
from torch import Tensor, nn

from vividface_core.bfvr_stc import CodeFormer3D, VQAutoEncoder3D

HERE = Path(__file__).parent
NARROW = {"nf": 32, "ch_mult": (1, 1, 1, 2), "emb_dim": 64, "codebook_size": 64}
NORMS = ("idx_pred_layer.0.weight", "encoder.blocks.17.weight", "generator.blocks.19.weight")


def draw(net: nn.Module) -> nn.Module:
    """Give every parameter its values; see the README of the reference vectors."""
    net.load_state_dict({name: drawn(name, value.shape) for name, value in net.state_dict().items()})
    return net.eval()


def drawn(name: str, shape: torch.Size) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if name.startswith("quantize.embedding") or "position_emb" in name:
        return 0.5 * x
    if x.ndim > 1:
        return x / math.sqrt(math.prod(shape[1:]))
    if name.endswith(NORMS) or ("norm" in name and name.endswith("weight")):
        return 1 + 0.2 * x
    return 0.1 * x


def narrow_autoencoder() -> VQAutoEncoder3D:
    return draw(VQAutoEncoder3D(**NARROW))


def narrow_codeformer(residual: str = "released", **options) -> CodeFormer3D:
    options = {"n_head": 2, "n_layers": 2, "img_size": 64, **options}
    return draw(CodeFormer3D(**NARROW, residual=residual, **options))


def clip(frames: int, side: int, seed: int = 5) -> Tensor:
    """``[1, 3, T, H, W]``, 0…1."""
    return torch.rand(1, 3, frames, side, side, generator=torch.Generator().manual_seed(seed))


def released_shapes(layers: int = 9) -> dict[str, list[int]]:
    """Names and shapes of the published module's state dict with lookups of 9 layers, or of its first ``layers``."""
    shapes = json.loads((HERE / "released_names.json").read_text())
    return {
        name: shape for name, shape in shapes.items() if "_ft_layers." not in name or int(name.split(".")[1]) < layers
    }


def shared_vectors(name: str) -> Path | None:
    """A file of whole reference vectors, which are not kept in the repository."""
    places = [Path(os.environ["VIVIDFACE_VECTORS"])] if "VIVIDFACE_VECTORS" in os.environ else []
    places += [parent / "shared" / "fixtures" / "bfvr_stc" for parent in HERE.parents]
    return next((place / name for place in places if (place / name).is_file()), None)
