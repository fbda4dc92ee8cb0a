"""BFVR-STC: codes of the sharp (or steady) clip looked up in two codebooks, and decoded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.bfvr_stc import CodeFormer3D
from vividface_core.bfvr_stc.checkpoint import DEFLICKER, KINDS, SYSTEM, load
from vividface_core.errors import UnsupportedCheckpoint
from vividface_core.restorers.base import (
    DEFLICKER_BRIGHTNESS,
    DEFLICKER_PIXEL,
    TASKS,
    Progress,
    Restorer,
    check_finite,
    check_request,
    translate_oom,
)
from vividface_core.restorers.lengths import ClipLengths

log = logging.getLogger(__name__)

SHARES = {"encoder": 0.4, "lookup": 0.1, "generator": 0.5}
"""Parts of the work, by arithmetic operations at 24×512×512 with released widths."""
SCRATCH = 64 << 20
"""Bytes that the libraries of convolution and attention set aside for themselves, whatever the size."""
FULL_MAPS = {"cpu": 5.5, "other": 4.5}
"""Maps of full size and ``nf`` channels that live at once in the first level: a residual block's input, its normalized
copy and its result, and a convolution's own copies. Measured on a CPU (5.3); reckoned elsewhere."""
LATENT_MAPS = 10
"""Maps of the latent's size in a block with attention: input, normalized, queries, keys and values, in two layouts."""


def tasks_of(kind: str) -> tuple[str, ...]:
    """What a kind of checkpoint was trained for, of :data:`~vividface_core.restorers.base.TASKS`: a released
    de-flickerer may be for either flicker, stage I is for nothing."""
    either = {DEFLICKER: (DEFLICKER_BRIGHTNESS, DEFLICKER_PIXEL)}
    return either.get(kind) or tuple(task for known, task in zip(KINDS, TASKS, strict=True) if known == kind)


