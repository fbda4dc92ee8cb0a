"""Who places a restorer's modules, a stage at a time, where a host program manages the device's memory."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import torch


class Host(Protocol):
    """Places the modules of a stage for as long as it computes: :attr:`Restorer.host`.

    Attributes:
        device: where stages compute.
    """

    device: torch.device

    def placed(self, stage: str, memory: int) -> AbstractContextManager[None]:
        """Within it, the stage's module computes on :attr:`device`.

        Args:
            stage: a key of :attr:`Restorer.modules`.
            memory: bytes that the stage needs beside its weights.
        """

    def resident_bytes(self, sizes: Mapping[str, int]) -> int:
        """Bytes of weights that are on the device at once, at the least, by those of each stage's module."""
