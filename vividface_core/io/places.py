"""Where models lie unless a user says otherwise."""

from __future__ import annotations

import os
from pathlib import Path

CACHE = (".cache", "vividface")
"""Below the home folder."""


def models_folder() -> Path:
    """``$VIVIDFACE_MODELS``, or ``~/.cache/vividface`` where that is unset. It need not exist."""
    return Path(os.environ.get("VIVIDFACE_MODELS") or Path.home().joinpath(*CACHE))
