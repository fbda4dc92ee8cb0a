"""What the two codebooks say of a degraded clip, as a picture.

``python -m training.evaluation.prior_pictures MODEL --out PICTURE [--clip NAME] [--frames N]``

MODEL is a checkpoint of stage II (BFVR-STC's, or the one that DVFace's priors come from). A held-out clip is degraded
in the paper's ranges, and four moments of it stand side by side, from top to bottom: the degraded frame; the map
of its spatial codes and the one of its temporal codes, each code in a colour of its own, near entries in near colours;
what the generator makes of these codes; what it makes of the codes nearest to the sharp clip's latent; the truth.
Places that look alike get the same code; the temporal map changes where something moves.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from training.command import exit_status
from training.evaluation.held_out import CLIPS, HeldOut
from vividface_core.bfvr_stc import CodeFormer3D, checkpoint
from vividface_core.degrade import DegradationRanges
from vividface_core.errors import InvalidOption
from vividface_core.faces.detect import load_detector

MOMENTS = 4
SEED = 0
"""Of the degradation."""


class Codes(NamedTuple):
    """Attributes:
    spatial, temporal: numbers of the codes, ``[t, h, w]``.
    decoded: what the generator makes of them, ``[2 t, 3, H, W]``, 0…1.
    """

    spatial: Tensor
    temporal: Tensor
    decoded: Tensor


@torch.inference_mode()
def looked_up(net: CodeFormer3D, clip: Tensor) -> Codes:
    """The codes that stage II predicts for a degraded clip ``[T, 3, H, W]``, 0…1, T even."""
    z = net.encode(clip.transpose(0, 1)[None])
    return _decoded(net, net.codes(z), z.shape)


@torch.inference_mode()
def nearest(net: CodeFormer3D, encoder: torch.nn.Module, clip: Tensor) -> Codes:
    """The codes nearest to the latent that ``encoder``, stage I's, makes of a sharp clip."""
    z = encoder.encode(clip.transpose(0, 1)[None])  # type: ignore[operator]  # of VQAutoEncoder3D
    found = net.quantize(z)
    return _decoded(net, (found.indices_s.flatten(), found.indices_t.flatten()), z.shape)


def _decoded(net: CodeFormer3D, codes: tuple[Tensor, Tensor], shape: torch.Size) -> Codes:
    spatial, temporal = (indices.reshape(shape[2], -1) for indices in codes)
    decoded = net.decode(spatial, temporal, shape)[0].transpose(0, 1).clamp(0, 1)
    return Codes(spatial.view(shape[2:]), temporal.view(shape[2:]), decoded)


def colors(book: Tensor) -> Tensor:
    """A colour for each of a codebook's entries ``[codes, c]``: ``[codes, 3]``, 0…1, by the three directions in which
    they differ most, each by rank, so that every shade is there."""
    scores = torch.pca_lowrank(book.float(), q=3, niter=4)[0]
    return scores.argsort(0).argsort(0) / max(1, len(book) - 1)


def sheet(net: CodeFormer3D, low: Tensor, truth: Tensor, encoder: torch.nn.Module | None) -> Image.Image:
    """Rows as in the module's text; without ``encoder`` the row of the nearest codes is left out."""
    codes = looked_up(net, low)
    books = (net.quantize.embedding_s.weight, net.quantize.embedding_t.weight)
    size, moments = truth.shape[2:], np.linspace(0, len(codes.spatial) - 1, MOMENTS).round().astype(int)
    rows = [low[2 * moments]]
    for indices, book in zip((codes.spatial, codes.temporal), books):
        picture = colors(book.detach())[indices[moments]].permute(0, 3, 1, 2)
        rows.append(F.interpolate(picture, tuple(size), mode="nearest"))
    rows.append(codes.decoded[2 * moments])
    if encoder is not None:
        rows.append(nearest(net, encoder, truth).decoded[2 * moments])
    rows.append(truth[2 * moments])
    whole = torch.cat([torch.cat(list(row), 2) for row in rows], 1)
    return Image.fromarray((whole.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def _clip(name: str) -> HeldOut:
    for clip in CLIPS:
        if clip.name == name:
            return clip
    raise InvalidOption(f"There is no clip {name!r}. Known: {', '.join(clip.name for clip in CLIPS)}.")


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, or 1 after an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", type=Path, help="checkpoint of stage II")
    add("--autoencoder", type=Path, help="stage I's, for the row of the sharp clip's nearest codes")
    add("--out", type=Path, required=True, metavar="PICTURE")
    add("--clip", default="franck@100", metavar="NAME", help="a held-out clip; default: %(default)s")
    add("--frames", type=int, default=16, metavar="N", help="an even number; default: %(default)s")
    add("--size", type=int, metavar="PIXELS", help="side of the face crop; default: the model's")
    args = parser.parse_args(argv)

    def work() -> None:
        if args.frames < 2 or args.frames % 2:
            raise InvalidOption("--frames must be even: the network joins frames in pairs.")
        clip = _clip(args.clip)
        net, known = checkpoint.load(args.model, dtype=torch.float32)
        if not isinstance(net, CodeFormer3D):
            raise InvalidOption(f"{args.model} is stage I; the lookups of stage II are shown.")
        encoder = checkpoint.load(args.autoencoder, dtype=torch.float32)[0] if args.autoencoder else None
        side = args.size or known.native_size
        truth = clip.cut(args.frames, side, load_detector("mtcnn"))
        low = DegradationRanges().sample(SEED)(truth)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        sheet(net.eval(), low, truth, encoder).save(args.out, quality=90)

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
