"""How a restorer computes, and the options of a system as data, from which command line and nodes make theirs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from vividface_core.errors import InvalidOption
from vividface_core.runtime.devices import default_dtype


@dataclass(frozen=True)
class ExecutionConfig:
    """Where and how a restorer computes. A system's own options are further fields, declared with :func:`option`.

    Attributes:
        device: where the weights go and clips are computed.
        dtype: type of weights and computation; ``None``: :meth:`number_type` decides.
        runs_on: the device that a host will move the restorer to before it is used; ``None``: ``device``.
    """

    device: torch.device | str = "cpu"
    dtype: torch.dtype | None = None
    runs_on: torch.device | str | None = None

    def number_type(self) -> torch.dtype:
        """``dtype``, or what suits the device: bf16 where it computes in it, else fp32."""
        return self.dtype or default_dtype(self.runs_on or self.device)


@dataclass(frozen=True)
class Option:
    """One option of a system.

    Attributes:
        name: the field of the system's :class:`ExecutionConfig`.
        kind: ``bool``, ``int``, ``float`` or ``str``.
        default: its value where nothing is said.
        help: for the command line and as a node's tooltip.
        choices: the values that are allowed; empty: the system checks them itself.
        flag: on the command line, with dashes; empty: not there.
        metavar: stands for the value in the command line's help.
        widget: whether the loader node has an input for it.
        precision: entries of the loader node's list of precisions, each with the value that it stands for.
        inexact: values with which the result differs from the default's; a resumed run must have the same.
        decides: every value gives another result; the same for all values.
        together: goes with several devices that share one window.
    """

    name: str
    kind: type
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    flag: str = ""
    metavar: str | None = None
    widget: bool = False
    precision: Mapping[str, Any] = field(default_factory=dict)
    inexact: frozenset[Any] = frozenset()
    decides: bool = False
    together: bool = True


def option(
    default: Any, help: str = "", *, kind: type | None = None, inexact: Collection[Any] = (), **more: Any
) -> Any:
    """A field of a system's :class:`ExecutionConfig` that users may set; arguments are those of :class:`Option`.

    Args:
        kind: ``None``: the type of ``default``.
    """
    described = {"kind": kind or type(default), "help": help, "inexact": frozenset(inexact), **more}
    return field(default=default, metadata={"option": described})


def options_of(execution: type[ExecutionConfig]) -> dict[str, Option]:
    """The options that a system's :class:`ExecutionConfig` declares, by name, in their order."""
    found = {}
    for entry in fields(execution):
        if "option" in entry.metadata:
            found[entry.name] = Option(entry.name, default=entry.default, **entry.metadata["option"])
    return found


def check_values(options: Mapping[str, Option], values: Mapping[str, Any], whose: str) -> None:
    """Check values for a system's options.

    Args:
        whose: the system's name, for messages.

    Raises:
        InvalidOption: an unknown option, or a value that isn't among its choices.
    """
    for name, value in values.items():
        if name not in options:
            its = f"its own are {', '.join(options)}" if options else "it has none of its own"
            raise InvalidOption(f"{name} isn't an option of the system {whose} of this checkpoint; {its}.")
        choices = options[name].choices
        if choices and value not in choices:
            raise InvalidOption(f"{name} is {value!r}; choose {', '.join(choices)}.")


def result_marks(options: Mapping[str, Option], values: Mapping[str, Any]) -> list[str]:
    """What tells results with these values from those with the defaults: for the identity of a run."""
    marks = {str(value) for name, value in values.items() if value in options[name].inexact}
    told = [
        f"{name}={value}" for name, value in values.items() if options[name].decides and value != options[name].default
    ]
    return [*sorted(marks), *sorted(told)]
