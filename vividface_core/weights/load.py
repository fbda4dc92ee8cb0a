"""How a name becomes a restorer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vividface_core.errors import InvalidOption, MissingDependency, MissingWeights, UnsupportedCheckpoint
from vividface_core.io.folders import entries
from vividface_core.io.quantization import QuantizedWeight, attach_scales
from vividface_core.io.tensors import SUFFIXES
from vividface_core.restorers.base import Restorer
from vividface_core.restorers.one_step import OneStepRestorer
from vividface_core.runtime.devices import default_dtype
from vividface_core.runtime.memory import free_memory
from vividface_core.wan.empty_prompt import FILE_NAME as PROMPT_FILE
from vividface_core.wan.empty_prompt import EmptyPrompt, compute_empty_prompt
from vividface_core.wan.loading import load_transformer, load_vae
from vividface_core.wan.state_dict import read_state_dict
from vividface_core.weights.catalog import UMT5, VAE
from vividface_core.weights.detect import folder_kind, inspect, read_card
from vividface_core.weights.folder import CARD, CODECS, FORMAT, load_codec
from vividface_core.weights.locate import model_folders, where

WEIGHTS = ("auto", "dense", "compact")
"""How a quantized denoiser is kept: see :func:`load_restorer`."""


def load_restorer(
    name_or_path: str | Path = "vividface-nano",
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    folders: Iterable[str | Path] | None = None,
    weights: str = "auto",
    plain: bool = False,
    **options: Any,
) -> Restorer:
    """Make a restorer ready to run.

    Args:
        name_or_path: a name (see :func:`where`), a checkpoint folder, a diffusers folder, a folder with the loose
            official files, or one denoiser file with its autoencoder and text encoder (or empty prompt) beside it.
        device: where to compute.
        dtype: type of the computation; ``None``: bf16 where the device computes in it, else fp32.
        folders: looked into before the default models folder.
        weights: how quantized weights of the denoiser (fp8, GGUF) are kept. ``dense``: unpacked once to ``dtype``;
            ``compact``: as in the file, unpacked at every use: the same results in less memory, slower; ``auto``:
            dense, but compact on an accelerator of whose free memory the unpacked ones would fill more than half.
        plain: diffusers' own modules, unchanged: to compare with and to train.
        options: others of :class:`~vividface_core.restorers.one_step.OneStepRestorer`, as ``attention``.

    Raises:
        MissingWeights: something is not here; tells the file, the folder and the address.
        MissingDependency: a GGUF file, and no package to read it with.
        InvalidOption: no such name, or ``compact`` for weights that aren't quantized.
        UnsupportedCheckpoint: the content is damaged, of another model, or does not belong together.
    """
    if weights not in WEIGHTS:
        raise InvalidOption(f"weights is {weights!r}; choose {', '.join(WEIGHTS)}.")
    place = torch.device("cpu" if options.get("offload") else device)
    how = _How(place, dtype or default_dtype(device), weights, plain)
    folders, options = list(folders or ()), {"device": device, "dtype": how.dtype, "plain": plain, **options}
    path = where(name_or_path, folders)
    if folder_kind(path):
        return _load_folder(path, how, options)
    return _load_loose(path, model_folders(folders), how, options)


@dataclass(frozen=True)
class _How:
    """Where a restorer computes, in which type, how it keeps quantized weights, and whether by diffusers' modules."""

    device: torch.device
    dtype: torch.dtype
    weights: str
    plain: bool

    def denoiser(self, path: Path) -> nn.Module:
        path = path / "transformer" if (path / "transformer").is_dir() else path
        return load_transformer(path, dtype=self.dtype, device=self.device, compact=self._compact(path),
                                light=not self.plain)  # fmt: skip

    def autoencoder(self, path: Path) -> nn.Module:
        return load_vae(path, dtype=self.dtype, device=self.device, light=not self.plain)

    def _compact(self, path: Path) -> bool:
        if self.weights != "auto" or self.device.type == "cpu":
            return self.weights == "compact"
        state = attach_scales(read_state_dict(path, "wan-dit"), path)
        quantized = [value.numel() for value in state.values() if isinstance(value, QuantizedWeight)]
        return sum(quantized) * self.dtype.itemsize > free_memory(self.device) / 2


