"""ComfyUI's own Wan 2.1 modules as a restorer: nothing is loaded twice where a graph has them already."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import comfy.model_management as management
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.errors import InvalidOption, InvalidOutput
from vividface_core.restorers.base import Progress, Restorer, translate_oom
from vividface_core.restorers.registry import VIVIDFACE
from vividface_core.wan.transformer import T_STAR, VELOCITY_SCALE

CELL = 8
FRAME_RATIO = 4
TIMES = 1000
"""The timestep of a noise level of 1."""


class ComfyRestorer(Restorer):
    """ẑ_h = z_l − s·DiT(z_l, t*, "") with a core VAE, MODEL and CONDITIONING.

    ComfyUI moves and frees the modules itself, as in its own nodes.

    Raises:
        InvalidOption: they are of another model than Wan 2.1 text-to-video, or don't go together.
    """

    name: ClassVar[str] = "vividface (ComfyUI's modules)"
    valid_lengths, size_multiple = VIVIDFACE.valid_lengths, VIVIDFACE.size_multiple
    native_size, native_frames = VIVIDFACE.native_size, VIVIDFACE.native_frames
    color_default = VIVIDFACE.color_default

    def __init__(self, vae: Any, model: Any, conditioning: Any) -> None:
        self._vae, self._model = vae, model
        inner: Any = getattr(model.model, "diffusion_model", None)
        if type(inner).__name__ != "WanModel":
            raise InvalidOption(f"'model' is a {type(inner).__name__}; a Wan 2.1 text-to-video denoiser is wanted.")
        if getattr(vae, "latent_channels", 0) != 16 or getattr(vae, "latent_dim", 0) != 3:
            raise InvalidOption("'vae' isn't Wan 2.1's autoencoder (16 latent channels); load wan_2.1_vae.")
        self._prompt = conditioning[0][0]
        if self._prompt.shape[-1] != inner.text_embedding[0].in_features:
            raise InvalidOption(
                f"'conditioning' is {self._prompt.shape[-1]} wide, the denoiser wants "
                f"{inner.text_embedding[0].in_features}: encode an empty prompt with Wan's text encoder (UMT5)."
            )

    def restore(
        self, clip: Tensor, *, mask: Tensor | None = None, strength: float = 1.0, progress: Progress | None = None
    ) -> Tensor:
        report = progress or (lambda share: None)
        frames, _, height, width = clip.shape
        padded = self._padded(clip.float())
        steps = 1 + (len(padded) - 1) // FRAME_RATIO  # of the autoencoder, each of which runs all its layers
        coder, blocks = self._vae.first_stage_model, self._model.model.diffusion_model.blocks
        with translate_oom(clip, management.get_torch_device()):
            with _watched(_layers(getattr(coder, "encoder", None)), steps, (0.0, 0.25), report):
                latent = self._vae.encode(padded.movedim(1, -1))
            with _watched(blocks, 1, (0.25, 0.6), report):
                latent = self._denoised(latent)
            with _watched(_layers(getattr(coder, "decoder", None)), steps, (0.6, 0.99), report):
                restored = self._vae.decode(latent).reshape(-1, *padded.shape[2:], 3).movedim(-1, 1)
        restored = restored[:frames, :, :height, :width].to(clip)
        if not torch.isfinite(restored).all():
            raise InvalidOutput("The model made NaN or infinite values. Load it in another precision.")
        weight = strength if mask is None else strength * mask.to(clip)
        return clip.lerp(restored, torch.as_tensor(weight).to(clip))

    def _padded(self, clip: Tensor) -> Tensor:
        """To 4k + 1 frames and whole patches, as :class:`~vividface_core.restorers.one_step.OneStepRestorer` does."""
        frames, _, height, width = clip.shape
        total = self.valid_lengths.at_least(frames)
        clip = clip[torch.arange(total, device=clip.device).clamp(max=frames - 1)]
        return F.pad(clip, (0, -width % self.size_multiple, 0, -height % self.size_multiple), value=0.5)

    def _denoised(self, latent: Tensor) -> Tensor:
        wrapper = self._model.model
        needed = wrapper.memory_required(list(latent.shape))
        management.load_models_gpu([self._model], memory_required=needed)
        device, dtype = self._model.load_device, wrapper.get_dtype()
        dtype = wrapper.manual_cast_dtype or dtype
        z = wrapper.process_latent_in(latent.to(device).float())
        moment = torch.full((len(z),), T_STAR, device=device, dtype=torch.float32)
        # With what other nodes have hung on the MODEL, as the core's samplers hand it on.
        options = dict(self._model.model_options.get("transformer_options", {}))
        options |= {"sigmas": moment / TIMES, "cond_or_uncond": [0]}
        with torch.inference_mode():
            velocity = wrapper.diffusion_model(
                z.to(dtype), moment, self._prompt.to(device, dtype), transformer_options=options
            ).float()
        return wrapper.process_latent_out(z - VELOCITY_SCALE * velocity)

    def memory_for(self, frames: int, height: int, width: int) -> int:
        latent = [1, 16, 1 + math.ceil((frames - 1) / FRAME_RATIO), height // CELL, width // CELL]
        pixels = [1, 3, frames, height, width]
        steps = (
            self._vae.memory_used_encode(pixels, self._vae.vae_dtype),
            self._vae.memory_used_decode(latent, self._vae.vae_dtype),
            self._model.model.memory_required(latent),
        )
        return int(max(steps)) + 8 * math.prod(pixels)

    @property
    def modules(self) -> dict[str, nn.Module]:
        return {}  # ComfyUI places them

    @property
    def timed_as(self) -> nn.Module:
        return self._model.model  # a restorer is made at each run, these modules stay

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> ComfyRestorer:
        return self

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")  # frames wait there; ComfyUI's VAE takes them from any device

    @property
    def dtype(self) -> torch.dtype:
        return self._vae.vae_dtype


@contextmanager
def _watched(layers: Iterable[nn.Module], times: int, span: tuple[float, float], report: Progress) -> Iterator[None]:
    """Report a span of the work as layers finish, each of which is expected so many times."""
    layers = list(layers)
    first, last = span
    done, expected = 0, max(1, len(layers) * times)

    def tick(*_: Any) -> None:
        nonlocal done
        done += 1
        report(first + (last - first) * min(1.0, done / expected))

    handles = [layer.register_forward_hook(tick) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    report(last)


def _layers(module: nn.Module | None) -> list[nn.Module]:
    """The convolutions of a module, wherever they are."""
    return [] if module is None else [part for part in module.modules() if isinstance(part, nn.modules.conv._ConvNd)]
