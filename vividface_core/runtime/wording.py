"""Numbers with their nouns."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """``1 frame``, ``2 frames``, ``1000 frames``."""
    return f"{number} {noun}{'s' * (number != 1)}"
