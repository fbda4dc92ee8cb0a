"""Criteria as data, checked when they are made: whatever decides a score and how it is asked for.

The paper's own stand in :mod:`~vividface_core.mllm.paper_rubric`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vividface_core.errors import InvalidOption, MissingDependency, UnwritableVideo
from vividface_core.io.records import validated
from vividface_core.io.text import read_text

TOTAL = 100
"""Points of all dimensions together; tiers, threshold and calibrations are in these."""
_KEY, _NAME = re.compile(r"[a-z][a-z0-9_]*"), re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


_CLOSED: Any = {"extra": "forbid"}


@dataclass(frozen=True)
class Band:
    """Scores from ``low`` to ``high``, both included, and what earns them."""

    __pydantic_config__ = _CLOSED

    low: int
    high: int
    text: str


@dataclass(frozen=True)
class Dimension:
    """One thing that is graded.

    Attributes:
        key: its name in records.
        label: what stands before the score in an answer, a word.
        title: the whole name.
        points: the best score; the worst is 0.
        bands: from 0 to ``points`` without a gap.
        words: other names that answers may call it by, besides key, label, title and those known in
            :mod:`~vividface_core.mllm.answers.vocabulary`.
    """

    __pydantic_config__ = _CLOSED

    key: str
    label: str
    title: str
    points: int
    bands: tuple[Band, ...]
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A bonus (points above 0) or a penalty (below), applied at most once.

    Attributes:
        title: a few words that an answer names it by.
        text: when it applies.
        words: other words that tell an answer means it.
    """

    __pydantic_config__ = _CLOSED

    key: str
    title: str
    points: int
    text: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Region:
    """A part of the face that is looked at for its own sake, and what it must show."""

    __pydantic_config__ = _CLOSED

    key: str
    title: str
    text: str


@dataclass(frozen=True)
class Tier:
    """A class of quality: final scores of ``at_least`` and up to the next tier."""

    __pydantic_config__ = _CLOSED

    name: str
    at_least: int
    text: str


@dataclass(frozen=True)
class Rubric:
    """Everything that a judge is to go by.

    Attributes:
        tiers: the best first.
        below: what is under the last tier; its ``at_least`` is 0.
        keep_above: a clip is kept when its final score is greater.
        notes: how to grade, a sentence each.

    Raises:
        InvalidOption: the parts don't fit together.
    """

    __pydantic_config__ = _CLOSED

    name: str
    purpose: str
    dimensions: tuple[Dimension, ...]
    regions: tuple[Region, ...]
    rules: tuple[Rule, ...]
    tiers: tuple[Tier, ...]
    below: Tier
    keep_above: int | float
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for fault in _faults(self):
            raise InvalidOption(f"The rubric {self.name!r} can't be used: {fault}.")

    def dimension(self, key: str) -> Dimension:
        return next(dimension for dimension in self.dimensions if dimension.key == key)

    def rule(self, key: str) -> Rule:
        return next(rule for rule in self.rules if rule.key == key)

    def tier(self, final: float) -> str:
        """The name of the class that a final score (0…100) falls into."""
        return next((tier.name for tier in self.tiers if final >= tier.at_least), self.below.name)

    def keeps(self, final: float) -> bool:
        """Whether a clip of this final score becomes training data."""
        return final > self.keep_above


def _faults(rubric: Rubric) -> Iterable[str]:
    if not _NAME.fullmatch(rubric.name):
        yield "its name must be letters, digits, '.', '_' and '-'"
    if not rubric.dimensions or not rubric.tiers:
        yield "it needs at least one dimension and one tier"
    keys = [part.key for parts in (rubric.dimensions, rubric.rules, rubric.regions) for part in parts]
    for key in keys:
        if not _KEY.fullmatch(key):
            yield f"the key {key!r} must be small letters, digits and '_'"
    for kind, names in _names(rubric):
        for name in names:
            if not name.strip():
                yield f"a {kind} is empty"
            if sum(other.strip().lower() == name.strip().lower() for other in names) > 1:
                yield f"the {kind} {name!r} stands there twice"
    for dimension in rubric.dimensions:
        yield from _band_faults(dimension)
    total = sum(dimension.points for dimension in rubric.dimensions)
    if total != TOTAL:
        yield f"its dimensions have {total} points together, not {TOTAL}"
    for rule in rubric.rules:
        if not 0 < abs(rule.points) <= TOTAL:
            yield f"the rule {rule.key!r} changes the score by {rule.points} points"
    limits = [tier.at_least for tier in rubric.tiers]
    if limits != sorted(set(limits), reverse=True) or (limits and not (limits[-1] > 0 and limits[0] <= TOTAL)):
        yield f"its tiers must fall from at most {TOTAL} to above 0, the best first, not {limits}"
    if rubric.below.at_least != 0:
        yield "what is below the tiers must begin at 0"
    if not 0 <= rubric.keep_above < TOTAL:
        yield f"keep_above is {rubric.keep_above:g}; it must be 0 or more and under {TOTAL}"


def _names(rubric: Rubric) -> Iterable[tuple[str, list[str]]]:
    """What must be said, and only once."""
    yield "dimension's key", [dimension.key for dimension in rubric.dimensions]
    yield "dimension's label", [dimension.label for dimension in rubric.dimensions]
    yield "dimension's title", [dimension.title for dimension in rubric.dimensions]
    yield "rule's key", [rule.key for rule in rubric.rules]
    yield "rule's title", [rule.title for rule in rubric.rules]
    yield "region's key", [region.key for region in rubric.regions]
    yield "tier's name", [tier.name for tier in (*rubric.tiers, rubric.below)]


def _band_faults(dimension: Dimension) -> Iterable[str]:
    if dimension.points <= 0:
        yield f"the dimension {dimension.key!r} has {dimension.points} points"
    following = 0
    for band in dimension.bands:
        if band.low != following or band.high < band.low:
            yield (
                f"the bands of {dimension.key!r} must follow each other without a gap: "
                f"{band.low}-{band.high} stands where {following} should begin"
            )
        following = band.high + 1
    if following != dimension.points + 1:
        yield f"the bands of {dimension.key!r} end at {following - 1}, its points are {dimension.points}"


def rubric_to_json(rubric: Rubric) -> dict[str, Any]:
    """Plain values, which :func:`rubric_from_json` takes back."""
    return json.loads(json.dumps(asdict(rubric)))


def write_rubric(path: Path, rubric: Rubric) -> None:
    """As JSON, whole or not at all.

    Raises:
        UnwritableVideo: it can't be written.
    """
    from vividface_core.io.atomic import write_json

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
        text = read_text(path)
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
    return validated(Rubric, content, "rubric")
