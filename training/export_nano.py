"""Write the trained vividface-nano as a checkpoint folder: ``python -m training.export_nano runs/nano/nano.pt OUT``."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from training.train_nano import NanoModel
from vividface_core.weights import save_checkpoint_folder

META = {
    "system": "vividface",
    "name": "vividface-nano",
    "edition": 1,
    "t_star": 400,
    "velocity_scale": 1.0,
    "native_size": 256,
    "native_frames": 17,
    "licence": "Apache-2.0",
    "training_data": [
        {"package": f"comfyui-workflow-templates-media-{part}", "licence": "MIT"}
        for part in ("api", "assets-01", "assets-02", "image", "other", "video")
    ],
    "note": "The small member of the family: it shows the whole path without a download and without a GPU.",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("state", type=Path)
    parser.add_argument("output", type=Path, help="a folder; replaced if it exists")
    args = parser.parse_args()
    model = NanoModel()
    model.load_state_dict(torch.load(args.state, weights_only=True))
    statistics = {"latents_mean": model.latent_mean.tolist(), "latents_std": model.latent_std.tolist()}
    model.vae.register_to_config(**statistics)
    save_checkpoint_folder(
        args.output, model.vae, model.transformer, model.prompt_row.detach(), META, dtype=torch.float16
    )
    size = sum(file.stat().st_size for file in args.output.rglob("*") if file.is_file())
    print(f"{args.output}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
