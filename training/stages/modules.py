"""The modules of a run: read from checkpoints, or made anew with first weights that train well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.config import Config, Model
from vividface_core.errors import InvalidOption
from vividface_core.wan.conditional_decoder import ConditionalDecoder, DecoderConfig
from vividface_core.wan.empty_prompt import FILE_NAME, EmptyPrompt
from vividface_core.wan.loading import load_transformer, load_vae
from vividface_core.wan.module_types import WanModule
from vividface_core.wan.tiny_encoder import EncoderConfig, TinyEncoder
from vividface_core.wan.transformer import weight_type
from vividface_core.wan.vae import temporal_ratio
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


def new_transformer(arguments: dict[str, Any]) -> WanModule:
    """A ``WanTransformer3DModel`` whose last layer starts at zero: the one step starts as the identity."""
    from diffusers import WanTransformer3DModel

    transformer = WanTransformer3DModel(**arguments)
    nn.init.zeros_(transformer.proj_out.weight)
    nn.init.zeros_(transformer.proj_out.bias)
    return transformer


def make_vae(model: Model) -> WanModule:
    """The autoencoder of ``model``; in training mode only if it is made anew."""
    if isinstance(model.vae, dict):
        return new_vae(model.vae)
    if model.vae:
        return load_vae(Path(model.vae), dtype=torch.float32)
    base: Any = load_unchanged(model.base)  # of the one-step system, which alone has these stages
    return base.vae


def check_model(config: Config, *, control: bool = False, trains_vae: bool = False, has_teacher: bool = False) -> None:
    """Check the ``model`` table of a stage of the one-step restorer.

    Args:
        control: whether the stage trains an image restorer to compare with.
        trains_vae: whether it may train the autoencoder along.
        has_teacher: whether it has the losses against a teacher.

    Raises:
        ValueError: entries don't go together.
    """
    model, loss = config.model, config.loss
    if (model.control is not None) != control:
        raise ValueError("model.control is what stage control trains, and no other stage")
    if not control and not model.base and model.vae is None:
        raise ValueError("model needs a base, or a vae (and a transformer, but for the autoencoder stage)")
    if model.train_vae != "none" and (not trains_vae or model.gradient_checkpointing):
        raise ValueError("model.train_vae is for the pixel stage, with gradient_checkpointing = false")
    if model.frozen == "bf16" and (config.run.precision != "bf16" or model.train_vae != "none"):
        raise ValueError("model.frozen = bf16 needs run.precision = bf16 and model.train_vae = none")
    if (model.train_new or model.restart_blocks) and not model.grow_decoder:
        raise ValueError("model.train_new and model.restart_blocks are for model.grow_decoder = true")
    if not has_teacher and (loss.teacher or loss.teacher_lpips):
        raise ValueError("loss.teacher and loss.teacher_lpips are for the decoder stage")


@dataclass(frozen=True)
class Parts:
    """What a stage begins with.

    Attributes:
        decoder, encoder, latent_skip: of the base, where it has them.
        load_perceptual: makes a network of the perceptual losses; ``None``: from its weights.
    """

    vae: WanModule
    transformer: WanModule
    prompt: EmptyPrompt
    decoder: ConditionalDecoder | None = None
    latent_skip: Tensor | None = None
    encoder: TinyEncoder | None = None
    load_perceptual: Callable[[str], nn.Module] | None = None


def new_decoder(arguments: dict[str, Any], vae: WanModule) -> ConditionalDecoder:
    """A conditional decoder for this autoencoder's latents; it starts by returning its input."""
    return _fitting(ConditionalDecoder, DecoderConfig, arguments, vae, "model.decoder")


