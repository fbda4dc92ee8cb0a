"""How much memory each stage takes, from the configs alone.

Every estimate is: the largest feature map × how many of its size live at once, plus what the stage remembers. The
factors were measured (tests/core/restorers/test_one_step.py keeps them honest).
"""

from __future__ import annotations

from typing import Any

from vividface_core.wan.conditional_decoder import DecoderConfig
from vividface_core.wan.fast_vae.stages import FRAME_BATCH, LARGE, LEVELS
from vividface_core.wan.folded_transformer import TOKENS
from vividface_core.wan.tiny_encoder import EncoderConfig
from vividface_core.wan.vae import spatial_ratio, temporal_ratio

SCRATCH = 128 << 20
"""What the libraries of convolution and attention set aside for themselves, whatever the size."""
LIVE_MAPS = 6
"""Maps alive in a residual block: shortcut, normed, padded with the remembered frames, result, and scratch."""


FAST_MAPS = 3
"""Maps alive in a residual block of the fast path: shortcut, result, and normed behind the remembered frames."""
TILE_HALO = 64
"""Pixels around a tile that most of its maps show too."""


def encoder_bytes(
    config: Any, frames: int, height: int, width: int, item: int, plain: bool = True, tile: int | None = None
) -> int:
    """Peak of encoding ``frames`` frames of ``height``×``width`` pixels after earlier ones; ``item`` bytes a value."""
    patch = config.patch_size or 1
    whole, widths = height * width // patch**2, [config.base_dim * m for m in [1, *config.dim_mult]]
    height, width = _seen(height, width, tile)
    area = height * width // patch**2
    peak = memory = 0
    for level, (narrow, wide) in enumerate(zip(widths, widths[1:])):
        peak = max(peak, _block(max(narrow, wide) * area * item, frames, plain))
        memory += 2 * area * (narrow + (2 * config.num_res_blocks - 1) * wide) * item
        if level < len(config.dim_mult) - 1:
            # Below some levels tiles have become a whole map.
            area = area // 4 if level + 1 < LEVELS else whole // 4 ** (level + 1)
            if config.temperal_downsample[level]:
                frames = max(1, frames // 2)
    return peak + memory + 2 * area * 4 * widths[-1] * item


def decoder_bytes(
    config: Any, latents: int, height: int, width: int, item: int, plain: bool = True, tile: int | None = None
) -> int:
    """Peak of decoding ``latents`` latent frames of ``height``×``width`` cells after earlier ones."""
    cell = spatial_ratio(config)
    height, width = (side // cell for side in _seen(height * cell, width * cell, tile))
    base, multipliers = config.decoder_base_dim or config.base_dim, config.dim_mult[::-1]
    widths = [base * m for m in [multipliers[0], *multipliers]]
    upsample = config.temperal_downsample[::-1]
    area, frames = height * width, latents
    peak, memory = 0, 2 * area * 4 * widths[0] * item
    for level, (before, wide) in enumerate(zip(widths, widths[1:])):
        if level and not config.is_residual:
            before //= 2
        peak = max(peak, _block(max(before, wide) * area * item, frames, plain))
        memory += 2 * area * (before + (2 * config.num_res_blocks + 1) * wide) * item
        if level < len(config.dim_mult) - 1:
            frames *= 2 if upsample[level] else 1
            area *= 4
            # In the plain path the upsampled map exists in fp32 as well, whatever the type.
            maps = (2 * item + (4 if plain else 0)) * wide + (2 * item * wide if config.is_residual else 0)
            peak = max(peak, maps * frames * area)
    pictures = 3 * 3 * 4 * latents * temporal_ratio(config) * area * (config.patch_size or 1) ** 2
    return peak + memory + pictures


def conditional_decoder_bytes(
    config: DecoderConfig, frames: int, height: int, width: int, item: int, tile: int | None = None
) -> int:
    """Peak of a conditional decoder over ``frames`` frames of ``height``×``width`` pixels after earlier ones."""
    # The motion of whole frames, two numbers a pixel in fp32.
    motion = height * width * (frames + 1) * 8 if config.aligned else 0
    if tile is not None:
        height, width = (min(side, tile + 2 * config.radius) for side in (height, width))
    area, frames = height * width, frames + 1
    if config.aligned:
        # Where the blocks of each level look: as much at the full size, and less than half of it below.
        motion += area * frames * 12
    heads = CONDITIONAL_MAPS if config.head_blocks else 2
    full = area * frames * (heads * item * config.head + 3 * 4 * 4)
    # What is skipped around lower levels stays alive on the way down and up.
    skips = maps = 0
    for level, wide in enumerate(config.widths):
        one = area // 4 ** (level + 1) * frames * wide * item
        maps = max(maps, CONDITIONAL_MAPS * one + skips)
        skips += one
    pictures = 12 * (2 if config.refines else 1)
    # The fine stage sees the pixels and the features once more; the norm is one map more than another block's.
    seen = pictures + config.widths[0] + (CONDITIONAL_MAPS + 1) * config.fine
    fine = area // 4 * frames * item * seen if config.fine else 0
    return motion + max(maps, full + skips, full + fine)


def tiny_encoder_bytes(config: EncoderConfig, frames: int, height: int, width: int, item: int) -> int:
    """Peak of a tiny encoder over ``frames`` frames of ``height``×``width`` pixels after earlier ones."""
    area, frames = height * width, frames + 1
    # The pixels in fp32 and in the weights' type wait for the linear path.
    pictures = area * frames * 3 * (4 + item)
    maps = max(wide * (area // 4 ** (level + 1)) for level, wide in enumerate(config.widths))
    return pictures + CONDITIONAL_MAPS * maps * frames * item


CONDITIONAL_MAPS = 4
"""Maps alive in a block of the conditional decoder or the tiny encoder: its input, the shifted one, the first
convolution's, the sum."""


def tile_buffer_bytes(config: Any, frames: int, height: int, width: int, item: int) -> int:
    """All frames' maps between the part of the encoder or decoder that runs in tiles and the other."""
    patch, levels = config.patch_size or 1, len(config.dim_mult) - 1
    tiled = min(LEVELS, levels)
    cells, slow = height * width // patch**2, sum(config.temperal_downsample[:tiled])
    encoder = config.base_dim * config.dim_mult[tiled - 1] * (frames >> slow) * cells // 4**tiled
    last = (config.decoder_base_dim or config.base_dim) * config.dim_mult[-1]
    decoder = last * frames // temporal_ratio(config) * cells // 4**levels
    return item * max(encoder, decoder)


def _block(frame: int, frames: int, plain: bool) -> int:
    """Peak of a residual block over maps of ``frame`` bytes a frame."""
    if plain:
        return LIVE_MAPS * (frames + 2) * frame
    # Large maps are computed a few frames at a time, while one map of all of them waits.
    together = min(frames, FRAME_BATCH) if frames * frame > LARGE else frames
    return (FAST_MAPS * (together + 1) + (frames if together < frames else 0)) * frame


def _seen(height: int, width: int, tile: int | None) -> tuple[int, int]:
    return (height, width) if tile is None else (min(height, tile + 2 * TILE_HALO), min(width, tile + 2 * TILE_HALO))


def denoiser_bytes(config: Any, latent_frames: int, height: int, width: int, item: int, plain: bool = True) -> int:
    """Peak of one pass over a latent, with an attention that does not hold its matrix."""
    _, patch_height, patch_width = config.patch_size
    tokens = latent_frames * (height // patch_height) * (width // patch_width)
    inner, depth = config.num_attention_heads * config.attention_head_dim, config.attention_head_dim
    if plain:
        feed_forward = 2 * item * config.ffn_dim + item * inner
        return tokens * (3 * 4 * inner + max(7 * item * inner + 2 * 4 * depth, feed_forward))
    # Queries and keys are turned in fp32; what follows attention sees a few tokens at a time.
    attention = tokens * inner * (7 * item + (8 if item < 4 else 0))
    feed_forward = min(tokens, TOKENS) * item * (3 * config.ffn_dim // 2 + 2 * inner)
    return tokens * (inner * item + 4 * depth) + max(attention, feed_forward)
