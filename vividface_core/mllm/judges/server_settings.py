"""Keys and habits of servers, kept outside of workflows: from the environment, or a settings file.

``~/.config/vividface/mllm.toml`` (``VIVIDFACE_MLLM_SETTINGS`` names another file)::

    key_env = "VIVIDFACE_MLLM_KEY"     # for every server; or key = "…"

    ["https://api.example.com/v1"]     # for one server, by its base URL
    key_env = "EXAMPLE_KEY"
    requests_per_minute = 60
    concurrency = 4
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from vividface_core.errors import InvalidOption, MissingDependency
from vividface_core.io.text import read_text

KEY, FILE = "VIVIDFACE_MLLM_KEY", "VIVIDFACE_MLLM_SETTINGS"


class Secret:
    """A key that doesn't show in messages, records or tracebacks. Unlike pydantic's ``SecretStr`` it can't be pickled,
    and takes itself out of what a server says."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> Any:
        raise TypeError("A key is not stored.")

    def reveal(self) -> str:
        """The key itself, for the request's header only."""
        return self._text

    def redact(self, text: str) -> str:
        """``text`` without the key, which some servers repeat in their errors."""
        return text.replace(self._text, "***") if self._text else text


@dataclass(frozen=True)
class ServerSettings:
    """How to speak with one server.

    Attributes:
        key: sent as bearer token; ``None``: none is needed.
        timeout: seconds that one answer may take.
        retries: further attempts after a failure that may pass.
        back_off: seconds before the first of them; twice as long before each further one.
        longest_wait: seconds that a server may ask to wait; beyond that it counts as failed.
        requests_per_minute: 0: no limit.
        concurrency: requests at the same time.
        structured: ask for JSON by a schema; a server that refuses that is asked for text.
        stream: let the answer come piece by piece, for servers behind a proxy that cuts silent connections.
        send: ``images`` or ``video`` (the whole file, for servers that take ``video_url``).
        side: longest side of a picture, pixels.
        quality: of the JPEG pictures, 1…95.
        max_megabytes: of one request; more is refused before it is sent.
        tokens_field: what the server calls the limit of the answer's length.
    """

    key: Secret | None = None
    timeout: float = 180.0
    retries: int = 5
    back_off: float = 1.0
    longest_wait: float = 300.0
    requests_per_minute: float = 0.0
    concurrency: int = 1
    structured: bool = True
    stream: bool = False
    send: str = "images"
    side: int = 1024
    quality: int = 95
    max_megabytes: float = 32.0
    tokens_field: str = "max_tokens"

    def __post_init__(self) -> None:
        wrong = [
            name
            for name, fits in (
                ("timeout", self.timeout > 0),
                ("retries", self.retries >= 0),
                ("back_off", self.back_off >= 0),
                ("longest_wait", self.longest_wait >= 0),
                ("requests_per_minute", self.requests_per_minute >= 0),
                ("concurrency", self.concurrency >= 1),
                ("send", self.send in ("images", "video")),
                ("side", self.side >= 64),
                ("quality", 1 <= self.quality <= 95),
                ("max_megabytes", self.max_megabytes > 0),
            )
            if not fits
        ]
        if wrong:
            raise InvalidOption(f"{wrong[0]} = {getattr(self, wrong[0])!r} makes no sense for a server of judges.")


def settings_file() -> Path:
    """Where the settings are looked for."""
    named = os.environ.get(FILE)
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path(named).expanduser() if named else home / "vividface" / "mllm.toml"


def server_settings(address: str, key_env: str | None = None, **options: Any) -> tuple[ServerSettings, list[str]]:
    """What holds for one server: options, then its own table of the file, then the file's top, then the defaults.

    The key is, in this order: the variable ``key_env``, what the server's table says, ``VIVIDFACE_MLLM_KEY``, what the
    file's top says.

    Args:
        address: base URL.
        key_env: environment variable to take the key from.
        options: fields of :class:`ServerSettings`; ``None`` counts as not given.

    Returns:
        The settings, and notices for the user.

    Raises:
        InvalidOption: the file can't be read, knows an unknown word, or a variable is not set.
        MissingDependency: the file needs a TOML reader that isn't there (Python 3.10).
    """
    path = settings_file()
    content = _read(path)
    tables = {_bare(name): table for name, table in content.items() if isinstance(table, dict)}
    common = {name: value for name, value in content.items() if not isinstance(value, dict)}
    own = tables.get(_bare(address), {})
    _check(path, common, own)
    key = _key(path, key_env, own, common)
    notices = _notices(path, (content, *tables.values()))
    merged = {**common, **own, **{name: value for name, value in options.items() if value is not None}}
    merged = {name: value for name, value in merged.items() if name not in ("key", "key_env")}
    return replace(ServerSettings(), key=key, **merged), notices


def tables_of_servers() -> list[str]:
    """Base URLs that have a table of their own in the settings file, as they stand there.

    Raises:
        InvalidOption, MissingDependency: see :func:`server_settings`.
    """
    return [name for name, value in _read(settings_file()).items() if isinstance(value, dict)]


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        if os.environ.get(FILE):
            raise InvalidOption(f"{FILE} names {path}, which is no file.")
        return {}
    try:
        import tomllib
    except ImportError:
        try:
            import tomli as tomllib  # type: ignore[no-redef]  # the same under its older name
        except Exception as error:
            raise MissingDependency(
                f"Reading {path} needs tomli on Python 3.10, which does not import here ({error}). Install it with: "
                "pip install tomli"
            ) from error
    try:
        return tomllib.loads(read_text(path))
    except OSError as error:
        raise InvalidOption(f"{path} can't be read: {error.strerror}.") from error
    except ValueError:
        # Not the reader's own words: they may quote the line with the key.
        raise InvalidOption(f"{path} is no valid TOML. Correct it, or move it away.") from None


def _check(path: Path, *tables: dict[str, Any]) -> None:
    kinds = {field.name: type(field.default) for field in fields(ServerSettings)} | {"key": str, "key_env": str}
    for table in tables:
        for name, value in table.items():
            if name not in kinds:
                raise InvalidOption(f"{path} has an unknown word {name!r}; it knows {', '.join(sorted(kinds))}.")
            wanted = (int, float) if kinds[name] is float else kinds[name]
            if not isinstance(value, wanted) or (isinstance(value, bool) and kinds[name] is not bool):
                raise InvalidOption(f"{name} in {path} must be {kinds[name].__name__}.")


def _key(path: Path, key_env: str | None, own: dict[str, Any], common: dict[str, Any]) -> Secret | None:
    if key_env:
        return _from_variable(key_env, "--key-env")
    for table in (own, None, common):
        if table is None:
            if os.environ.get(KEY, "").strip():
                return Secret(os.environ[KEY].strip())
        elif table.get("key_env"):
            return _from_variable(table["key_env"], str(path))
        elif table.get("key"):
            return Secret(table["key"].strip())
    return None


def _from_variable(name: str, where: str) -> Secret:
    text = os.environ.get(name, "").strip()
    if not text:
        raise InvalidOption(f"{where} says that the key is in the environment variable {name}, which is not set.")
    return Secret(text)


def _notices(path: Path, tables: tuple[dict[str, Any], ...]) -> list[str]:
    if os.name == "nt" or not any(isinstance(table.get("key"), str) for table in tables):
        return []
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return [f"{path} holds a key and can be read by others on this machine. Close it: chmod 600 {path}"]
    return []


def _bare(address: str) -> str:
    return address.rstrip("/").lower()
