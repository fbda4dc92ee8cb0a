"""Stages by name: a system's entry says which it has and where each lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vividface_core.restorers.registry import default_system, system_named

if TYPE_CHECKING:
    from training.config import Config
    from training.stages.base import Stage


def stage_class(system: str, name: str) -> type[Stage]:
    """The class of a stage.

    Args:
        system: id of a system; "": the default one.
        name: of the stage.

    Raises:
        InvalidOption: there is no such system, or it has no such stage.
    """
    return (system_named(system) if system else default_system()).stage(name)


def make_stage(config: Config, parts: Any = None) -> Stage:
    """The stage that a configuration names.

    Args:
        parts: what it begins with, made elsewhere, for stages that take that; ``None``: as the configuration says.
    """
    kind = stage_class(config.system, config.stage).variant(config, parts)
    return kind(config) if parts is None else kind(config, parts)
