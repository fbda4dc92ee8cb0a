"""Which checkpoints there are, where they lie, and how a name becomes a restorer.

A checkpoint is told by its content, never by its file name. Looked for is, in this order, in the folders that the host
names and in ``$VIVIDFACE_MODELS`` (``~/.cache/vividface`` if unset).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vividface_core.convert import CARD, DEFAULTS, FORMAT, convert, convert_denoiser, save_checkpoint_folder
from vividface_core.errors import (
    InvalidOption,
    MissingDependency,
    MissingWeights,
    UnsupportedCheckpoint,
    VividFaceError,
)
from vividface_core.hub import HubFile, fetch
from vividface_core.memory import free_memory
from vividface_core.restorers.base import Restorer
from vividface_core.restorers.one_step import OneStepRestorer, default_dtype
from vividface_core.wan.build import load_transformer, load_vae, read_config, transformer_config, vae_config
from vividface_core.wan.empty_prompt import FILE_NAME as PROMPT_FILE
from vividface_core.wan.empty_prompt import EmptyPrompt, compute_empty_prompt
from vividface_core.wan.names import describe, kind_of, read_state_dict
from vividface_core.wan.quantised import QuantisedWeight, gather, type_names
from vividface_core.wan.tensor_files import SUFFIXES, container, read_json, shard_names

__all__ = [
    "CheckpointInfo", "TABLE", "WEIGHTS", "convert", "convert_denoiser", "download", "inspect", "list_checkpoints",
    "load_restorer", "model_folders", "save_checkpoint_folder", "where",
]  # fmt: skip

WEIGHTS = ("auto", "dense", "compact")
"""How a quantised denoiser is kept: see :func:`load_restorer`."""
ASSETS = Path(__file__).parent / "assets"
WAN = "Wan-AI/Wan2.1-T2V-1.3B"
WAN_DIFFUSERS = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
UMT5 = HubFile(
    WAN, "models_t5_umt5-xxl-enc-bf16.pth",
    "7cace0da2b446bbbbc57d031ab6cf163a3d59b366da94e5afe36745b746fd81d", 11_361_920_418,
)  # fmt: skip
VAE = HubFile(WAN, "Wan2.1_VAE.pth", "38071ab59bd94681c686fa51d75a1968f64e470262043be31f7a094e442fd981", 507_609_880)


@dataclass(frozen=True)
class Entry:
    """A checkpoint that the project knows.

    Attributes:
        files: those ending in ``.index.json`` stand for their shards as well.
        restores: false for a base that has to be trained first.
    """

    summary: str
    licence: str
    files: tuple[HubFile, ...] = ()
    restores: bool = True


TABLE: dict[str, Entry] = {
    "vividface-nano": Entry(
        "the small embedded model: needs no download and no GPU; see docs/nano.md", "Apache-2.0"
    ),
    "vividface": Entry(
        "the released 1.3B model (the text encoder is needed once)",
        "Apache-2.0 as its repository claims; Wan 2.1 parts Apache-2.0",
        (HubFile("shulianz/VividFace", "vividface.ckpt"), VAE, UMT5),
    ),
    "wan2.1-t2v-1.3b": Entry(
        "the untrained base in diffusers' layout, to train from", "Apache-2.0",
        tuple(
            HubFile(WAN_DIFFUSERS, path)
            for path in (
                "vae/config.json", "vae/diffusion_pytorch_model.safetensors",
                "transformer/config.json", "transformer/diffusion_pytorch_model.safetensors.index.json",
                "text_encoder/config.json", "text_encoder/model.safetensors.index.json",
            )
        ),
        restores=False,
    ),
}  # fmt: skip
"""Known checkpoints by name."""


@dataclass(frozen=True)
class CheckpointInfo:
    """What is known of one checkpoint, or of one part of it.

    Attributes:
        format: how the weights are stored (a folder's denoiser): kind of file and types of the numbers.
    """

    name: str
    kind: str  # "checkpoint folder", "diffusers folder", "loose files", "empty prompt", "missing", or of wan.names
    path: Path | None = None
    licence: str = "unknown"
    size: int = 0
    summary: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    format: str = ""

    @property
    def here(self) -> bool:
        """Whether it can be loaded now."""
        return self.path is not None

    def __str__(self) -> str:
        kind = f"{self.kind} ({self.format})" if self.format else self.kind
        place = f"{kind}, {self.size / 1e6:,.0f} MB, {self.path}" if self.path else "not here"
        parts = [f"{self.name:<20} {place}", self.summary, f"licence: {self.licence}"]
        return "; ".join(part for part in parts if part)


def model_folders(folders: Iterable[str | Path] | None = None) -> list[Path]:
    """Where to look: ``folders``, then the default one. They need not exist."""
    default = Path(os.environ.get("VIVIDFACE_MODELS") or Path.home() / ".cache" / "vividface")
    return [*map(Path, folders or ()), default]


def where(name: str | Path, folders: Iterable[str | Path] | None = None) -> Path:
    """The folder (or single file) of a checkpoint.

    Args:
        name: of :data:`TABLE`, of something in one of the folders, or a path.

    Raises:
        MissingWeights: known, but not here; tells each file, the folder for it and its address.
        InvalidOption: no such name; lists the known ones.
    """
    text, places = str(name), model_folders(folders)
    if text in TABLE:
        return _known(text, places)
    for candidate in [Path(text).expanduser(), *(place / text for place in places)]:
        if candidate.exists():
            return candidate
    if Path(text).suffix in SUFFIXES or os.sep in text or "/" in text:
        raise MissingWeights(f"There is no checkpoint at {text}, nor under {', '.join(map(str, places))}.")
    names = [*TABLE, *(info.name for info in _local(places))]
    raise InvalidOption(
        f"No checkpoint is called {text!r}. Known are {', '.join(dict.fromkeys(names))}; or give a path."
    )


def _known(name: str, places: Sequence[Path]) -> Path:
    entry = TABLE[name]
    if not entry.files:
        if not (ASSETS / name / CARD).is_file():
            raise MissingWeights(
                f"{name} belongs into {ASSETS / name}, as part of the installation, and isn't there: install anew, "
                "or make it with the commands in docs/nano.md."
            )
        return ASSETS / name
    candidates = [candidate for place in places for candidate in (place / name, place)]
    for candidate in candidates:
        if _folder_kind(candidate) in ("checkpoint folder", "diffusers folder") or not _absent(entry, candidate):
            return candidate
    best = min(candidates[::2], key=lambda folder: len(_absent(entry, folder)))
    lines = "; ".join(f"{file.path} from {file.address}" for file in _absent(entry, best))
    raise MissingWeights(
        f"{name} is not here. Fetch it with 'vividface models download {name}', or put into {best}: {lines}"
    )


def _absent(entry: Entry, folder: Path) -> list[HubFile]:
    """Files of the entry that are not in ``folder``. The text encoder has done its duty once the prompt is there."""
    absent = [file for file in entry.files if not (folder / file.path).is_file()]
    if (folder / PROMPT_FILE).is_file():
        absent = [file for file in absent if file is not UMT5 and not file.path.startswith("text_encoder/")]
    return absent


def download(name: str, folder: str | Path | None = None, progress: Callable[[float], None] | None = None) -> Path:
    """Fetch all files of a known checkpoint into ``folder/name`` (default: the models folder); resumes.

    Raises:
        InvalidOption: no such name. MissingWeights, UnsupportedCheckpoint: see :func:`vividface_core.hub.fetch`.
    """
    if name not in TABLE:
        raise InvalidOption(f"No checkpoint is called {name!r}. Known are {', '.join(TABLE)}.")
    if not TABLE[name].files:
        return where(name)
    target = (Path(folder) if folder else model_folders()[-1]) / name
    files = _absent(TABLE[name], target) + [file for file in TABLE[name].files if file.path.endswith(".index.json")]
    files = sorted(dict.fromkeys(files), key=lambda file: not file.path.endswith(".json"))
    report = progress or (lambda share: None)
    for done, file in enumerate(files):  # grows by the shards that an index names
        total = len(files)
        path = fetch(file, target, lambda part, done=done, total=total: report((done + part) / total))
        if file.path.endswith(".index.json"):
            parent = file.path.rpartition("/")[0]
            files += [HubFile(file.repo, f"{parent}/{shard}") for shard in shard_names(path)]
    report(1.0)
    return target


def inspect(path: str | Path) -> CheckpointInfo:
    """What a file or folder is, by its content.

    Raises:
        MissingWeights: nothing there.
        UnsupportedCheckpoint: none of the known kinds; tells the first keys and shapes.
    """
    path = Path(path)
    kind = _folder_kind(path)
    if kind is not None:
        card = _read_card(path)
        licence = str(card.get("licence", "unknown"))
        return CheckpointInfo(path.name, kind, path, licence, _size(path), config=card, format=_format(path))
    tensors = gather(read_state_dict(path), path)
    kind = "empty prompt" if "rows" in tensors and len(tensors) <= 2 else kind_of(tensors)
    if kind is None:
        raise UnsupportedCheckpoint(f"{path} is none of the known checkpoints: it holds {describe(tensors)}.")
    readers = {"wan-dit-original": transformer_config, "wan-vae-original": vae_config}
    config = read_config(path) or (readers[kind](tensors, path) if kind in readers else {})
    found = f"{container(path)}, {type_names(tensors)}"
    return CheckpointInfo(path.stem, kind, path, size=_size(path), config=config, format=found)


def _format(folder: Path) -> str:
    """How the denoiser of a folder is stored; "" where that can't be told, which is loading's to say."""
    try:
        return inspect(folder / "transformer").format
    except VividFaceError:
        return ""


def _folder_kind(path: Path) -> str | None:
    if (path / CARD).is_file():
        return "checkpoint folder"
    if all((path / part / "config.json").is_file() for part in ("vae", "transformer")):
        return "diffusers folder"
    return None


def _size(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def list_checkpoints(folders: Iterable[str | Path] | None = None) -> list[CheckpointInfo]:
    """The known checkpoints, here or not, and what else lies in the model folders."""
    found = []
    for name, entry in TABLE.items():
        try:
            path = where(name, folders)
            found.append(
                CheckpointInfo(
                    name, _folder_kind(path) or "loose files", path, entry.licence, _size(path), entry.summary,
                    format=_format(path) if _folder_kind(path) else "",
                )  # fmt: skip
            )
        except MissingWeights:
            found.append(CheckpointInfo(name, "missing", licence=entry.licence, summary=entry.summary))
    return found + [info for info in _local(model_folders(folders)) if info.name not in TABLE]


def _local(places: Iterable[Path]) -> list[CheckpointInfo]:
    """Checkpoint folders and single denoiser files directly in ``places``."""
    found = {}
    for place in places:
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if path.name.startswith(".") or (path.is_file() and path.suffix not in SUFFIXES):
                continue
            if path.is_dir() and _folder_kind(path) is None:
                continue
            try:
                info = inspect(path)
            except (UnsupportedCheckpoint, MissingDependency):
                continue  # a models folder is shared with other programs; what is not ours is not listed
            if path.is_dir() or info.kind.startswith("wan-dit"):
                found.setdefault(path.name, CheckpointInfo(**{**vars(info), "name": path.name}))
    return list(found.values())


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
        weights: how quantised weights of the denoiser (fp8, GGUF) are kept. ``dense``: unpacked once to ``dtype``;
            ``compact``: as in the file, unpacked at every use: the same results in less memory, slower; ``auto``:
            dense, but compact on an accelerator of whose free memory the unpacked ones would fill more than half.
        plain: diffusers' own modules, unchanged: to compare with and to train.
        options: others of :class:`~vividface_core.restorers.one_step.OneStepRestorer`, as ``attention``.

    Raises:
        MissingWeights: something is not here; tells the file, the folder and the address.
        MissingDependency: a GGUF file, and no package to read it with.
        InvalidOption: no such name, or ``compact`` for weights that aren't quantised.
        UnsupportedCheckpoint: the content is damaged, of another model, or does not belong together.
    """
    if weights not in WEIGHTS:
        raise InvalidOption(f"weights is {weights!r}; choose {', '.join(WEIGHTS)}.")
    place = torch.device("cpu" if options.get("offload") else device)
    how = _How(place, dtype or default_dtype(device), weights)
    folders, options = list(folders or ()), {"device": device, "dtype": how.dtype, "plain": plain, **options}
    path = where(name_or_path, folders)
    if _folder_kind(path):
        return _load_folder(path, how, options)
    return _load_loose(path, model_folders(folders), how, options)


@dataclass(frozen=True)
class _How:
    """Where a restorer computes, in which type, and how it keeps quantised weights."""

    device: torch.device
    dtype: torch.dtype
    weights: str

    def denoiser(self, path: Path) -> nn.Module:
        path = path / "transformer" if (path / "transformer").is_dir() else path
        return load_transformer(path, dtype=self.dtype, device=self.device, compact=self._compact(path))

    def autoencoder(self, path: Path) -> nn.Module:
        return load_vae(path, dtype=self.dtype, device=self.device)

    def _compact(self, path: Path) -> bool:
        if self.weights != "auto" or self.device.type == "cpu":
            return self.weights == "compact"
        state = gather(read_state_dict(path, "wan-dit"), path)
        quantised = [value.numel() for value in state.values() if isinstance(value, QuantisedWeight)]
        return sum(quantised) * self.dtype.itemsize > free_memory(self.device) / 2


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    return {**DEFAULTS, **(read_json(path) if path.is_file() else {})}


def _load_folder(folder: Path, how: _How, options: Mapping[str, Any]) -> Restorer:
    card = _read_card(folder)
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
        **options,
        **{key: card[key] for key in keys},
    )


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
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            if file.is_file() and file.suffix in SUFFIXES:
                try:
                    if inspect(file).kind.startswith(part):
                        found.append(file)
                except UnsupportedCheckpoint:
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
