"""The modules of a run: read from checkpoints, or made anew with first weights that train well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.config import Model
from vividface_core.errors import InvalidOption
from vividface_core.wan.empty_prompt import FILE_NAME, EmptyPrompt
from vividface_core.wan.loading import load_transformer, load_vae
from vividface_core.weights import load_unchanged


def new_vae(arguments: dict[str, Any]) -> nn.Module:
    """An ``AutoencoderKLWan`` whose residual blocks start as the identity.

    The net is then nearly linear at first and finds the principal structure fast.
    """
    from diffusers import AutoencoderKLWan
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanResidualBlock

    channels = arguments.get("z_dim", 16)
    statistics = {"latents_mean": [0.0] * channels, "latents_std": [1.0] * channels}
    vae = AutoencoderKLWan(**{**statistics, **arguments})
    for module in vae.modules():
        if isinstance(module, WanResidualBlock):
            nn.init.zeros_(module.conv2.weight)
            nn.init.zeros_(module.conv2.bias)
    return vae


def new_transformer(arguments: dict[str, Any]) -> nn.Module:
    """A ``WanTransformer3DModel`` whose last layer starts at zero: the one step starts as the identity."""
    from diffusers import WanTransformer3DModel

    transformer = WanTransformer3DModel(**arguments)
    nn.init.zeros_(transformer.proj_out.weight)
    nn.init.zeros_(transformer.proj_out.bias)
    return transformer


def make_vae(model: Model) -> nn.Module:
    """The autoencoder of ``model``; in training mode only if it is made anew."""
    if isinstance(model.vae, dict):
        return new_vae(model.vae)
    return load_vae(Path(model.vae)) if model.vae else load_unchanged(model.base).vae


def make_modules(model: Model) -> tuple[nn.Module, nn.Module, EmptyPrompt]:
    """Autoencoder, denoiser and the embedding of "", in fp32.

    Raises:
        InvalidOption: no denoiser is named, or a loaded one has no prompt to go with it.
    """
    base = load_unchanged(model.base) if model.base else None
    vae = make_vae(model) if model.vae or base is None else base.vae
    if isinstance(model.transformer, dict):
        transformer = new_transformer({**model.transformer, "in_channels": vae.config.z_dim,
                                       "out_channels": vae.config.z_dim})  # fmt: skip
        return vae, transformer, base.prompt if base else _new_prompt(transformer.config.text_dim)
    if model.transformer:
        path = Path(model.transformer)
        found = next((p / FILE_NAME for p in (path, path.parent) if (p / FILE_NAME).is_file()), None)
        if base is None and found is None:
            raise InvalidOption(f"No {FILE_NAME} lies beside {path}; make it with 'vividface models convert'.")
        return vae, load_transformer(path), base.prompt if base else EmptyPrompt.load(found)
    if base is None:
        raise InvalidOption("The model has neither a base nor a transformer.")
    return vae, base.transformer, base.prompt


def _new_prompt(width: int) -> EmptyPrompt:
    """One row and nothing after it: to attend to Wan's 511 zeros beside it takes a quarter of a small net's time."""
    return EmptyPrompt(torch.randn(1, width) * 0.02, length=1)
