"""Edited criteria in a TOML or JSON file: :func:`write_rubric` gives one to begin with, every field is checked."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from vividface_core.errors import InvalidOption, MissingDependency, UnwritableVideo
from vividface_core.mllm.rubric_schema import Band, Dimension, Region, Rubric, Rule, Tier

_KINDS = {"str": str, "int": int, "float": float, "tuple[str, ...]": str}
_PARTS = {"tuple[Dimension, ...]": Dimension, "tuple[Band, ...]": Band, "tuple[Region, ...]": Region,
          "tuple[Rule, ...]": Rule, "tuple[Tier, ...]": Tier, "Tier": Tier}  # fmt: skip
_SAID = {str: "text", int: "a whole number", float: "a number"}


def rubric_to_json(rubric: Rubric) -> dict[str, Any]:
    """Plain values, which :func:`rubric_from_json` takes back."""
    return json.loads(json.dumps(asdict(rubric)))


def write_rubric(path: Path, rubric: Rubric) -> None:
    """As JSON, whole or not at all.

    Raises:
        UnwritableVideo: it can't be written.
    """
    from vividface_core.io.tensors import write_json

    try:
        write_json(path, rubric_to_json(rubric), indent=1)
    except OSError as error:
        raise UnwritableVideo(f"The rubric can't be written to {path}: {error.strerror}.") from error


def read_rubric(path: Path) -> Rubric:
    """Out of a ``.toml`` or ``.json`` file.

    Raises:
        InvalidOption: it can't be read, lacks a field, has one too many, or the parts don't fit together.
        MissingDependency: TOML before Python 3.11 without tomli.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOption(f"The rubric {path} can't be read: {getattr(error, 'strerror', None) or error}.") from error
    content = _toml(path, text) if path.suffix.lower() == ".toml" else _json(path, text)
    try:
        return rubric_from_json(content)
    except InvalidOption as error:
        raise InvalidOption(f"{path}: {error}") from error


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidOption(f"{path} is no valid JSON ({error}).") from error


def _toml(path: Path, text: str) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError as error:
            raise MissingDependency(
                f"{path} is TOML, which Python reads from 3.11 on: pip install tomli, or give the rubric as JSON."
            ) from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidOption(f"{path} is no valid TOML ({error}).") from error


def rubric_from_json(content: Any) -> Rubric:
    """The rubric out of plain values.

    Raises:
        InvalidOption: a field is missing, unknown or of the wrong kind, or the parts don't fit together.
    """
    return _made(Rubric, content, "the rubric")


def _made(kind: type, content: Any, where: str) -> Any:
    """An object of a dataclass, its fields checked by their annotations."""
    if not isinstance(content, Mapping):
        raise InvalidOption(f"{where} must be a table of fields, not {_shown(content)}.")
    known = {field.name: field for field in fields(kind)}
    for name in content:
        if name not in known:
            raise InvalidOption(f"{where} has an unknown field {name!r}; it may have {', '.join(known)}.")
    for name, field in known.items():
        if name not in content and field.default is MISSING:
            raise InvalidOption(f"{where} lacks the field {name!r}.")
    return kind(**{name: _value(known[name].type, value, f"{name!r} of {where}") for name, value in content.items()})


def _value(kind: str, value: Any, where: str) -> Any:
    many = kind.startswith("tuple")
    if many and not isinstance(value, list):
        raise InvalidOption(f"{where} must be a list, not {_shown(value)}.")
    if kind in _PARTS:
        return (tuple(_made(_PARTS[kind], row, f"entry {number} of {where}") for number, row in enumerate(value, 1))
                if many else _made(_PARTS[kind], value, where))  # fmt: skip
    rows = tuple(_plain(_KINDS[kind], row, where) for row in (value if many else [value]))
    return rows if many else rows[0]


def _plain(kind: type, value: Any, where: str) -> Any:
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or isinstance(value, bool):
        raise InvalidOption(f"{where} must be {_SAID[kind]}, not {_shown(value)}.")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
