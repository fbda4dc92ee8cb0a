"""The block formats of GGUF: their sizes, and diffusers' unpacking, which rounds as the reference of ggml does.

A row is a chain of blocks of 32 or 256 weights. A block holds small integers, one or two fp16 numbers and, in those of
256, integers that scale sub-blocks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vividface_core.errors import MissingDependency, first_line


class Blocks(NamedTuple):
    """A block format: ggml's name, and the weights and bytes of a block."""

    name: str
    weights: int
    size: int

    def unpack(self, blocks: Tensor) -> Tensor:
        """``[blocks, bytes]`` uint8 as ``[blocks, weights]`` float32, on the same device.

        Raises:
            MissingDependency: diffusers or gguf is absent or broken.
        """
        try:
            from diffusers.quantizers.gguf import utils
        except Exception as error:  # a broken installation raises anything
            raise MissingDependency(
                f"Unpacking GGUF's {self.name} needs diffusers 0.36 or newer and gguf, one of which does not import "
                f"here ({first_line(error)}). Install them with: pip install -U diffusers gguf"
            ) from error
        return getattr(utils, f"dequantize_blocks_{self.name}")(blocks, self.weights, self.size, torch.float32)


FORMATS: dict[str, Blocks] = {
    name: Blocks(name, weights, size)
    for name, weights, size in (
        ("Q4_0", 32, 18),
        ("Q4_1", 32, 20),
        ("Q5_0", 32, 22),
        ("Q5_1", 32, 24),
        ("Q8_0", 32, 34),
        ("Q2_K", 256, 84),
        ("Q3_K", 256, 110),
        ("Q4_K", 256, 144),
        ("Q5_K", 256, 176),
        ("Q6_K", 256, 210),
        ("IQ4_NL", 32, 18),
        ("IQ4_XS", 256, 136),
    )
}
"""By ggml's name of the type."""
