"""Publish a trained model: ``python -m training.export RUN/model OUT [--original FOLDER] [--push USER/NAME]``.

Writes the averaged weights of a run as a checkpoint folder with a model card (data, licences, configuration,
measurements), where the system's own code has another layout also in that one, and sends the folder to the Hub.
``--average MODEL`` writes the mean of its weights and of those it was trained from (:mod:`training.weight_average`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from training.command import exit_status
from training.model_card import ModelCard
from training.weight_average import average
from vividface_core.cli.overwrite import add_overwrite, ask_to_replace
from vividface_core.errors import InvalidOption, MissingWeights
from vividface_core.io.atomic import read_json
from vividface_core.io.output_guard import Source, Target, check_paths, unrelated
from vividface_core.restorers.base import Restorer
from vividface_core.restorers.registry import CARD, System, resolve
from vividface_core.weights import load_unchanged, system_of, where

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
    restorer, system = load_unchanged(str(model)), system_of(where(str(model)))
    known = read_json(Path(model) / CARD)
    meta = {**known, **card.entries()}
    resolve(system.save)(output, restorer, meta, dtype)
    (output / "README.md").write_text(card.text(meta, system), encoding="utf-8")
    return output


def export_original(restorer: Restorer, folder: Path, name: str, dtype: torch.dtype, system: System) -> list[Path]:
    """Files in the layout of the system's own code, which ComfyUI's loaders read too.

    Raises:
        InvalidOption: the system has none.
        UnsupportedCheckpoint: a layout that the original code doesn't have; says which.
    """
    if not system.save_original:
        raise InvalidOption(f"Models of {system.id} have no other layout than the checkpoint folder's.")
    return resolve(system.save_original)(restorer, folder, name, dtype)


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
    parser.add_argument("--average", metavar="MODEL", help="write the mean with this model, which the run began from")
    parser.add_argument("--share", type=float, help="with --average: the run's share of it (0.5)")
    parser.add_argument(
        "--original", type=Path, help="also write files in the layout of the system's own code into this folder"
    )
    add_overwrite(parser)
    parser.add_argument("--push", metavar="USER/NAME", help="send the folder to the Hub")
    parser.add_argument("--private", action="store_true")
    args = parser.parse_args(argv)
    return exit_status(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    card = ModelCard.read(args.card) if args.card else ModelCard()
    _check(args)
    with tempfile.TemporaryDirectory() as scratch:
        model = args.model
        if args.average:
            share = 0.5 if args.share is None else args.share
            model = average(model, where(args.average), share, Path(scratch) / "model")
        export(model, args.output, card, DTYPES[args.dtype])
    size = sum(file.stat().st_size for file in args.output.rglob("*") if file.is_file())
    print(f"{args.output}: {size / 1e6:.1f} MB")
    if args.original:
        restorer, system = load_unchanged(str(args.output)), system_of(args.output)
        for path in export_original(restorer, args.original, args.output.name, DTYPES[args.dtype], system):
            print(path)
    if args.push:
        print(push(args.output, args.push, private=args.private))


def _check(args: argparse.Namespace) -> None:
    """Before the work: nothing is written over what is read, nor over another checkpoint unless it is wished.

    Raises:
        InvalidOption: says what would be lost, or which option would be passed over.
    """
    if args.share is not None and not args.average:
        raise InvalidOption("--share is the run's share of a mean; name the other model by --average MODEL.")
    targets = [Target(args.output, "the output", whole=True)]
    targets += [Target(args.original, "--original")] if args.original else []
    sources = [Source(args.model, "the model")] + ([Source(args.card, "--card")] if args.card else [])
    sources += [Source(where(args.average), "--average")] if args.average else []
    check_paths(targets, sources)
    ask_to_replace(unrelated([args.output]), overwrite=args.overwrite)


if __name__ == "__main__":
    sys.exit(main())
