"""What modules of Wan's networks are to a type checker."""

from __future__ import annotations

from typing import Any, TypeAlias

WanModule: TypeAlias = Any
"""A module of diffusers' Wan networks, or one of the same shape.

An ``nn.Module`` whose parts are reached by name. torch declares each of them as ``Tensor | Module``, which fits none,
and diffusers makes them (and ``config``) while it runs.
"""
