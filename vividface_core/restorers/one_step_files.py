"""Checkpoints of the one-step restorer: recognised by their content, and loaded.

The project's own folder holds ``vae/`` and ``transformer/`` in diffusers' layout, ``empty_prompt.safetensors`` and the
card. Official files, ComfyUI's and diffusers' are loaded as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vividface_core.errors import MissingDependency, MissingWeights, UnsupportedCheckpoint
from vividface_core.io.atomic import read_json
from vividface_core.io.folders import entries, is_file
from vividface_core.io.quantization import QuantizedWeight, attach_scales, type_names
from vividface_core.io.tensors import SUFFIXES, container, read_tensors
from vividface_core.restorers.base import Restorer
from vividface_core.restorers.one_step import OneStepRestorer
from vividface_core.restorers.one_step_options import OneStepExecution
from vividface_core.restorers.registry import CARD, LOOSE, CheckpointFiles, Contents, Found
from vividface_core.runtime.memory import free_memory
from vividface_core.wan.conditional_decoder import ConditionalDecoder, DecoderConfig
from vividface_core.wan.empty_prompt import FILE_NAME as PROMPT_FILE
from vividface_core.wan.empty_prompt import EmptyPrompt, compute_empty_prompt
from vividface_core.wan.loading import load_transformer, load_vae, read_config, transformer_config, vae_config
from vividface_core.wan.module_types import WanModule
from vividface_core.wan.official_files import UMT5, VAE
from vividface_core.wan.state_dict import kind_of, network_in, read_state_dict
from vividface_core.wan.tiny_encoder import EncoderConfig, TinyEncoder
from vividface_core.wan.transformer import T_STAR, VELOCITY_SCALE

SYSTEM = "vividface"
DECODER, ENCODER, WEIGHTS_FILE = "decoder", "encoder", "model.safetensors"
"""Folders of a conditional decoder and of a tiny encoder, and the file in each."""
CODECS: dict[str, tuple[type[nn.Module], Any]] = {
    DECODER: (ConditionalDecoder, DecoderConfig),
    ENCODER: (TinyEncoder, EncoderConfig),
}
"""What a checkpoint may hold beside an autoencoder's own halves, by its entry in the card: net and config."""
FORMAT = 1
DEFAULTS = {
    "format": FORMAT,
    "system": SYSTEM,
    "t_star": T_STAR,
    "velocity_scale": VELOCITY_SCALE,
    "native_size": 512,
    "native_frames": 81,
}
"""What a card says where it is silent: the released model."""
NUMBERS = ("t_star", "velocity_scale", "native_size", "native_frames")
"""Entries of the card that the restorer takes."""


def detect(contents: Contents) -> Found | None:
    """What the contents are to this system: a whole checkpoint, a denoiser, or a part that goes with one."""
    path = contents.path
    kind = folder_kind(path)
    if kind is not None:
        card = {**DEFAULTS, **(contents.card or {})}
        return Found(kind, True, card, format_of(path)) if card["system"] == SYSTEM else None
    if path.is_dir() and not _one_network(path):
        return Found(LOOSE, True) if _holds_parts(path) else None
    return _network(contents)


def _network(contents: Contents) -> Found | None:
    """One network alone: a denoiser, an autoencoder, a text encoder or an empty prompt."""
    path = contents.path
    tensors = attach_scales(network_in(contents.tensors, path)[0], path)
    kind = "empty prompt" if "rows" in tensors and len(tensors) <= 2 else kind_of(tensors)
    if kind is None:
        return None
    readers = {"wan-dit-original": transformer_config, "wan-vae-original": vae_config}
    config = read_config(path) or (readers[kind](tensors, path) if kind in readers else {})
    return Found(kind, kind.startswith("wan-dit"), config, f"{container(path)}, {type_names(tensors)}")


def folder_kind(path: Path) -> str | None:
    """``checkpoint folder``, ``diffusers folder``, or ``None`` for anything else."""
    if is_file(path / CARD):
        return "checkpoint folder"
    if all(is_file(path / part / "config.json") for part in ("vae", "transformer")):
        return "diffusers folder"
    return None


def format_of(folder: Path) -> str:
    """How the denoiser of a folder is stored; "" where that can't be told, which is loading's to say."""
    try:
        found = _network(Contents(folder / "transformer"))
    except Exception:  # whatever a file of somebody's makes of a reader: a listing goes on
        return ""
    return "" if found is None else found.format


def _one_network(folder: Path) -> bool:
    """Whether the folder is the home of one set of weights, not of single files."""
    names = [file.name for file in entries(folder) if is_file(file)]
    single = sum(Path(name).suffix in SUFFIXES for name in names) == 1
    return single or "config.json" in names or any(name.endswith(".index.json") for name in names)


def _holds_parts(folder: Path) -> bool:
    """Whether a file in the folder is one of this system's.

    Raises:
        MissingDependency: none is but one that can't be looked into for want of a package.
    """
    closed: MissingDependency | None = None
    for file in entries(folder):
        if file.is_file() and file.suffix in SUFFIXES:
            try:
                if _network(Contents(file)) is not None:
                    return True
            except (UnsupportedCheckpoint, MissingWeights, OSError):
                continue
            except MissingDependency as error:
                closed = closed or error
    if closed is not None:
        raise closed
    return False


def read_card(folder: Path) -> dict[str, Any]:
    """What a folder's card says, with the defaults for what it leaves out.

    Raises:
        UnsupportedCheckpoint: it is no JSON object.
    """
    path = folder / CARD
    return {**DEFAULTS, **(read_json(path) if path.is_file() else {})}


