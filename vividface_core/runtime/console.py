"""Text on a console."""

from __future__ import annotations

import sys


def printable(text: str) -> str:
    """What the console can show."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
