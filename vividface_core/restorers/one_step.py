"""VividFace: encode, one denoiser pass, decode. ẑ_h = z_l − s·DiT(z_l, t*, "") (Eq. 3, with Wan's own sign)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.errors import InvalidOption, UnsupportedCheckpoint
from vividface_core.restorers.base import Progress, Restorer, check_finite, check_request, module_bytes, translate_oom
from vividface_core.restorers.lengths import ClipLengths
from vividface_core.restorers.one_step_options import OneStepExecution
from vividface_core.runtime.devices import channels_last
from vividface_core.wan.attention import Attention
from vividface_core.wan.conditional_decoder import ConditionalDecoder, decoded_with_input
from vividface_core.wan.empty_prompt import EmptyPrompt
from vividface_core.wan.fast_vae.streams import FastEncoder, Piece, decoded, decoder_stream, encoder_stream
from vividface_core.wan.fast_vae.tiles import Region
from vividface_core.wan.folded_transformer import FoldedDenoiser
from vividface_core.wan.injection import Injection, hooked
from vividface_core.wan.module_types import WanModule
from vividface_core.wan.optimizations import memory_estimate
from vividface_core.wan.optimizations.compile import CompiledDenoiser
from vividface_core.wan.optimizations.cuda_graphs import GraphedDenoiser, check_graphs
from vividface_core.wan.optimizations.fp8_linear import check_linears, use_linears
from vividface_core.wan.optimizations.offload import onload
from vividface_core.wan.tiny_encoder import TinyEncoder, TinyStream
from vividface_core.wan.transformer import T_STAR, VELOCITY_SCALE, cast, one_step_velocity
from vividface_core.wan.vae import (
    FRAME_CHUNK,
    StreamingEncoder,
    latent_frames,
    spatial_ratio,
    temporal_ratio,
)

STAGE_SHARES = {"encode": 0.25, "denoise": 0.33, "decode": 0.42}
"""Parts of the work, by arithmetic operations at 81×512×512."""
FAST_CHUNK, CPU_CHUNK = 8, 4
"""Frames that pass the autoencoder together: small maps are computed best several at a time. On a CPU maps that don't
fit its caches cost more than that saves."""

TILES = (256, 128)
"""Sides in pixels of the autoencoder's tiles where memory is short; smaller ones see more around them than in them."""


