"""Stages by name: a system's entry says which it has and where each lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vividface_core.restorers.registry import stage_class

if TYPE_CHECKING:
    from training.config import Config
    from training.stages.base import Stage


def make_stage(config: Config, parts: Any = None) -> Stage:
    """The stage that a configuration names.

    Args:
        parts: what it begins with, made elsewhere, for stages that take that; ``None``: as the configuration says.
    """
    kind = stage_class(config.system, config.stage).variant(config, parts)
    return kind(config) if parts is None else kind(config, parts)