def load(files: CheckpointFiles, execution: OneStepExecution) -> Restorer:
    """A restorer from a checkpoint folder, a diffusers folder, a folder with the loose official files, or one denoiser
    file with its autoencoder and text encoder (or empty prompt) beside it.

    Raises:
        MissingWeights: a part is not here; tells the file, the folder and the address.
        MissingDependency: a GGUF file, and no package to read it with.
        InvalidOption: ``compact`` for weights that aren't quantized, or what the restorer refuses.
        UnsupportedCheckpoint: the content is damaged, of another model, or does not belong together.
    """
    how = PartLoader(execution)
    if folder_kind(files.path):
        return OneStepRestorer(**load_parts(files.path, how, SYSTEM))
    return _load_loose(files.path, files.search, how)


@dataclass(frozen=True)
class PartLoader:
    """Puts weights where the config wants them, in its type."""

    execution: OneStepExecution

    @property
    def device(self) -> torch.device:
        return torch.device("cpu" if self.execution.offload else self.execution.device)

    @property
    def dtype(self) -> torch.dtype:
        return self.execution.number_type()

    def denoiser(self, path: Path) -> WanModule:
        path = path / "transformer" if (path / "transformer").is_dir() else path
        return load_transformer(
            path, dtype=self.dtype, device=self.device, compact=self._compact(path), light=not self.execution.plain
        )

    def autoencoder(self, path: Path) -> WanModule:
        return load_vae(path, dtype=self.dtype, device=self.device, light=not self.execution.plain)

    def _compact(self, path: Path) -> bool:
        weights = self.execution.weights
        if weights != "auto" or self.device.type == "cpu":
            return weights == "compact"
        state = attach_scales(read_state_dict(path, "wan-dit"), path)
        quantized = [value.numel() for value in state.values() if isinstance(value, QuantizedWeight)]
        return sum(quantized) * self.dtype.itemsize > free_memory(self.device) / 2


def load_parts(folder: Path, how: PartLoader, system: str) -> dict[str, Any]:
    """The arguments of a :class:`OneStepRestorer` from a checkpoint folder of that system or one that builds on it.

    Raises:
        MissingWeights, UnsupportedCheckpoint, MissingDependency, InvalidOption: see :func:`load`.
    """
    card = read_card(folder)
    if card["system"] != system or card["format"] != FORMAT:
        raise UnsupportedCheckpoint(
            f"{folder} is of system {card['system']!r}, format {card['format']}; this version loads {system!r}, "
            f"format {FORMAT}. Update, or choose another checkpoint."
        )
    if bad := [key for key in NUMBERS if isinstance(card[key], bool) or not isinstance(card[key], (int, float))]:
        raise UnsupportedCheckpoint(f"{folder / CARD}: {bad[0]} is {card[bad[0]]!r}, but a number was expected.")
    return {
        "vae": how.autoencoder(folder),
        "transformer": how.denoiser(folder),
        "prompt": _prompt([folder], folder / PROMPT_FILE),
        **{kind: _codec(folder, kind, card, how) for kind in CODECS},
        "latent_skip": card.get("latent_skip"),
        "execution": how.execution,
        **{key: card[key] for key in NUMBERS},
    }


def _codec(folder: Path, kind: str, card: Mapping[str, Any], how: PartLoader) -> Any:
    """The conditional decoder or the tiny encoder that the card names, if it names one."""
    if card.get(kind) is None:
        return None
    if card[kind] != kind:
        raise UnsupportedCheckpoint(f"{folder / CARD}: {kind} is {card[kind]!r}; this version knows {kind!r}.")
    return load_codec(folder / kind, kind, dtype=how.dtype, device=how.device)


def load_codec(folder: Path, kind: str, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> Any:
    """Read what :func:`save_codec` wrote, in evaluation mode: a :class:`ConditionalDecoder` or a :class:`TinyEncoder`.

    Args:
        kind: of :data:`CODECS`.

    Raises:
        MissingWeights: a file isn't there.
        UnsupportedCheckpoint: names or shapes don't fit the config.
    """
    net, config = CODECS[kind]
    made = net(config.from_dict(part_config(folder, "the checkpoint's card names"), folder / "config.json"))
    return fill_part(made, folder).to(device=device, dtype=dtype or torch.float32)


def part_config(folder: Path, who: str) -> dict[str, Any]:
    """What ``config.json`` of a part's folder says.

    Args:
        who: wants the part, for the message where it isn't there.

    Raises:
        MissingWeights: a file isn't there.
        UnsupportedCheckpoint: it is no JSON object.
    """
    for name in ("config.json", WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise MissingWeights(f"{folder / name} is missing, which {who}; fetch it again.")
    return read_json(folder / "config.json")


def fill_part(net: Any, folder: Path) -> Any:
    """Give a net the weights of a part's folder, in fp32, and evaluation mode.

    Raises:
        UnsupportedCheckpoint: names or shapes don't fit.
    """
    state = read_tensors(folder / WEIGHTS_FILE)
    try:
        net.load_state_dict({key: value.float() for key, value in state.items()})
    except RuntimeError as error:
        raise UnsupportedCheckpoint(f"{folder / WEIGHTS_FILE} doesn't fit its config: {error}") from error
    return net.eval()


def _load_loose(path: Path, places: Sequence[Path], how: PartLoader) -> Restorer:
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
    prompt = _prompt(search, home / PROMPT_FILE)
    return OneStepRestorer(how.autoencoder(vae), transformer, prompt, execution=how.execution)


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
                    network = _network(Contents(file))
                    if network is not None and network.kind.startswith(part):
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
