"""A preset that is one of several, each with its share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vividface_core.degrade.preset import Preset
from vividface_core.degrade.sampled import SampledDegradation
from vividface_core.errors import InvalidOption

CHOICE = 7919
"""Sets the draw of the part apart from the draws of its values."""


@dataclass(frozen=True)
class Mixture:
    """Presets of which a clip gets one.

    Attributes:
        summary: what it is, in a line.
        parts: share in percent and preset; a part's name is the mixture's, a slash and its own word.
        notes: where it comes from, and what was decided.
    """

    name: str
    summary: str
    parts: tuple[tuple[int, Preset], ...]
    notes: tuple[str, ...] = ()

    def with_values(self, changes: Mapping[str, Any] | None) -> Mixture:
        """With other values: those of a part under the part's name, others in every part that has them.

        Raises:
            InvalidOption: no part has such a parameter, or it can't be so.
        """
        changes = dict(changes or {})
        own = {preset.name: changes.pop(preset.name, {}) for _, preset in self.parts}
        known = {name for _, preset in self.parts for name in preset.values}
        for name in changes:
            if name not in known:
                raise InvalidOption(
                    f"No part of the preset {self.name} has {name!r}; they have {', '.join(sorted(known))}."
                )
        parts = []
        for share, preset in self.parts:
            shared = {name: value for name, value in changes.items() if name in preset.values}
            parts.append((share, preset.with_values({**shared, **own[preset.name]})))
        return replace(self, parts=tuple(parts))

    def sample(self, seed: int) -> SampledDegradation:
        """One part, and that part's values; the same seed gives the same ones on every machine.

        Raises:
            InvalidOption: a negative seed.
        """
        shares = np.cumsum([share for share, _ in self.parts])
        # A negative seed is refused by the part.
        place = np.random.default_rng((CHOICE, max(seed, 0))).integers(shares[-1])
        return self.parts[int(np.searchsorted(shares, place, side="right"))][1].sample(seed)

    def ranges(self) -> dict[str, Any]:
        """Plain values by part for a record, which :meth:`with_values` takes back."""
        return {preset.name: preset.ranges() for _, preset in self.parts}

    def describe(self) -> str:
        """All that there is to know, in lines."""
        lines = [f"{self.name}: {self.summary}", *(f"  {note}" for note in self.notes)]
        for share, preset in self.parts:
            lines += [
                f"  {share} %  {line}" if not number else f"    {line}"
                for number, line in enumerate(preset.describe().splitlines())
            ]
        return "\n".join(lines)


def with_shares(preset: Preset | Mixture, shares: Mapping[str, int]) -> Mixture:
    """A mixture some of whose parts, by their own words, are drawn more or less often; the others as before.

    Raises:
        InvalidOption: no mixture, no such part, or nothing left to draw.
    """
    if not isinstance(preset, Mixture):
        raise InvalidOption(f"The preset {preset.name} is no mixture; it has no shares.")
    words = [part.name.rpartition("/")[2] for _, part in preset.parts]
    for word in shares:
        if word not in words:
            raise InvalidOption(f"No part of the preset {preset.name} is {word!r}; they are {', '.join(words)}.")
    parts = tuple((shares.get(word, share), part) for word, (share, part) in zip(words, preset.parts))
    if not any(share > 0 for share, _ in parts):
        raise InvalidOption(f"Every part of the preset {preset.name} would have no share.")
    return replace(preset, parts=parts)
