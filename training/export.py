"""Publish a trained model: ``python -m training.export RUN/model OUT [--original FOLDER] [--push USER/NAME]``.

Writes the averaged weights of a run as a checkpoint folder with a model card (data, licences, configuration,
measurements), as safetensors with the original Wan names, which ComfyUI's own loaders read, and sends the folder to
the Hub.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from training.command import exit_status
from training.model_card import ModelCard
from vividface_core.errors import InvalidOption, MissingWeights, UnsupportedCheckpoint
from vividface_core.io.atomic import read_json
from vividface_core.io.tensors import write_tensors
from vividface_core.restorers.one_step import OneStepRestorer
from vividface_core.wan.state_dict import original_transformer_names, original_vae_names
from vividface_core.weights import load_restorer
from vividface_core.weights.folder import CARD, save_checkpoint_folder

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def export(model: Path, output: Path, card: ModelCard, dtype: torch.dtype = torch.float16) -> Path:
    """Write ``output`` from a run's ``model/``: weights in ``dtype``, ``vividface.json`` and ``README.md``.

    Raises:
        UnsupportedCheckpoint: ``model`` is no checkpoint, or a weight doesn't fit ``dtype``.
        InvalidOption: ``output`` exists and is something else.
    """
    output = Path(output)
    if output.exists() and not (output / CARD).is_file():
        raise InvalidOption(f"{output} exists and is no checkpoint folder; choose another output.")
    restorer = load_restorer(str(model), dtype=torch.float32, plain=True)
    known = read_json(Path(model) / CARD)
    meta = {**known, **card.entries()}
    save_checkpoint_folder(
        output, restorer.vae, restorer.transformer, restorer.prompt, meta, dtype, decoder=restorer.decoder,
        encoder=restorer.encoder,
    )  # fmt: skip
    (output / "README.md").write_text(card.text(meta), encoding="utf-8")
    return output


def export_original(
    restorer: OneStepRestorer, folder: Path, name: str, dtype: torch.dtype = torch.float16
) -> list[Path]:
    """``<name>_dit.safetensors`` and ``<name>_vae.safetensors`` in Wan's own names, for ``diffusion_models`` and
    ``vae`` of ComfyUI.

    Raises:
        UnsupportedCheckpoint: a layout that the original code doesn't have; says which.
    """
    transformer, vae = restorer.transformer, restorer.vae
    config = transformer.config
    if config.attention_head_dim != 128 or tuple(config.patch_size) != (1, 2, 2):
        raise UnsupportedCheckpoint(
            f"Original Wan has heads of 128 channels and patches of 1×2×2; this denoiser has heads of "
            f"{config.attention_head_dim} and patches of {'×'.join(map(str, config.patch_size))}. Only the checkpoint "
            "folder can carry it."
        )
    if vae.config.is_residual or vae.config.patch_size or vae.config.z_dim != 16:
        raise UnsupportedCheckpoint(
            "Wan 2.1's autoencoder has 16 channels, no patches and no residual shortcuts; this one has another layout. "
            "Only the checkpoint folder can carry it."
        )
    written = []
    names = {
        "dit": (transformer.state_dict(), original_transformer_names(transformer.state_dict())),
        "vae": (vae.state_dict(), original_vae_names(vae.state_dict(), vae.config.num_res_blocks)),
    }
    for part, (state, renamed) in names.items():
        tensors = {renamed[key]: value.to("cpu", dtype, copy=True).contiguous() for key, value in state.items()}
        path = Path(folder) / f"{name}_{part}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, tensors, {"format": "pt"})
        written.append(path)
    return written


def push(folder: Path, repository: str, *, private: bool = False, endpoint: str | None = None) -> str:
    """Send an exported folder to the Hub; returns the address of the commit.

    The token is the one of ``huggingface-cli login`` or ``$HF_TOKEN``.

    Raises:
        MissingWeights: the folder isn't an exported one.
        InvalidOption: the Hub refused, or can't be reached; says why.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    if not (folder / CARD).is_file() or not (folder / "README.md").is_file():
        raise MissingWeights(f"{folder} is no exported checkpoint; make one with training.export first.")
    api = HfApi(endpoint=endpoint)
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        name = read_json(folder / CARD).get("name", folder.name)
        found = api.upload_folder(repo_id=repository, folder_path=folder, commit_message=f"Upload {name}")
    except (HfHubHTTPError, OSError) as error:
        raise InvalidOption(f"{repository} could not be written: {error}") from error
    return str(found.commit_url)


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, or 1 after an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the model/ folder of a run")
    parser.add_argument("output", type=Path)
    parser.add_argument("--card", type=Path, help="JSON: name, licence, training_data, metrics … (see model_card)")
    parser.add_argument("--dtype", choices=DTYPES, default="fp16")
    parser.add_argument("--original", type=Path, help="also write original Wan files into this folder")
    parser.add_argument("--push", metavar="USER/NAME", help="send the folder to the Hub")
    parser.add_argument("--private", action="store_true")
    args = parser.parse_args(argv)
    return exit_status(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    card = ModelCard.read(args.card) if args.card else ModelCard()
    export(args.model, args.output, card, DTYPES[args.dtype])
    size = sum(file.stat().st_size for file in args.output.rglob("*") if file.is_file())
    print(f"{args.output}: {size / 1e6:.1f} MB")
    if args.original:
        restorer = load_restorer(str(args.output), dtype=torch.float32, plain=True)
        for path in export_original(restorer, args.original, args.output.name, DTYPES[args.dtype]):
            print(path)
    if args.push:
        print(push(args.output, args.push, private=args.private))


if __name__ == "__main__":
    sys.exit(main())
