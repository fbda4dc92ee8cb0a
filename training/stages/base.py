"""What the loop asks of a stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.config import Config
from training.data.batches import Source

Batch = dict[str, Tensor]


class Stage(ABC):
    """One kind of training.

    Attributes:
        net: the trained module. Gradients are shared between processes when it is called, so a loss calls it and
            nothing inside it.
    """

    net: nn.Module
    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def source(self, validation: bool) -> Source:
        """Where samples come from."""

    @abstractmethod
    def loss(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """``loss`` with its gradient, and its parts without, as scalars. ``net`` is :attr:`net` as it is run."""

    @abstractmethod
    def show(self, batch: Batch) -> dict[str, Tensor]:
        """``input``, ``output``, ``truth`` ``[B, 3, T, H, W]`` in −1…1 and ``mask`` ``[B, 1, T, H, W]`` of a batch."""

    @abstractmethod
    def save(self, folder: Path, net: nn.Module, notes: dict[str, Any]) -> None:
        """Write ``net``, a whole one, all or nothing, in the format that the engine reads."""

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """The trained parameters, in lists with their share of the learning rate."""
        return [([parameter for parameter in self.net.parameters() if parameter.requires_grad], 1.0)]

    def to(self, device: torch.device) -> None:
        """Bring along what isn't trained."""
        return None
