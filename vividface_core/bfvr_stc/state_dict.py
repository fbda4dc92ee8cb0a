"""What a state dict of BFVR-STC tells about its network, by names and shapes alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vividface_core.bfvr_stc.autoencoder import RELEASED_RESOLUTION
from vividface_core.bfvr_stc.codeformer import table_side
from vividface_core.errors import UnsupportedCheckpoint

PREFIXES = ("params_ema.", "params.", "")
"""Where a file keeps the weights, the best first: averaged, as trained, or bare."""
ANCHORS = (
    "encoder.blocks.0.weight",
    "quantize.embedding_s.weight",
    "quantize.embedding_t.weight",
    "quantize.SA.q.weight",
    "generator.blocks.0.weight",
)
"""Tensors that together only this system has."""
HEADS = {9: 2, 6: 4}
"""Released heads by layers; the shapes don't tell."""
FUSED_WIDTHS = {"32": 256, "64": 256, "128": 128, "256": 128}
"""Widths of the release's ``fuse_convs_dict``, whatever the network's own are."""


def find_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The system's state dict out of a file's tensors, without prefix; ``None`` if it isn't there."""
    for prefix in PREFIXES:
        if all(prefix + anchor in tensors for anchor in ANCHORS):
            return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    return None


def is_stage_two(state: Mapping[str, Tensor]) -> bool:
    return "position_emb_s" in state


def network_arguments(state: Mapping[str, Tensor], n_head: int | None = None) -> dict[str, Any]:
    """Arguments of :class:`VQAutoEncoder3D` or :class:`CodeFormer3D` for a state dict that comes without a card.

    Args:
        n_head: heads of the lookups; ``None``: those of the release for this number of layers.

    Raises:
        UnsupportedCheckpoint: the blocks stand in no order that the network has, or the heads aren't known.
    """
    try:
        found = _autoencoder_arguments(state)
    except (KeyError, IndexError, ValueError) as error:
        raise UnsupportedCheckpoint(f"This BFVR-STC checkpoint's encoder has an unknown layout ({error}).") from error
    if not is_stage_two(state):
        return found
    layers = len({name.split(".")[1] for name in state if name.startswith("s_ft_layers.")})
    n_head = n_head or HEADS.get(layers)
    if n_head is None:
        raise UnsupportedCheckpoint(
            f"This BFVR-STC checkpoint has {layers} layers in its lookups and no card that tells their heads, which "
            "the shapes don't. Give n_head."
        )
    side = table_side(state["position_emb_s"].shape[0])
    if side is None:
        raise UnsupportedCheckpoint(
            f"This BFVR-STC checkpoint's position table has {state['position_emb_s'].shape[0]} places, no square."
        )
    img_size = side * 2 ** (len(found["ch_mult"]) - 1)
    return {**found, "n_layers": layers, "n_head": n_head, "img_size": img_size}


def _autoencoder_arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    blocks = _encoder_blocks(state)
    nf = state["encoder.blocks.0.weight"].shape[0]
    levels: list[list[tuple[str, int]]] = [[]]
    for kind, width in blocks:
        if kind == "down":
            levels.append([])
        else:
            levels[-1].append((kind, width))
    residual = [[width for kind, width in level if kind == "res"] for level in levels]
    # The last level is followed by a residual block, attention and a residual block.
    attention = [sum(kind == "attn" for kind, _ in level) > (level is levels[-1]) for level in levels]
    if any(widths[-1] % nf for widths in residual):
        raise ValueError("widths that are no multiples of the first")
    return {
        "nf": nf,
        "ch_mult": [widths[-1] // nf for widths in residual],
        "emb_dim": state["quantize.embedding_s.weight"].shape[1],
        "codebook_size": state["quantize.embedding_s.weight"].shape[0],
        "res_blocks": len(residual[0]),
        "attn_resolutions": [RELEASED_RESOLUTION >> level for level, has in enumerate(attention) if has],
        "resolution": RELEASED_RESOLUTION,
        "fusion": "convolution" if "quantize.fuse.weight" in state else "addition",
    }


def _encoder_blocks(state: Mapping[str, Tensor]) -> list[tuple[str, int]]:
    """Kind (``res``, ``attn``, ``down``) and width of each block between the first and the last convolution."""
    found, number = [], 1
    while True:
        name = f"encoder.blocks.{number}."
        if name + "conv1.weight" in state:
            found.append(("res", state[name + "conv1.weight"].shape[0]))
        elif name + "q.weight" in state:
            found.append(("attn", state[name + "q.weight"].shape[0]))
        elif name + "conv.weight" in state:
            found.append(("down", state[name + "conv.weight"].shape[0]))
        else:
            return found
        number += 1


def unused_shapes(width: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the release's weights that no computation uses, for lookups of ``width`` channels."""
    shapes: dict[str, tuple[int, ...]] = {}
    for branch in "st":
        shapes[f"{branch}_feat_emb.weight"] = (width, width)
        shapes[f"{branch}_feat_emb.bias"] = (width,)
    for size, c in FUSED_WIDTHS.items():
        block = f"fuse_convs_dict.{size}.encode_enc."
        shapes |= {f"{block}norm1.{kind}": (2 * c,) for kind in ("weight", "bias")}
        shapes |= {f"{block}{name}": (c,) for name in ("norm2.weight", "norm2.bias", "conv1.bias", "conv2.bias")}
        shapes |= {f"{block}conv1.weight": (c, 2 * c, 3, 3, 3), f"{block}conv2.weight": (c, c, 3, 3, 3)}
        shapes |= {f"{block}conv_out.weight": (c, 2 * c, 1, 1, 1), f"{block}conv_out.bias": (c,)}
        for part in ("scale.0", "scale.2", "shift.0", "shift.2"):
            shapes[f"fuse_convs_dict.{size}.{part}.weight"] = (c, c, 3, 3)
            shapes[f"fuse_convs_dict.{size}.{part}.bias"] = (c,)
    return shapes


def drop_unused(state: Mapping[str, Tensor], width: int) -> dict[str, Tensor]:
    """The state dict without what no computation uses.

    Such a tensor of another shape stays, for strict loading to refuse.
    """
    unused = unused_shapes(width)
    return {name: value for name, value in state.items() if unused.get(name) != tuple(value.shape)}
