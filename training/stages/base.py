"""What the loop asks of a stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from training.config import Config, Loss, Section
from training.data.batches import Source

Batch = dict[str, Tensor]
MAIN = "main"
"""Name of the net of a stage that has only one."""


Groups = list[tuple[list[nn.Parameter], float]]
"""Parameters, each list with its share of the learning rate."""


class Stage(ABC):
    """One kind of training.

    Most stages train one net on one loss. A stage of several nets (a generator and its discriminator) overrides
    :attr:`nets`, :meth:`optimizers` and :meth:`turn_loss`: in each step the nets take turns, in the order of
    :attr:`nets`, on the same batches, each with its own loss, optimizer, schedule and clipping.

    Attributes:
        net: the trained module; of several nets the first, which is averaged, validated and saved. Gradients are
            shared between processes when it is called, so a loss calls it and nothing inside it.
        model_section, loss_section: what the configuration's ``model`` and ``loss`` tables hold.
    """

    net: nn.Module
    model_section: ClassVar[type[Section]] = Section
    loss_section: ClassVar[type[Section]] = Loss

    @classmethod
    def check(cls, config: Config) -> None:
        """Raises ValueError for entries of a configuration that don't go together in this stage."""
        if config.data.kind == "clips" and config.data.frames is None:
            raise ValueError("data of kind 'clips' needs frames")
        if config.data.manifest is not None and config.data.kind != "clips":
            raise ValueError("data.manifest is for data of kind 'clips'; of shards prepare the kept clips alone")

    @classmethod
    def variant(cls, config: Config, parts: Any = None) -> type[Stage]:
        """The class that carries this stage out: this one, or another one where what is trained decides.

        Args:
            parts: what the stage begins with, where that was made elsewhere.
        """
        return cls

    def __init__(self, config: Config, parts: Any = None) -> None:
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

    @property
    def nets(self) -> dict[str, nn.Module]:
        """The trained modules by name, in the order of their turns; no parameter is in two of them."""
        return {MAIN: self.net}

    def turn_loss(self, turn: str, nets: dict[str, nn.Module], batch: Batch) -> dict[str, Tensor]:
        """The loss by which net ``turn`` learns, with its parts, as :meth:`loss` gives them.

        Args:
            turn: name of the net. The others are frozen while it learns: what they compute has a gradient for their
                inputs, and none for their weights.
            nets: all of them as they are run.
        """
        return self.loss(nets[turn], batch)

    def begin_step(self, step: int) -> None:
        """Step ``step``, from 1 on, is about to be taken: for what depends on it, or on what a step began."""
        return None

    def counts(self) -> dict[str, Tensor]:
        """What :meth:`show` has counted since the last call; :meth:`figures` gets the sums over all processes."""
        return {}

    def figures(self, counts: dict[str, Tensor]) -> dict[str, float]:
        """Figures of a validation beside the usual ones."""
        return {}

    def groups(self) -> Groups:
        """The trained parameters of :attr:`net`."""
        return [([parameter for parameter in self.net.parameters() if parameter.requires_grad], 1.0)]

    def optimizers(self) -> dict[str, Groups]:
        """The parameters of each net's optimizer, by the net's name."""
        return {MAIN: self.groups()}

    def to(self, device: torch.device) -> None:
        """Bring along what isn't trained."""
        return None
