"""Sizes of clips on the command line."""

from __future__ import annotations

import argparse
from typing import NamedTuple


class Clip(NamedTuple):
    """Frames, height and width."""

    frames: int
    height: int
    width: int

    @classmethod
    def parse(cls, text: str) -> Clip:
        """Out of ``81x512x512``.

        Raises:
            argparse.ArgumentTypeError: not of this form, or no size that the model takes.
        """
        try:
            frames, height, width = map(int, text.split("x"))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no clip: write TxHxW, as 81x512x512.") from None
        if frames < 1 or min(height, width) < 16 or frames % 4 != 1 or height % 16 or width % 16:
            raise argparse.ArgumentTypeError(f"{text}: frames are 4k + 1, height and width multiples of 16.")
        return cls(frames, height, width)

    @property
    def pixels(self) -> int:
        """Of all frames."""
        return self.frames * self.height * self.width

    @property
    def latent(self) -> tuple[int, int, int]:
        """Frames, height and width of its latent: a first frame and fours, an eighth."""
        return 1 + (self.frames - 1) // 4, self.height // 8, self.width // 8

    def __str__(self) -> str:
        return f"{self.frames}x{self.height}x{self.width}"