class CodebookRestorer(Restorer):
    """Restores or de-flickers a clip with a :class:`~vividface_core.bfvr_stc.CodeFormer3D`.

    The clip goes through as a whole, because normalization and attention see all of it: its length and its borders
    have a say in every pixel. The network takes an even number of frames and sides that are multiples of
    :attr:`size_multiple`: the last frame is repeated, the right and bottom borders are continued, and both are cut off
    again. Colours stay as the network makes them; the released scripts stretch every clip to its full range.
    """

    name: ClassVar[str] = SYSTEM
    valid_lengths = ClipLengths(2)
    takes_host = True

    def __init__(
        self,
        net: CodeFormer3D,
        *,
        kind: str = KINDS[0],
        native_size: int = 512,
        native_frames: int = 24,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """
        Args:
            kind: what the network was trained for; see :data:`vividface_core.bfvr_stc.checkpoint.KINDS`.
            native_size, native_frames: side and length of the clips that it was trained on.
            dtype: type of weights and computation; fp32 is the released one.
        """
        self.net, self.kind = net.eval(), kind
        self.native_size, self.native_frames = native_size, native_frames
        self.size_multiple = net.size_multiple
        self._lookup = _Lookup(net)
        self._told: set[tuple[int, int]] = set()
        self.to(device, dtype)

    @property
    def color_default(self) -> str:  # type: ignore[override]  # read here, set elsewhere
        """Colour match for ``auto``: a de-flickerer's low frequencies are its result, and must not be matched away."""
        return "wavelet" if self.kind == KINDS[0] else "none"

    @property
    def tasks(self) -> tuple[str, ...]:  # type: ignore[override]  # read here, set elsewhere
        """What it was trained for; see :func:`tasks_of`."""
        return tasks_of(self.kind)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Each may be moved on its own; a clip follows them from device to device."""
        return {"encoder": self.net.encoder, "lookup": self._lookup, "generator": self.net.generator}

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> CodebookRestorer:
        self.net.to(device=device, dtype=dtype)
        return self

    @property
    def device(self) -> torch.device:
        return _device(self.net.encoder) if self.host is None else self.host.device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.net.encoder.parameters()).dtype

    def restore(
        self, clip: Tensor, *, mask: Tensor | None = None, strength: float = 1.0, progress: Progress | None = None
    ) -> Tensor:
        check_request(clip, mask, strength)
        if strength == 0:
            return clip.clone()
        frames, height, width = clip.shape[0], *clip.shape[2:]
        # Made outside of inference mode: the caller may go on with it as he likes.
        output = torch.empty_like(clip)
        with torch.inference_mode(), translate_oom(clip, self.device):
            restored = self._restored(self._padded(clip), progress or (lambda share: None))
            restored = restored[0].transpose(0, 1)[:frames, :, :height, :width].to(output)
            if mask is not None:
                restored = clip.lerp(restored, strength * mask.to(output))
            elif strength < 1:
                restored = clip.lerp(restored, strength)
            output.copy_(restored)
        return output

    def _padded(self, clip: Tensor) -> Tensor:
        """``[1, 3, T, H, W]`` of a length and size that the network takes."""
        frames, height, width = clip.shape[0], *clip.shape[2:]
        x = clip[torch.arange(frames + frames % 2, device=clip.device).clamp(max=frames - 1)]
        # Continued, not black: a dark border would shift the statistics that all pixels are normalized with.
        x = F.pad(x, (0, -width % self.size_multiple, 0, -height % self.size_multiple), mode="replicate")
        self._tell_size(*x.shape[2:])
        return x.transpose(0, 1)[None].to(self.device, self.dtype)

    def _tell_size(self, height: int, width: int) -> None:
        if not self.net.fits_table(height, width) and (height, width) not in self._told:
            self._told.add((height, width))
            side = self.net.table_side * self.net.size_multiple
            log.warning(
                "The model knows places in pictures of %d×%d; for %d×%d its table of positions is interpolated.",
                side,
                side,
                width,
                height,
            )

    def _restored(self, x: Tensor, report: Progress) -> Tensor:
        net, start = self.net, 0.0
        memory = self._work_bytes(x.shape[2], *x.shape[3:])

        def part(stage: str, steps: int) -> Callable[[int], None]:
            first = start
            return lambda done: report(first + SHARES[stage] * done / steps)

        with self._placed("encoder", memory):
            z = check_finite(net.encode(x, part("encoder", len(net.encoder.blocks))), "encoder")
        start += SHARES["encoder"]
        with self._placed("lookup", memory):
            z = z.to(_device(self._lookup))
            codes = net.codes(z, part("lookup", 2 * z.shape[2]))
            vectors = check_finite(net.quantize.vectors(*codes, z.shape), "lookup")
        start += SHARES["lookup"]
        with self._placed("generator", memory):
            steps = part("generator", len(net.generator.blocks))
            out = net.generator(vectors.to(_device(net.generator)), steps)
            return check_finite(out, "generator")

    def _placed(self, stage: str, memory: int) -> AbstractContextManager:
        return nullcontext() if self.host is None else self.host.placed(stage, memory)

    def memory_for(self, frames: int, height: int, width: int) -> int:
        return self.resident_bytes + self._work_bytes(frames, height, width)

    def _work_bytes(self, frames: int, height: int, width: int) -> int:
        """Bytes beside the weights."""
        return clip_bytes(self.net, frames, height, width, self.dtype, self.device)


def clip_bytes(
    net: CodeFormer3D, frames: int, height: int, width: int, dtype: torch.dtype, device: torch.device
) -> int:
    """Peak of a clip's way through the network, without the weights."""
    frames += frames % 2
    height, width = (side + -side % net.size_multiple for side in (height, width))
    config, item, pixels = net.config, dtype.itemsize, frames * height * width
    maps = FULL_MAPS["cpu" if device.type == "cpu" else "other"]
    first_level = maps * config["nf"] * pixels * item
    latent = pixels // 2 // net.size_multiple**2
    widest = max(config["emb_dim"], config["nf"] * config["ch_mult"][-1])
    attention = LATENT_MAPS * widest * latent * item
    scores = 3 * config["codebook_size"] * latent // (frames // 2) * item
    pictures = 3 * pixels * (2 * 4 + 2 * item)  # the clip and its restoration, and both as the network has them
    return int(SCRATCH + pictures + max(first_level, attention, scores))


class _Lookup(nn.Module):
    """What stands between encoder and generator, under one roof; the network keeps the same parameters."""

    def __init__(self, net: CodeFormer3D) -> None:
        super().__init__()
        self.quantize = net.quantize
        for branch in "st":
            self.register_parameter(f"position_emb_{branch}", getattr(net, f"position_emb_{branch}"))
            for name in (f"{branch}_ft_layers", f"{branch}_idx_pred_layer"):
                self.add_module(name, getattr(net, name))


def _device(module: nn.Module) -> torch.device:
    # Asked of the weights: a host may move them behind the restorer's back.
    return next(module.parameters()).device


def load_codebook_restorer(
    path: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    n_head: int | None = None,
    residual: str | None = None,
) -> CodebookRestorer:
    """A restorer out of a released file or a folder of the project.

    Args:
        dtype: type of the computation; ``None``: fp32, as released.
        n_head, residual: see :func:`vividface_core.bfvr_stc.checkpoint.load`.

    Raises:
        UnsupportedCheckpoint: besides what :func:`~vividface_core.bfvr_stc.checkpoint.load` raises, stage I alone.
    """
    dtype = dtype or torch.float32
    net, known = load(path, device=device, dtype=dtype, n_head=n_head, residual=residual)
    if not isinstance(net, CodeFormer3D):
        raise UnsupportedCheckpoint(f"{path} is stage I alone, an autoencoder; a model that restores is stage II.")
    return CodebookRestorer(
        net,
        kind=known.kind,
        native_size=known.native_size,
        native_frames=known.native_frames,
        device=device,
        dtype=dtype,
    )