class OneStepRestorer(Restorer):
    """One-step diffusion in the latent space of a Wan autoencoder.

    Follows the released protocol: size padded to the right and bottom with grey (0 in −1…1), last frame repeated to
    4k + 1, latent = normalised posterior mean, no noise, one pass, everything cut back. Encoder and decoder run as
    streams, so memory grows with the clip only by its latent and its output.
    """

    name: ClassVar[str] = "vividface"
    color_default = "wavelet"
    takes_host = True

    def __init__(
        self,
        vae: WanModule,
        transformer: WanModule,
        prompt: EmptyPrompt,
        *,
        decoder: ConditionalDecoder | None = None,
        encoder: TinyEncoder | None = None,
        latent_skip: Sequence[float] | None = None,
        t_star: float = T_STAR,
        velocity_scale: float = VELOCITY_SCALE,
        native_size: int = 512,
        native_frames: int = 81,
        execution: OneStepExecution | None = None,
    ) -> None:
        """
        Args:
            vae: ``AutoencoderKLWan`` of any config.
            transformer: ``WanTransformer3DModel`` with the autoencoder's latent channels in and out. Its weights are
                shared; what is constant is folded (:mod:`vividface_core.wan.folded_transformer`). Let go of it to free
                the rest.
            prompt: embedding of "", of the denoiser's text width.
            decoder: decodes instead of the autoencoder's own decoder, and sees the clip while it does.
            encoder: encodes instead of the autoencoder's own encoder; over whole frames, also where ``tile`` is set.
            latent_skip: A, a number a latent channel: ẑ = (1 − A) ⊙ z_l − s·DiT(z_l); ``None``: 0, as released.
            t_star: the timestep, 0…1000.
            velocity_scale: s.
            execution: where and how to compute; ``None``: the defaults, on the CPU.

        Raises:
            UnsupportedCheckpoint: the three do not belong together.
            InvalidOption: the device can't do what is asked for, or options that don't go together.
            MissingDependency: the package of an attention isn't here.
        """
        how = self.execution = execution or OneStepExecution()
        self.vae, self._prompt, self.plain = vae, prompt, how.plain
        self.tile = self._wanted_tile = how.tile
        self.offload, self._home = how.offload, torch.device(how.device)
        self._t_star, self.velocity_scale = float(t_star), float(velocity_scale)
        self.native_size, self.native_frames = native_size, native_frames
        self.check_parts(vae, transformer, prompt)
        self.encoder, self.decoder = encoder, decoder
        for net in (encoder, decoder):
            if net is not None:
                net.config.check_fits(vae.config)
                channels_last(net.eval())
        self.latent_skip = _latent_skip(latent_skip, vae.config.z_dim)
        self._cell = spatial_ratio(vae.config)
        self.size_multiple = self._cell * math.lcm(*transformer.config.patch_size[1:])
        # The released protocol counts in fours, whatever the autoencoder.
        self.valid_lengths = ClipLengths(math.lcm(4, temporal_ratio(vae.config)), 1)
        self._chunk = _frames_per_chunk(how, temporal_ratio(vae.config))
        _check_execution(how)
        vae.eval()
        transformer.eval()
        device, dtype = torch.device(how.device), how.number_type()
        self.denoiser: WanModule = transformer if how.plain else self._folded(transformer, device, dtype)
        self._pass: Any = CompiledDenoiser(self.denoiser) if how.compile else self.denoiser
        if how.graphs:
            check_graphs(device)
            self._pass = GraphedDenoiser(self.denoiser, self._pass)
        self.to(device, dtype)

    def _folded(self, transformer: WanModule, device: torch.device, dtype: torch.dtype) -> FoldedDenoiser:
        kernel, linear = Attention(self.execution.attention), self.execution.linear
        kernel.check(device, dtype, transformer.config.attention_head_dim)
        check_linears(linear, device, dtype)
        return use_linears(FoldedDenoiser(transformer, self._prompt, self._t_star, attention=kernel), linear)

    @staticmethod
    def check_parts(vae: WanModule, transformer: WanModule, prompt: EmptyPrompt) -> None:
        """Raises UnsupportedCheckpoint unless the three belong together."""
        vae_config, config, width = vae.config, transformer.config, prompt.rows.shape[1]
        if not vae_config.z_dim == config.in_channels == config.out_channels:
            raise UnsupportedCheckpoint(
                f"Autoencoder and denoiser do not fit: {vae_config.z_dim} latent channels, but the denoiser takes "
                f"{config.in_channels} and gives {config.out_channels}. A text-to-video denoiser is wanted."
            )
        if width != config.text_dim:
            raise UnsupportedCheckpoint(
                f"The empty prompt is {width} wide, the denoiser wants {config.text_dim}. They are of different models."
            )
        if config.patch_size[0] != 1:
            raise UnsupportedCheckpoint(f"The denoiser joins {config.patch_size[0]} latent frames; 1 is supported.")

    @property
    def prompt(self) -> EmptyPrompt:
        """Folded into the denoiser, as is :attr:`t_star`: for another one, make another restorer."""
        return self._prompt

    @property
    def t_star(self) -> float:
        return self._t_star

    @property
    def transformer(self) -> WanModule:
        """diffusers' module of a ``plain`` restorer.

        Raises:
            InvalidOption: this restorer has folded it.
        """
        if not self.plain:
            raise InvalidOption("This restorer's denoiser is folded; for diffusers' module make it with plain=True.")
        return self.denoiser

    def share_window(self) -> None:
        # Here, because it needs torch with distribution.
        from vividface_core.wan.optimizations.context_parallel import enable_context_parallel

        enable_context_parallel(self.denoiser)

    def reduce_memory(self) -> str:
        if self.plain or (self.tile is not None and self.tile <= TILES[-1]):
            return ""
        self.tile = next(side for side in TILES if self.tile is None or side < self.tile)
        return f"the autoencoder in tiles of {self.tile} pixels"

    def restore_defaults(self) -> None:
        self.tile = self._wanted_tile

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Each may be moved on its own; a clip follows them from device to device."""
        return {
            "encoder": self.encoder or nn.ModuleList([self.vae.encoder, self.vae.quant_conv]),
            "denoiser": self.denoiser,
            "decoder": nn.ModuleList(self._decoder_parts()),
        }

    def _decoder_parts(self) -> list[nn.Module]:
        own = [self.vae.decoder, self.vae.post_quant_conv]
        if self.decoder is None:
            return own
        return [self.decoder, *(own if self.decoder.config.refines else ())]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> OneStepRestorer:
        if dtype is not None:
            cast(self.vae, dtype)
            cast(self.denoiser, dtype)
            for net in (self.encoder, self.decoder):
                if net is not None:
                    cast(net, dtype)
            self._dtype = dtype
        if device is not None:
            self._home = torch.device(device)
            for module in self.modules.values():
                module.to("cpu" if self.offload else device)
        return self

    @property
    def device(self) -> torch.device:
        if self.host is not None:
            return self.host.device
        # Asked of the weights: a host may move them behind the restorer's back.
        return self._home if self.offload else next(self.denoiser.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    def restore(
        self,
        clip: Tensor,
        *,
        mask: Tensor | None = None,
        strength: float = 1.0,
        progress: Progress | None = None,
    ) -> Tensor:
        check_request(clip, mask, strength)
        if strength == 0:
            return clip.clone()
        report = progress or (lambda share: None)
        output = torch.empty_like(clip)  # made outside of inference mode: the caller may go on with it as he likes
        with torch.inference_mode(), translate_oom(clip, self.device):
            with self._placed("encoder", clip):
                latent = self._encode(clip, report)
            injections = self._injections(clip, report)
            with self._placed("denoiser", clip):
                latent = self._denoise(latent, report, injections)
            with self._placed("decoder", clip):
                self._decode(latent, clip, mask, strength, output, report)
        return output

    def _placed(self, stage: str, clip: Tensor) -> AbstractContextManager:
        """Within it, the stage's weights are where it is computed."""
        if self.host is not None:
            shared, stages = self._work_bytes(len(clip), *clip.shape[2:])
            return self.host.placed(stage, shared + stages[stage])
        return onload(self.modules[stage], self._home) if self.offload else nullcontext()

    def _encode(self, clip: Tensor, report: Progress) -> Tensor:
        """``[1, C, T', h, w]`` fp32, normalised."""
        stream: TinyStream | StreamingEncoder
        if self.encoder is not None:
            stream = TinyStream(self.encoder)
        else:
            stream = encoder_stream(self.vae, plain=self.plain, tile=self.tile)
        read, (total, height, width) = self._reader(clip, stream.device), self._padded_size(clip)
        if self.tile and isinstance(stream, FastEncoder):
            size = total, height, width
            latent = stream.by_tiles(read, size, self._chunk, lambda share: report(STAGE_SHARES["encode"] * share))
            return check_finite(latent, "encoder")
        parts, start = [], 0
        while start < total:
            end = min(start + (self._encoder_chunk if start else 1), total)
            parts.append(check_finite(stream.push(read(start, end)), "encoder"))
            start = end
            report(STAGE_SHARES["encode"] * end / total)
        return torch.cat(parts, 2)

    @property
    def _encoder_chunk(self) -> int:
        """Frames that are encoded together. The tiny encoder has no tiles; where memory is short it gets fewer."""
        short = self.encoder is not None and self.tile is not None
        return temporal_ratio(self.vae.config) if short else self._chunk

    def _padded_size(self, clip: Tensor) -> tuple[int, int, int]:
        """Frames, height and width of a clip as the model takes it."""
        frames, _, height, width = clip.shape
        multiple = self.size_multiple
        return self.valid_lengths.at_least(frames), height + -height % multiple, width + -width % multiple

    def _reader(self, clip: Tensor, device: torch.device) -> Callable[..., Tensor]:
        """``read(start, stop, region)``: frames of the padded clip, ``[1, 3, n, H, W]``, −1…1, on ``device``."""
        _, height, width = self._padded_size(clip)
        padding = (0, width - clip.shape[3], 0, height - clip.shape[2])

        def read(start: int, stop: int, region: Region | None = None) -> Tensor:
            part = clip[torch.arange(start, stop, device=clip.device).clamp(max=len(clip) - 1)]
            part = F.pad(part.to(device, torch.float32) * 2 - 1, padding).transpose(0, 1)[None]
            return part if region is None else part[..., region.top : region.bottom, region.left : region.right]

        return read

    def _injections(self, clip: Tensor, report: Progress) -> Sequence[Injection]:
        """What the denoiser gets beside the latent: nothing here."""
        return ()

    def _denoise(self, latent: Tensor, report: Progress, injections: Sequence[Injection] = ()) -> Tensor:
        blocks = self.denoiser.blocks

        def on_block(done: int) -> None:
            report(STAGE_SHARES["encode"] + STAGE_SHARES["denoise"] * done / len(blocks))

        if self.plain:
            with _on_each_block(blocks, on_block), hooked(self.denoiser, injections):
                velocity = one_step_velocity(self.denoiser, latent, self.prompt.padded(self.device), self.t_star)
        else:
            velocity = self._pass(latent, on_block, injections=injections)
        latent = latent.to(velocity.device)
        if self.latent_skip is not None:
            latent = latent * (1 - self.latent_skip.to(velocity.device))
        return check_finite(latent - self.velocity_scale * velocity, "denoiser")

    def _decode(
        self, latent: Tensor, clip: Tensor, mask: Tensor | None, strength: float, output: Tensor, report: Progress
    ) -> None:
        """Decode into ``output``, blended with ``clip``, a piece at a time."""
        frames, height, width = clip.shape[0], *clip.shape[2:]
        done = 0
        for start, region, part in self._decoded(latent, clip):
            restored = ((check_finite(part, "decoder")[0].transpose(0, 1).clamp(-1, 1) + 1) / 2).to(output)
            # What was padded is cut off: nothing may be left of a piece.
            rows, columns = slice(region.top, min(height, region.bottom)), slice(region.left, min(width, region.right))
            here = slice(start, min(frames, start + len(restored))), slice(None), rows, columns
            source = clip[here]
            restored = restored[: source.shape[0], :, : source.shape[2], : source.shape[3]]
            if mask is not None:
                restored = source.lerp(restored, strength * mask[here].to(output))
            elif strength < 1:
                restored = source.lerp(restored, strength)
            output[here] = restored
            done += source[:, :1].numel()
            report(1 - STAGE_SHARES["decode"] * (1 - min(1.0, done / clip[:, :1].numel())))

    def _decoded(self, latent: Tensor, clip: Tensor) -> Iterator[Piece]:
        step = self._chunk // temporal_ratio(self.vae.config)
        stream = decoder_stream(self.vae, plain=self.plain, tile=self.tile)
        if self.decoder is not None:
            read = self._reader(clip, next(self.decoder.parameters()).device)
            own = stream if self.decoder.config.refines else None
            return decoded_with_input(self.decoder, latent, read, step, self.tile, own)
        return decoded(stream, latent, step, by_tiles=self.tile is not None)

    def memory_for(self, frames: int, height: int, width: int) -> int:
        shared, stages = self._work_bytes(frames, height, width)
        return self.resident_bytes + shared + max(stages.values())

    @property
    def resident_bytes(self) -> int:
        # A stage at a time, the largest counts; on a CPU all of them are there anyway.
        if self.host is None and self.offload and self._home.type != "cpu":
            return max(map(module_bytes, self.modules.values()))
        return super().resident_bytes

    def _work_bytes(self, frames: int, height: int, width: int) -> tuple[int, dict[str, int]]:
        """Bytes beside the weights: what is there all the time, and each stage's peak."""
        frames = self.valid_lengths.at_least(frames)
        height, width = (side + -side % self.size_multiple for side in (height, width))
        item, vae = self._dtype.itemsize, self.vae.config
        latent_count, h, w = latent_frames(vae, frames), height // self._cell, width // self._cell
        latent = 4 * vae.z_dim * latent_count * h * w
        pictures = 2 * 4 * 3 * frames * height * width  # the clip and its restoration
        step = self._chunk // temporal_ratio(vae)
        if self.tile is not None:
            pictures += memory_estimate.tile_buffer_bytes(vae, frames, height, width, item)
        stages = {
            "encoder": self._encoder_bytes(min(self._encoder_chunk, frames), height, width),
            "denoiser": memory_estimate.denoiser_bytes(self.denoiser.config, latent_count, h, w, item, self.plain),
            "decoder": self._decoder_bytes(min(step, latent_count), height, width),
        }
        return memory_estimate.SCRATCH + pictures + 3 * latent, stages

    def _encoder_bytes(self, frames: int, height: int, width: int) -> int:
        """Peak of encoding ``frames`` frames of ``height``×``width`` pixels after earlier ones."""
        item = self._dtype.itemsize
        if self.encoder is not None:
            return memory_estimate.tiny_encoder_bytes(self.encoder.config, frames, height, width, item)
        return memory_estimate.encoder_bytes(self.vae.config, frames, height, width, item, self.plain, self.tile)

    def _decoder_bytes(self, latents: int, height: int, width: int) -> int:
        """Peak of decoding ``latents`` latent frames of ``height``×``width`` pixels after earlier ones."""
        vae, item = self.vae.config, self._dtype.itemsize
        cells = height // self._cell, width // self._cell
        own = memory_estimate.decoder_bytes(vae, latents, *cells, item, self.plain, self.tile)
        if self.decoder is None:
            return own
        frames, config = latents * temporal_ratio(vae), self.decoder.config
        theirs = memory_estimate.conditional_decoder_bytes(config, frames, height, width, item, self.tile)
        return max(own, theirs) if config.refines else theirs


