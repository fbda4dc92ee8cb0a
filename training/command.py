"""How the training commands end."""

from __future__ import annotations

import sys
from collections.abc import Callable

from vividface_core.errors import Interrupted, VividFaceError


def exit_status(work: Callable[[], None]) -> int:
    """Do ``work``: 0, or 1 after an error and 130 after an interruption, each told as one line on stderr."""
    try:
        work()
    except VividFaceError as error:
        print(f"vividface: {error}", file=sys.stderr)
        return 130 if isinstance(error, Interrupted) else 1
    return 0