def grown_decoder(
    base: ConditionalDecoder | None, arguments: dict[str, Any], restarted: Sequence[str] = (), new_alone: bool = False
) -> ConditionalDecoder:
    """``base`` with some arguments changed; it gives what ``base`` gives, as its new blocks have no effect yet. Only to
    be ``aligned`` changes that.

    Args:
        restarted: beginnings of the names of ``base``'s blocks that begin anew, without effect: ``down.2.``.
        new_alone: whether only what is new will learn.

    Raises:
        InvalidOption: there is none to grow, or weights of it would have no place.
    """
    if base is None:
        raise InvalidOption("model.grow_decoder needs a base that has a conditional decoder.")
    net = ConditionalDecoder(DecoderConfig.from_dict({**base.config.to_dict(), **arguments}, "model.decoder"))
    ours, theirs = net.state_dict(), base.state_dict()
    unknown = [start for start in restarted if not any(name.startswith(start) for name in theirs)]
    if unknown:
        raise InvalidOption(f"model.restart_blocks: the decoder of model.base has no {', '.join(unknown)}.")
    theirs = {name: value for name, value in theirs.items() if not name.startswith(tuple(restarted))}
    lost = [name for name, value in theirs.items() if name not in ours or ours[name].shape != value.shape]
    # All that is new lies in blocks, the code that scales them and the fine stage, whose last layers begin with zeros.
    harmless = ("conv1.", "conv2.", "measured.", "measures.", "fine_in.", "fine_out.")
    effective = [name for name in ours if name not in theirs and not any(part in name for part in harmless)]
    if lost or effective:
        raise InvalidOption(
            f"model.grow_decoder adds blocks to the decoder of model.base; with {arguments} these don't fit: "
            f"{', '.join((lost + effective)[:4])}."
        )
    net.load_state_dict({**ours, **theirs})
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(not new_alone or name not in theirs)
    return net


def new_encoder(arguments: dict[str, Any], vae: WanModule) -> TinyEncoder:
    """A tiny encoder into this autoencoder's latents."""
    return _fitting(TinyEncoder, EncoderConfig, arguments, vae, "model.encoder")


def _fitting(net: type[nn.Module], kind: Any, arguments: dict[str, Any], vae: WanModule, entry: str) -> Any:
    shape = {"latent_channels": vae.config.z_dim, "temporal_ratio": temporal_ratio(vae.config)}
    config = kind.from_dict({**shape, **arguments}, entry)
    config.check_fits(vae.config)
    return net(config)


@torch.no_grad()
def narrow_frozen(module: nn.Module, model: Model) -> None:
    """Give the weights that aren't trained the type that ``model.frozen`` says, but for those that Wan needs wide."""
    if model.frozen == "fp32":
        return
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(weight_type(module, name, torch.bfloat16))


def make_modules(model: Model) -> Parts:
    """Autoencoder, denoiser, the embedding of "" and what the base has besides, in fp32.

    Raises:
        InvalidOption: no denoiser is named, or a loaded one has no prompt to go with it.
    """
    base: Any = load_unchanged(model.base) if model.base else None
    vae = make_vae(model) if model.vae or base is None else base.vae
    if isinstance(model.transformer, dict):
        transformer = new_transformer(
            {**model.transformer, "in_channels": vae.config.z_dim, "out_channels": vae.config.z_dim}
        )
        return Parts(vae, transformer, base.prompt if base else _new_prompt(transformer.config.text_dim))
    if model.transformer:
        path = Path(model.transformer)
        found = next((p / FILE_NAME for p in (path, path.parent) if (p / FILE_NAME).is_file()), None)
        if found is None and base is None:
            raise InvalidOption(f"No {FILE_NAME} lies beside {path}; make it with 'vividface models convert'.")
        prompt = EmptyPrompt.load(found) if base is None and found is not None else base.prompt
        return Parts(vae, load_transformer(path, dtype=torch.float32), prompt)
    if base is None:
        raise InvalidOption("The model has neither a base nor a transformer.")
    return Parts(vae, base.transformer, base.prompt, base.decoder, base.latent_skip, base.encoder)


def _new_prompt(width: int) -> EmptyPrompt:
    """One row and nothing after it: to attend to Wan's 511 zeros beside it takes a quarter of a small net's time."""
    return EmptyPrompt(torch.randn(1, width) * 0.02, length=1)
