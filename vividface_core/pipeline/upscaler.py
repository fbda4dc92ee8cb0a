"""What may enlarge the frames that restored faces are put into."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Upscaler(Protocol):
    """Enlarges pictures.

    Attributes:
        name: tells it from others: a run that was interrupted goes on with the same one.
    """

    name: str

    def __call__(self, picture: Tensor) -> Tensor:
        """``[3, H, W]``, RGB, 0…1, to ``[3, n · H, n · W]``, whatever its factor n is."""