def _load_folder(folder: Path, how: _How, options: Mapping[str, Any]) -> Restorer:
    card = read_card(folder)
    if card["system"] != "vividface" or card["format"] != FORMAT:
        raise UnsupportedCheckpoint(
            f"{folder} is of system {card['system']!r}, format {card['format']}; this version loads 'vividface', "
            f"format {FORMAT}. Update, or choose another checkpoint."
        )
    keys = ("t_star", "velocity_scale", "native_size", "native_frames")
    if bad := [key for key in keys if isinstance(card[key], bool) or not isinstance(card[key], (int, float))]:
        raise UnsupportedCheckpoint(f"{folder / CARD}: {bad[0]} is {card[bad[0]]!r}, but a number was expected.")
    prompt = _prompt([folder], folder / PROMPT_FILE)
    return OneStepRestorer(
        how.autoencoder(folder),
        how.denoiser(folder),
        prompt,
        **{kind: _codec(folder, kind, card, how) for kind in CODECS},
        latent_skip=card.get("latent_skip"),
        **options,
        **{key: card[key] for key in keys},
    )


def _codec(folder: Path, kind: str, card: Mapping[str, Any], how: _How) -> nn.Module | None:
    """The conditional decoder or the tiny encoder that the card names, if it names one."""
    if card.get(kind) is None:
        return None
    if card[kind] != kind:
        raise UnsupportedCheckpoint(f"{folder / CARD}: {kind} is {card[kind]!r}; this version knows {kind!r}.")
    return load_codec(folder / kind, kind, dtype=how.dtype, device=how.device)


def _load_loose(path: Path, places: list[Path], how: _How, options: Mapping[str, Any]) -> Restorer:
    """From single files: the denoiser named (or the only one of a folder), the others beside it or in ``places``."""
    home = path if path.is_dir() and not (path / "config.json").is_file() else path.parent
    denoiser = _choose([home], "wan-dit") if path == home else path
    if denoiser is None:
        raise UnsupportedCheckpoint(f"{home} holds no Wan denoiser; wanted is vividface.ckpt or another one.")
    transformer = how.denoiser(denoiser)
    search = list(dict.fromkeys([home, *places, *(place / "vividface" for place in places)]))
    vae = _choose(search, "wan-vae", prefer=VAE.path)
    if vae is None:
        raise MissingWeights(
            f"{denoiser.name} needs Wan 2.1's autoencoder: put {VAE.path} into {home}, from {VAE.address}"
        )
    return OneStepRestorer(how.autoencoder(vae), transformer, _prompt(search, home / PROMPT_FILE), **options)


def _choose(folders: Iterable[Path], part: str, prefer: str = "") -> Path | None:
    """The file of that kind in the first folder that has one.

    Raises:
        UnsupportedCheckpoint: several, and none has the ``prefer``-red name.
        MissingDependency: there is none but a file that can't be looked into for want of a package.
    """
    closed: MissingDependency | None = None
    for folder in folders:
        found = []
        for file in entries(folder):
            if file.is_file() and file.suffix in SUFFIXES:
                try:
                    if inspect(file).kind.startswith(part):
                        found.append(file)
                except (UnsupportedCheckpoint, MissingWeights, OSError):
                    continue  # not ours; the folder may be shared
                except MissingDependency as error:
                    closed = closed or error
        if len(found) > 1:
            named = [file for file in found if file.name == prefer]
            if not named:
                names = ", ".join(file.name for file in found)
                raise UnsupportedCheckpoint(
                    f"{folder} holds several of the kind '{part}' ({names}). Leave one there, or name it by its path."
                )
            found = named
        if found:
            return found[0]
    if closed is not None:
        raise closed
    return None


def _prompt(folders: Sequence[Path], keep: Path) -> EmptyPrompt:
    """The embedding of "": stored in one of ``folders``, or computed by a text encoder there and kept for next time."""
    for folder in folders:
        if (folder / PROMPT_FILE).is_file():
            return EmptyPrompt.load(folder / PROMPT_FILE)
    for folder in folders:
        encoder = (
            folder / "text_encoder" if (folder / "text_encoder").is_dir() else _choose([folder], "umt5", UMT5.path)
        )
        if encoder is None:
            continue
        prompt = compute_empty_prompt(encoder)
        if os.access(keep.parent, os.W_OK):
            prompt.save(keep)
        return prompt
    raise MissingWeights(
        f"The embedding of the empty prompt is missing: put {PROMPT_FILE} into {keep.parent}, or {UMT5.path} from "
        f"{UMT5.address}, from which it is computed once."
    )
