"""Numbers with their nouns and units."""

from __future__ import annotations


def counted(number: int, noun: str, nouns: str = "") -> str:
    """``1 frame``, ``2 frames``, ``1000 frames``.

    Args:
        nouns: the plural, where it isn't the noun with an s.
    """
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"


def duration(seconds: float) -> str:
    """``4 s``, ``3 min 7 s``, ``2 h 5 min``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{max(rest, 1)} s"
