"""What Wan's light modules have in common: a config as diffusers has it, and weights that others compute from.

diffusers takes seconds to import, and the fast streams and the folded denoiser need nothing of it but where each
weight is. So inference builds modules of the same names, attributes and state-dict keys, without diffusers.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from vividface_core.errors import MissingDependency


class Config(dict):
    """A model's arguments by name, also as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the config has no {name}") from None


class Model(nn.Module):
    """A whole network that is built from the ``config.json`` of diffusers' class of the same name.

    Attributes:
        config: every argument of the constructor, given or by default.
    """

    config: Config
    _keep_in_fp32_modules: tuple[str, ...] | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Model:
        """Names that the constructor doesn't know are passed over, as diffusers does."""
        known = inspect.signature(cls).parameters
        arguments = {name: parameter.default for name, parameter in known.items()}
        arguments |= {name: value for name, value in config.items() if name in known}
        model = cls(**arguments)
        model.config = Config(arguments)
        return model


class Holder(nn.Module):
    """Weights of a part of the autoencoder, under the names and beside the attributes that diffusers' class has.

    Called itself, it does what that class does, by its very code: where somebody hooks into the modules, wants
    gradients, or computes on a device that the fast streams don't know.
    """

    def forward(self, *inputs: Any, **options: Any) -> Any:
        return diffusers_class(type(self).__name__, "models.autoencoders.autoencoder_kl_wan").forward(
            self, *inputs, **options
        )


def diffusers_class(name: str, module: str = "") -> type[nn.Module]:
    """A class of diffusers, imported late: it takes seconds, and a broken one must not break what needs none.

    Raises:
        MissingDependency: it isn't here, too old or broken.
    """
    from importlib import import_module

    try:
        return getattr(import_module(f"diffusers.{module}" if module else "diffusers"), name)
    except (ImportError, RuntimeError, AttributeError) as error:
        raise MissingDependency(
            f"Wan's modules need diffusers 0.36 or newer, which does not import here ({error}). "
            "Install it with: pip install -U diffusers"
        ) from error
