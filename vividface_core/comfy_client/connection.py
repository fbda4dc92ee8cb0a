"""What a connection to a server needs: its address, the HTTP library, and a file that is sent."""

from __future__ import annotations

import io
import time
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit, urlunsplit

from vividface_core.errors import InvalidOption, MissingDependency


class WatchedFile(io.BufferedReader):
    """A file that knows when it was last read from."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.moved = time.monotonic()

    def read(self, size: int | None = -1, /) -> bytes:
        self.moved = time.monotonic()
        return super().read(size)


def load_aiohttp() -> ModuleType:
    """The HTTP library, imported late: the engine runs without it.

    Raises:
        MissingDependency: it is missing or broken.
    """
    try:
        import aiohttp
    except Exception as error:  # a broken installation raises anything
        raise MissingDependency(
            f"'vividface run' needs aiohttp, which does not import here ({error}). Install it with: pip install aiohttp"
        ) from error
    return aiohttp


def parse_address(address: str) -> tuple[str, str]:
    """The address to ask, and the one to show: without a name and password.

    Raises:
        InvalidOption: not ``http(s)://HOST[:PORT][/PREFIX]``.
    """
    whole = address if "://" in address else f"http://{address}"
    try:
        parts = urlsplit(whole)
        valid = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment
        port = parts.port
    except ValueError:
        valid = False
    if not valid:
        raise InvalidOption(
            "One --server is no address of the form http://HOST:PORT (https and a path prefix may be). "
            "Put a token into VIVIDFACE_SERVER_TOKEN, not into the address."
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    shown = urlunsplit((parts.scheme, f"{host}:{port}" if port else host, parts.path.rstrip("/"), "", ""))
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", "")), shown