def _latent_skip(values: Sequence[float] | None, channels: int) -> Tensor | None:
    """``[1, C, 1, 1, 1]`` fp32; ``None`` where nothing is left out."""
    if values is None:
        return None
    skip = torch.as_tensor(values, dtype=torch.float32)
    if skip.shape != (channels,) or not torch.isfinite(skip).all():
        raise UnsupportedCheckpoint(
            f"latent_skip is of shape {tuple(skip.shape)}; {channels} finite numbers, one a latent channel, are wanted."
        )
    return skip.view(1, -1, 1, 1, 1)


def _frames_per_chunk(execution: OneStepExecution, ratio: int) -> int:
    """Frames that pass the autoencoder together."""
    frames = execution.frames_per_chunk
    if frames is None:
        fast = CPU_CHUNK if torch.device(execution.runs_on or execution.device).type == "cpu" else FAST_CHUNK
        return math.lcm(FRAME_CHUNK if execution.plain else fast, ratio)
    if frames < 1 or frames % ratio:
        raise InvalidOption(f"{frames} frames a chunk; it must be a multiple of {ratio}.")
    return frames


def _check_execution(how: OneStepExecution) -> None:
    """Raises InvalidOption for options that don't go together."""
    if how.tile is not None and how.tile < TILES[-1] // 2:
        raise InvalidOption(f"tile is {how.tile} pixels; below {TILES[-1] // 2} most of the work is done twice.")
    if how.plain and (how.attention, how.linear, how.compile, how.graphs) != ("auto", "auto", False, False):
        raise InvalidOption("plain is diffusers' own path; leave out attention, linear, compile and graphs.")
    if how.offload and (how.graphs or how.compile):
        raise InvalidOption("offload moves weights, which graphs and compile don't allow; leave out one of them.")


@contextmanager
def _on_each_block(blocks: nn.ModuleList, on_block: Callable[[int], None]) -> Iterator[None]:
    """Call ``on_block`` with 1, 2, … as the blocks finish."""
    handles = [
        block.register_forward_hook(lambda *_, done=number: on_block(done))
        for number, block in enumerate(blocks, start=1)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
