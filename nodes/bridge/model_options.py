"""The systems' own options as inputs of the loader node."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from vividface_core.restorers.execution import Option
from vividface_core.restorers.registry import shared_options, systems

from .schema import advanced

DTYPES = {"auto": None, "bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
"""Number types by the name that the node has for them."""


def precisions() -> dict[str, dict[str, Any]]:
    """Entries of the list of precisions that stand for options of systems: each with the options that it sets."""
    found: dict[str, dict[str, Any]] = {}
    for system in systems():
        for option in system.options.values():
            for label, value in option.precision.items():
                found.setdefault(label, {})[option.name] = value
    return found


def option_inputs() -> list[io.Input]:
    """An input for each option that wants one: appended, and optional, as older prompts lack them."""
    return [advanced(_input(option)) for option in _widgets().values()]


def chosen_options(precision: str, values: dict[str, Any]) -> dict[str, Any]:
    """What is handed to the checkpoint's system: the values that aren't the defaults."""
    widgets = _widgets()
    chosen = {name: value for name, value in values.items() if value != _shown_default(widgets[name])}
    return {**chosen, **precisions().get(precision, {})}


def _widgets() -> dict[str, Option]:
    return {name: uses[0][1] for name, uses in shared_options().items() if uses[0][1].widget}


def _input(option: Option) -> io.Input:
    tooltip = option.help[:1].upper() + option.help[1:] + "."
    if option.kind is int and option.default is None:
        tooltip += " 0: the default."
    common = {"default": _shown_default(option), "optional": True, "tooltip": tooltip}
    if option.kind is bool:
        return io.Boolean.Input(option.name, **common)
    if option.choices:
        return io.Combo.Input(option.name, options=list(option.choices), **common)
    if option.kind is float:
        return io.Float.Input(option.name, min=-1e9, max=1e9, step=0.01, **common)
    if option.kind is int:
        return io.Int.Input(option.name, min=0 if option.default is None else -(1 << 31), max=1 << 31, **common)
    return io.String.Input(option.name, **common)


def _shown_default(option: Option) -> Any:
    """A widget always has a value: 0 stands for a number that is left to the system."""
    return 0 if option.kind is int and option.default is None else option.default
