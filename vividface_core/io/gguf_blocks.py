"""The block formats of GGUF as arithmetic on tensors, on any device.

A row is a chain of blocks of 32 or 256 weights. A block holds small integers q, one or two fp16 numbers and, in those
of 256, integers s that scale (and m that shift) sub-blocks of 16 or 32:

    x = d·q        x = d·q + m        x = d·s·q        x = d·s·q − d_min·m

Every function takes ``[blocks, bytes]`` uint8 and gives ``[blocks, weights]`` float32, rounded as the reference of
ggml rounds it: each product on its own, from left to right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

TABLE_4 = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
"""What the sixteen numbers of the types IQ4 stand for."""


class Blocks(NamedTuple):
    """A block format: weights and bytes of a block, and how the ones are made of the others."""

    weights: int
    size: int
    unpack: Callable[[Tensor], Tensor]


def _split(blocks: Tensor, *sizes: int) -> tuple[Tensor, ...]:
    return blocks.split([*sizes, blocks.shape[1] - sum(sizes)], 1)


def _half(raw: Tensor) -> Tensor:
    """fp16 numbers, little endian, as float32."""
    return raw.contiguous().view(torch.float16).float()


def _bits(raw: Tensor, width: int, shifts: Sequence[int], mask: int) -> Tensor:
    """Each run of ``width`` bytes once per shift, one after the other: ``[blocks, all]`` uint8."""
    steps = torch.tensor(shifts, dtype=torch.uint8, device=raw.device).view(1, 1, -1, 1)
    return ((raw.reshape(len(raw), -1, 1, width) >> steps) & mask).flatten(1)


def _high_bits(raw: Tensor) -> Tensor:
    """The 32 bits of four bytes, the lowest first: ``[blocks, 32]`` uint8."""
    steps = torch.arange(8, dtype=torch.uint8, device=raw.device)
    return ((raw[:, :, None] >> steps) & 1).flatten(1)


def _signed(q: Tensor, offset: int) -> Tensor:
    return (q.to(torch.int8) - offset).float()


def _table(q: Tensor) -> Tensor:
    return torch.tensor(TABLE_4, dtype=torch.float32, device=q.device)[q.int()]


def _q4_0(blocks: Tensor) -> Tensor:
    d, q = _split(blocks, 2)
    return _half(d) * _signed(_bits(q, 16, (0, 4), 15), 8)


def _q4_1(blocks: Tensor) -> Tensor:
    d, m, q = _split(blocks, 2, 2)
    return _half(d) * _bits(q, 16, (0, 4), 15).float() + _half(m)


def _q5_0(blocks: Tensor) -> Tensor:
    d, high, low = _split(blocks, 2, 4)
    return _half(d) * _signed(_bits(low, 16, (0, 4), 15) | (_high_bits(high) << 4), 16)


def _q5_1(blocks: Tensor) -> Tensor:
    d, m, high, low = _split(blocks, 2, 2, 4)
    return _half(d) * (_bits(low, 16, (0, 4), 15) | (_high_bits(high) << 4)).float() + _half(m)


def _q8_0(blocks: Tensor) -> Tensor:
    d, q = _split(blocks, 2)
    return _half(d) * q.view(torch.int8).float()


def _scaled(scale: Tensor, q: Tensor) -> Tensor:
    """``scale`` ``[blocks, n]`` times the n-th parts of ``q`` ``[blocks, weights]``: ``[blocks, n, part]``."""
    return scale[:, :, None] * q.float().view(len(q), scale.shape[1], -1)


def _q2_k(blocks: Tensor) -> Tensor:
    scales, q, d, least = _split(blocks, 16, 64, 2)
    value = _scaled(_half(d) * (scales & 15).float(), _bits(q, 32, (0, 2, 4, 6), 3))
    return (value - (_half(least) * (scales >> 4).float())[:, :, None]).flatten(1)


def _q3_k(blocks: Tensor) -> Tensor:
    high, low, scales, d = _split(blocks, 32, 64, 12)
    s = _bits(scales[:, :8], 8, (0, 4), 15) | (_bits(scales[:, 8:], 4, (0, 2, 4, 6), 3) << 4)
    # A set bit means that nothing is taken off.
    q = _bits(low, 32, (0, 2, 4, 6), 3).to(torch.int8) - ((_bits(high, 32, range(8), 1) ^ 1) << 2).to(torch.int8)
    return _scaled(_half(d) * _signed(s, 32), q).flatten(1)


def _scales_k(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Eight scales and eight shifts of six bits in twelve bytes, float32."""
    a, b, rest = raw.split(4, 1)
    scales = torch.cat([a & 63, (rest & 15) | ((a >> 2) & 48)], 1)
    shifts = torch.cat([b & 63, (rest >> 4) | ((b >> 2) & 48)], 1)
    return scales.float(), shifts.float()


def _shifted_k(d: Tensor, least: Tensor, scales: Tensor, q: Tensor) -> Tensor:
    s, m = _scales_k(scales)
    return (_scaled(_half(d) * s, q) - (_half(least) * m)[:, :, None]).flatten(1)


def _q4_k(blocks: Tensor) -> Tensor:
    d, least, scales, q = _split(blocks, 2, 2, 12)
    return _shifted_k(d, least, scales, _bits(q, 32, (0, 4), 15))


def _q5_k(blocks: Tensor) -> Tensor:
    d, least, scales, high, low = _split(blocks, 2, 2, 12, 32)
    return _shifted_k(d, least, scales, _bits(low, 32, (0, 4), 15) | (_bits(high, 32, range(8), 1) << 4))


def _q6_k(blocks: Tensor) -> Tensor:
    low, high, scales, d = _split(blocks, 128, 64, 16)
    q = _signed(_bits(low, 64, (0, 4), 15) | (_bits(high, 32, (0, 2, 4, 6), 3) << 4), 32)
    return _scaled(_half(d) * scales.contiguous().view(torch.int8).float(), q).flatten(1)


def _iq4_nl(blocks: Tensor) -> Tensor:
    d, q = _split(blocks, 2)
    return _half(d) * _table(_bits(q, 16, (0, 4), 15))


def _iq4_xs(blocks: Tensor) -> Tensor:
    d, high, low, q = _split(blocks, 2, 2, 4)
    s = _bits(low, 1, (0, 4), 15) | (_bits(high, 1, (0, 2, 4, 6), 3) << 4)
    return _scaled(_half(d) * _signed(s, 32), _table(_bits(q, 16, (0, 4), 15))).flatten(1)


FORMATS: dict[str, Blocks] = {
    "Q4_0": Blocks(32, 18, _q4_0),
    "Q4_1": Blocks(32, 20, _q4_1),
    "Q5_0": Blocks(32, 22, _q5_0),
    "Q5_1": Blocks(32, 24, _q5_1),
    "Q8_0": Blocks(32, 34, _q8_0),
    "Q2_K": Blocks(256, 84, _q2_k),
    "Q3_K": Blocks(256, 110, _q3_k),
    "Q4_K": Blocks(256, 144, _q4_k),
    "Q5_K": Blocks(256, 176, _q5_k),
    "Q6_K": Blocks(256, 210, _q6_k),
    "IQ4_NL": Blocks(32, 18, _iq4_nl),
    "IQ4_XS": Blocks(256, 136, _iq4_xs),
}
"""By ggml's name of the type."""
