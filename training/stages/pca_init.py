"""Start a one-level autoencoder at the best linear one: the principal components of its patches.

A linear code of the same size already keeps most of a picture, yet from random weights it takes hours to be found. So
the weights are set such that the net computes that code, and training only has to improve on it.

The net's norms and SiLUs stand in the way of a linear map. They are nearly linear around a large constant, so every
hidden channel carries 1 + u, with u small and without a mean over channels: the norm divides by almost 1, and SiLU is
straight at its gain. Residual and attention blocks start as the identity.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import WanAttentionBlock, WanResidualBlock, patchify
from torch import Tensor, nn

from vividface_core.errors import InvalidOption
from vividface_core.wan.module_types import WanModule

GAIN = 6.0
"""Of the last norm: at 6 SiLU's slope changes by less than a percent where the signal lives."""
AMPLITUDE = 0.1
"""Root mean square of u: small enough for the norm, large enough for half precision."""
LOG_VARIANCE = -6.0


def init_from_pca(vae: WanModule, clips: Iterable[Tensor]) -> None:
    """Set the weights of ``vae`` from ``clips`` ``[1, 3, T, H, W]``, −1…1.

    Raises:
        InvalidOption: more than one level, or another width than the hidden one in some block.
    """
    config = vae.config
    if len(config.dim_mult) != 1 or config.dim_mult[0] != 1 or config.is_residual:
        raise InvalidOption("A principal start needs one level: dim_mult [1], is_residual false.")
    width = config.base_dim
    mean, values, vectors = principal_components(clips, config.patch_size)
    kept = min(width - 1, len(values))
    if kept < config.z_dim:
        raise InvalidOption(f"base_dim {width} is too narrow for {config.z_dim} latent channels.")
    values, vectors = values[:kept], vectors[:, :kept]
    spread = _without_mean(width, kept)
    scale = AMPLITUDE * (width / values.sum()).sqrt()
    slope = _slope(GAIN)
    for module in vae.modules():
        if isinstance(module, WanResidualBlock):
            _zero(module.conv2)
        elif isinstance(module, WanAttentionBlock):
            _zero(module.proj)
    deviation = values[: config.z_dim].sqrt()
    code = torch.cat([torch.diag(1 / deviation), torch.zeros(config.z_dim, kept - config.z_dim)], 1)
    encoder, decoder = vae.encoder, vae.decoder
    _set(encoder.conv_in, scale * spread @ vectors.T, 1 - scale * spread @ (vectors.T @ mean))
    _set(
        encoder.conv_out,
        torch.cat([code @ spread.T, torch.zeros(config.z_dim, width)]) / (scale * slope),
        torch.cat([torch.zeros(config.z_dim), torch.full((config.z_dim,), LOG_VARIANCE)]),
    )
    _set(decoder.conv_in, scale * spread[:, : config.z_dim] * deviation, torch.ones(width))
    _set(decoder.conv_out, vectors @ spread.T / (scale * slope), mean)
    for net, through in ((encoder, vae.quant_conv), (decoder, vae.post_quant_conv)):
        net.norm_out.gamma.data.fill_(GAIN)
        _set(through, torch.eye(through.in_channels), torch.zeros(through.in_channels))


@torch.no_grad()
def principal_components(clips: Iterable[Tensor], patch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean ``[P]``, variances ``[P]`` (falling) and directions ``[P, P]`` (columns) of the clips' patches; fp32."""
    count, total, products = 0, torch.zeros(()), torch.zeros(())
    for clip in clips:
        rows = patchify(clip, patch).transpose(0, 1).flatten(1).T.double()
        count, total, products = count + len(rows), total + rows.sum(0), products + rows.T @ rows
    mean = total / count
    values, vectors = torch.linalg.eigh(products / count - torch.outer(mean, mean))
    return mean.float(), values.flip(0).clamp_min(1e-8).float(), vectors.flip(1).float()


def _without_mean(width: int, kept: int) -> Tensor:
    """``[width, kept]`` orthonormal columns, each with a mean of zero."""
    rng = torch.Generator().manual_seed(0)
    start = torch.cat([torch.ones(width, 1), torch.randn(width, width - 1, generator=rng)], 1)
    return torch.linalg.qr(start.double())[0][:, 1 : kept + 1].float()


def _slope(gain: float) -> float:
    """Of ``silu(gain · (1 + u))`` in u at 0."""
    x = torch.tensor(gain, dtype=torch.double)
    gate = torch.sigmoid(x)
    return float(gain * (gate + x * gate * (1 - gate)))


def _set(layer: nn.Conv3d, matrix: Tensor, bias: Tensor) -> None:
    """A convolution that applies ``matrix`` to each place, of the newest frame, alone."""
    with torch.no_grad():
        layer.weight.zero_()
        *_, depth, height, width = layer.weight.shape
        layer.weight[:, :, depth - 1, height // 2, width // 2] = matrix.to(layer.weight)
        assert layer.bias is not None
        layer.bias.copy_(bias)


def _zero(layer: nn.Module) -> None:
    for tensor in layer.parameters():
        nn.init.zeros_(tensor)
