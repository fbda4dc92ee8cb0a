"""Records out of files, checked by pydantic against the dataclass that they are read into."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, TypeVar

from vividface_core.errors import InvalidOption, MissingDependency, first_line

T = TypeVar("T")


def validated(kind: type[T], content: Any, what: str) -> T:
    """``content``, plain values as JSON or TOML give them, as a dataclass. No value is converted from another kind.

    Unknown fields are ignored, unless the class says ``__pydantic_config__ = {"extra": "forbid"}``.

    Args:
        what: the record in a few words, for the message.

    Raises:
        InvalidOption: a field is missing, unknown or of another kind, or the class itself refuses a value.
        MissingDependency: pydantic is absent or broken.
    """
    try:
        from pydantic import ValidationError
    except Exception as error:  # a broken installation raises anything
        raise MissingDependency(
            f"Reading {what} needs pydantic 2.7 or newer, which does not import here ({first_line(error)}). "
            "Install it with: pip install -U pydantic"
        ) from error
    try:
        adapter: Any = _adapter(kind)  # type: ignore[arg-type]  # the cache wants a Hashable, which every type is
        return adapter.validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        raise InvalidOption(f"This is no {what}: {_fault(error.errors(include_url=False)[0])}.") from error
    except (TypeError, ValueError) as error:  # no plain values
        raise InvalidOption(f"This is no {what}: {first_line(error)}.") from error


@lru_cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _fault(error: Any) -> str:
    place = " of ".join(f"entry {part + 1}" if isinstance(part, int) else repr(part) for part in reversed(error["loc"]))
    kinds = {"missing": "is missing", "extra_forbidden": "is unknown", "unexpected_keyword_argument": "is unknown"}
    said = kinds.get(error["type"], f"is wrong, {error['msg'][0].lower()}{error['msg'][1:]}")
    return f"{place or 'it'} {said}"
