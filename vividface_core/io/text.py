"""Text files that people save with whatever their editor does."""

from __future__ import annotations

import codecs
from pathlib import Path

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""What files begin with as Notepad and PowerShell write them; UTF-32's first, as UTF-16's is the head of it."""


def read_text(path: Path) -> str:
    """A file's text: UTF-8, with or without a byte order mark, or UTF-16 or UTF-32 with one.

    Raises:
        OSError: it can't be read.
        UnicodeDecodeError: it is no text of these.
    """
    content = path.read_bytes()
    coding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    return content.decode(coding).replace("\r\n", "\n")
