"""Files that were saved under the name of weights and are something else: called what they are."""

from __future__ import annotations

from pathlib import Path

from vividface_core.errors import UnsupportedCheckpoint

HEAD = 2048
"""Bytes that are looked at."""
_ARCHIVES = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "RAR",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
}
_POINTERS = (b"version https://git-lfs", b"version https://hawser", b"# xet version")


def mistaken_for(head: bytes) -> str | None:
    """What a file is that can't be weights, and what to do, by its first bytes; ``None``: it may be weights."""
    if not head.strip(b"\0\r\n\t "):
        what = "empty" if not head else "blank (it holds nothing but zeros, as after a broken download or a full disk)"
        return f"{what}. Fetch it again"
    for magic, name in _ARCHIVES.items():
        if head.startswith(magic):
            return f"an archive ({name}). Unpack it first"
    text = head.lstrip(b"\xef\xbb\xbf\r\n\t ")
    lower = text[:512].lower()
    if text.startswith(_POINTERS):
        return (
            "a Git LFS pointer, not the file itself: a few lines that stand for it. Run 'git lfs pull' in its "
            "repository, or fetch the file from its page"
        )
    if b"/annex/objects/" in text[:512]:
        return "a git-annex pointer, not the file itself. Run 'git annex get' in its repository"
    if lower.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml", b"<!--", b"<body")):
        return (
            "a web page, not the file itself: what was saved is the page about it, or a log-in. Use the page's own "
            "download link"
        )
    if text.startswith((b'{"', b"{\n", b"{\r", b"{ ", b"[{")):
        return "JSON text, as servers answer instead of a file that they refuse. Fetch it again, logged in if need be"
    if _is_words(head):
        return f"a text that begins {text[:40].decode('utf-8', 'replace').splitlines()[0]!r}. Fetch the file again"
    return None


def _is_words(head: bytes) -> bool:
    try:
        text = head.decode("utf-8", "strict" if len(head) < HEAD else "ignore")
    except UnicodeDecodeError:
        return False
    return all(sign.isprintable() or sign in "\r\n\t" for sign in text)


def check_weights(path: Path) -> None:
    """
    Raises:
        UnsupportedCheckpoint: the file is something else under the name of weights; says what.
        OSError: it can't be read.
    """
    with open(path, "rb") as file:
        what = mistaken_for(file.read(HEAD))
    if what is not None:
        raise UnsupportedCheckpoint(f"{path} is {what}. Wanted is a safetensors, PyTorch or GGUF file.")
