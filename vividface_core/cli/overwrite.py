"""Files that exist already: replaced only when the user says so."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from vividface_core.errors import InvalidOption

NAMED = 3
"""So many files are named; of more, their number is told."""


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """The option ``--overwrite``."""
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist already, without asking")


def ask_to_replace(existing: Iterable[Path], *, overwrite: bool, hint: str = "") -> None:
    """Have the user say whether files that exist may be replaced: by the option, or on a terminal by an answer.

    Args:
        existing: the files; see :func:`vividface_core.io.output_guard.unrelated`.
        hint: what else could be done, a sentence.

    Raises:
        InvalidOption: they may not.
    """
    existing = list(dict.fromkeys(existing))
    if not existing or overwrite:
        return
    named = ", ".join(map(str, existing[:NAMED]))
    if len(existing) > NAMED:
        named += f" and {len(existing) - NAMED} more"
    one = len(existing) == 1
    told = f"{named} {'exists' if one else 'exist'} already"
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
        rest = f" {hint}" if hint else ""
        raise InvalidOption(
            f"{told}; choose another name, or give --overwrite to replace {'it' if one else 'them'}.{rest}"
        )
    print(f"vividface: {told}. Replace {'it' if one else 'them'}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InvalidOption(
            f"{named} {'is' if one else 'are'} left as {'it is' if one else 'they are'}; nothing was done."
        )
