"""Messages of judges, with the nodes' names of things."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from vividface_core.errors import JudgeFailed

WIDGETS = {
    ", or name the variable with --key-env": "",
    "VIVIDFACE_MLLM_KEY": "VIVIDFACE_MLLM_KEY or the settings file",
    "--model": "server_model",
    "--four-bit": "precision = 4 bits",
    "--frame-pixels": "frame_pixels",
    "--max-tokens": "max_tokens",
}
"""What the command line calls things, and what the nodes do."""


def in_words(text: str) -> str:
    """A message without the command line's options."""
    for said, meant in WIDGETS.items():
        text = text.replace(said, meant)
    return re.sub(r"--(?=(fps|frames|passes)\b)", "", text)


@contextmanager
def renamed() -> Iterator[None]:
    """Errors of a judge that pass through here speak of the nodes' inputs.

    Raises:
        JudgeFailed: in place of another of its kind.
    """
    try:
        yield
    except JudgeFailed as error:
        raise JudgeFailed(in_words(str(error))) from error
