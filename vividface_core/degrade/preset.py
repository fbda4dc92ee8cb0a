"""A degradation as data: steps in their order, and from where their values are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vividface_core.degrade.parameters import PARAMETERS, Value, parse, sample
from vividface_core.degrade.sampled import SampledDegradation
from vividface_core.degrade.steps import STEPS
from vividface_core.errors import InvalidOption


@dataclass(frozen=True)
class Preset:
    """A degradation before anything is drawn.

    Attributes:
        summary: what it is, in a line.
        steps: names out of :data:`~vividface_core.degrade.steps.STEPS`.
        values: of every parameter that its steps read, in the order of drawing.
        each_frame: parameters that are drawn for each frame, not once for the clip.
        notes: where it comes from, and what was decided.
    """

    name: str
    summary: str
    steps: tuple[str, ...]
    values: Mapping[str, Value]
    each_frame: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    def with_values(self, changes: Mapping[str, Any] | None) -> Preset:
        """With other values: a number fixes one, a pair or ``"2..6"`` is a range, words choose.

        Raises:
            InvalidOption: this preset has no such parameter, or it can't be so.
        """
        values = dict(self.values)
        for name, given in (changes or {}).items():
            if name not in values:
                raise InvalidOption(f"The preset {self.name} has no {name!r}; it has {', '.join(values)}.")
            values[name] = parse(name, given)
        return replace(self, values=values)

    def sample(self, seed: int) -> SampledDegradation:
        """One clip's values; the same seed gives the same ones on every machine.

        Raises:
            InvalidOption: a negative seed.
        """
        if seed < 0:
            raise InvalidOption(f"The seed is {seed}; give 0 or more.")
        once = {name: value for name, value in self.values.items() if name not in self.each_frame}
        drawn = sample(once, np.random.default_rng(seed))
        values = {name: drawn.get(name, value) for name, value in self.values.items()}
        return SampledDegradation(self.name, self.steps, seed, values)

    def ranges(self) -> dict[str, Any]:
        """Plain values for a record, which :meth:`with_values` takes back."""
        return {name: value.plain() for name, value in self.values.items()}

    def describe(self) -> str:
        """All that there is to know, in lines."""
        lines = [f"{self.name}: {self.summary}", f"  steps: {' > '.join(self.steps)}"]
        for name, value in self.values.items():
            often = "; each frame" if name in self.each_frame else ""
            lines.append(f"  {name + '=' + str(value):<22} {PARAMETERS[name].meaning}{often}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def make_preset(
    name: str,
    summary: str,
    steps: tuple[str, ...],
    values: dict[str, Any],
    *notes: str,
    each_frame: tuple[str, ...] = (),
) -> Preset:
    """The given values are drawn first, then what the steps have besides."""
    given = {key: parse(key, value) for key, value in values.items()}
    others = {key: value for step in steps for key, value in STEPS[step].values.items() if key not in given}
    return Preset(name, summary, steps, {**given, **others}, frozenset(each_frame), notes)
