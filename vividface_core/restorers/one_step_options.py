"""What a user of the one-step restorer may choose about its computation."""

from __future__ import annotations

from dataclasses import dataclass

from vividface_core.restorers.execution import ExecutionConfig, option
from vividface_core.wan import attention as kernels
from vividface_core.wan.optimizations import fp8_linear

WEIGHTS = ("auto", "dense", "compact")


@dataclass(frozen=True)
class OneStepExecution(ExecutionConfig):
    """How a one-step restorer computes. Only ``linear`` and the attention ``sage`` change its results.

    Attributes:
        weights: how quantized weights of the denoiser (fp8, GGUF) are kept. ``dense``: unpacked once to ``dtype``;
            ``compact``: as in the file, unpacked at every use: the same results in less memory, slower; ``auto``:
            dense, but compact on an accelerator of whose free memory the unpacked ones would fill more than half.
        attention: one of :data:`vividface_core.wan.attention.BACKENDS`.
        linear: one of :data:`vividface_core.wan.optimizations.fp8_linear.LINEARS`.
        compile: compile the denoiser's repeated block; where that fails it runs as it is, with a warning.
        graphs: record the denoiser's pass for sizes that come again (CUDA).
        offload: the weights wait in the machine's memory, and are on the device a stage at a time.
        tile: side in pixels of the tiles in which a clip passes the autoencoder, one after the other through all its
            frames: less memory, a little more work, the same pictures; ``None``: whole frames.
        plain: diffusers' own modules and nothing else, to compare with and to train.
        frames_per_chunk: frames that pass the autoencoder together, a multiple of its temporal ratio; ``None``:
            :data:`~vividface_core.restorers.one_step.FAST_CHUNK`, on a CPU
            :data:`~vividface_core.restorers.one_step.CPU_CHUNK`, and :data:`~vividface_core.wan.vae.FRAME_CHUNK` in
            the plain path.
    """

    weights: str = option(
        "auto",
        "quantized weights (fp8, GGUF): dense unpacks them once, compact at every use, in less memory and "
        "slower; auto (default): dense where they fit easily",
        choices=WEIGHTS,
        flag="--weights",
        metavar="HOW",
        widget=True,
    )
    attention: str = option(
        "auto",
        "auto (default), flash, cudnn, efficient or math; flash3 and sage, which isn't exact, need their packages",
        flag="--attention",
        metavar="KERNEL",
        inexact=kernels.INEXACT,
    )
    linear: str = option(
        "auto",
        "the denoiser's large matrices: auto (default, exact), fp8-weights (stored in 8 bits) or fp8 "
        "(multiplied in 8 bits as well, where the device can)",
        flag="--linear",
        metavar="HOW",
        inexact=fp8_linear.INEXACT,
        precision={"fp8 weights": "fp8-weights"},
    )
    compile: bool = option(
        False, "compile the denoiser: takes a minute at first, pays off on a GPU", flag="--compile", together=False
    )
    graphs: bool = option(
        False, "record the denoiser's pass for sizes that come again", flag="--cuda-graphs", together=False
    )
    offload: bool = option(
        False,
        "weights wait in the machine's memory and are on the device a stage at a time: less memory, slower",
        flag="--offload",
        widget=True,
    )
    tile: int | None = option(
        None,
        "the autoencoder in tiles of this side: less memory, the same pictures; default: where memory asks for it",
        kind=int,
        flag="--tile",
        metavar="PIXELS",
        widget=True,
    )
    plain: bool = option(
        False, "diffusers' own modules, slower and larger: the same result, to compare", flag="--plain"
    )
    frames_per_chunk: int | None = option(None, kind=int)
