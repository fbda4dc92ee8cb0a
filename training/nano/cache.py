"""Cache random clips as latents.

``python -m training.nano.cache data/nano --vae RUN/model/vae --out data/nano-latents --samples 5000``

Draws clips as data of kind ``clips`` would be drawn on the fly, encodes the clean and the degraded one with an
autoencoder, and stores them as ``training.prepare`` does. The latent stage then needs neither the
autoencoder nor a codec at every step. An interrupted run goes on; another recipe is refused.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from training.config import Data
from training.data.batches import Samples
from training.data.echo import random_clips
from training.data.shards import ShardWriter
from vividface_core.errors import VividFaceError
from vividface_core.faces.masks import latent_mask
from vividface_core.runtime.devices import pick_device
from vividface_core.wan.loading import load_vae
from vividface_core.wan.module_types import WanModule
from vividface_core.wan.vae import WHOLE, encode, spatial_ratio, temporal_ratio


def cache(
    data: Data, vae: WanModule, out: Path, samples: int, *, seed: int, workers: int, validation: bool, recipe: dict
) -> int:
    """Add what is missing of ``samples`` samples to ``out``; returns how many were added."""
    source = Samples(random_clips(data, validation=validation, seed=seed), seed)
    with ShardWriter(out, recipe) as writer:
        missing = [number for number in range(samples) if f"{number:07d}" not in writer]
        loader = DataLoader(Subset(source, missing), batch_size=None, num_workers=workers)
        for number, sample in zip(missing, tqdm(loader, unit="clip", total=len(missing))):
            writer.add(f"{number:07d}", encoded(vae, sample))
    return len(missing)


@torch.inference_mode()
def encoded(vae: WanModule, sample: dict[str, Tensor]) -> dict[str, Tensor]:
    """``high``, ``low.0`` (fp16, normalised) and ``mask`` of one sample of :class:`RandomClips`."""
    device = next(vae.parameters()).device
    both = torch.stack([sample["clean"], sample["degraded"]]).to(device)
    high, low = encode(vae, both, WHOLE).half().cpu()
    mask = latent_mask(sample["pixel_mask"][None], spatial_ratio(vae.config), temporal_ratio(vae.config))[0]
    return {"high": high, "low.0": low, "mask": mask}


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, or 1 after an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("material", type=Path, help="folder of training.nano.prepare")
    add("--vae", type=Path, required=True)
    add("--out", type=Path, required=True)
    add("--samples", type=int, required=True)
    add("--validation", action="store_true", help="of the clips that are kept from training")
    add("--frames", type=int, default=9)
    add("--size", type=int, default=128)
    add("--canvas", type=int, default=256)
    add("--faces", type=float, default=0.8)
    add("--zoom", type=float, nargs=2, default=(0.2, 0.6))
    add("--seed", type=int, default=0)
    add("--workers", type=int, default=2)
    add("--device", default="auto")
    args = parser.parse_args(argv)
    settings = {
        "frames": args.frames,
        "size": args.size,
        "canvas": args.canvas,
        "faces": args.faces,
        "zoom": list(args.zoom),
    }
    recipe = {
        "kind": "random clips",
        "vae": str(args.vae),
        "clips": settings,
        "seed": args.seed,
        "pixels": False,
        "validation": args.validation,
    }
    try:
        data = Data(kind="clips", path=args.material, **settings)
        vae = load_vae(args.vae).to(pick_device(args.device))
        added = cache(
            data,
            vae,
            args.out,
            args.samples,
            seed=args.seed,
            workers=args.workers,
            validation=args.validation,
            recipe=recipe,
        )
    except VividFaceError as error:
        print(f"vividface: {error}", file=sys.stderr)
        return 1
    print(f"{added} samples added to {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
