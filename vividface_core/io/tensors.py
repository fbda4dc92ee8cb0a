"""Tensors out of files, by content and without running anything that a file may hold."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vividface_core.errors import MissingWeights, UnsupportedCheckpoint, first_line
from vividface_core.io.atomic import read_json
from vividface_core.io.file_kinds import check_weights
from vividface_core.io.file_names import beside
from vividface_core.io.quantization import LAYER, METADATA, Stored

SUFFIXES = {".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".gguf"}
WHOLE_MODELS = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
)
"""Names of diffusers and transformers for a model in one file; with ``.index.json`` behind it, for shards."""
_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch.compile, FSDP and activation checkpointing write into the middle of names."""
LEGACY_ZIP_MESSAGE = "PyTorch, old format"
"""What :func:`container` calls a file that can't be mapped."""
LOAD_ERRORS = (AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""What PyTorch raises for damaged pickles."""
GROUP = 8 << 20
"""Bytes that :func:`stream_tensors` maps at a time, or a share of the whole if that is more."""


def read_tensors(path: Path, names: Collection[str] | None = None) -> dict[str, Any]:
    """All tensors (or those ``names``) of a file, an ``*.index.json`` or a folder with one possibly sharded model.

    Tensors are memory-mapped: nothing is read before it is used. Nested dictionaries get dotted names. The quantized
    tensors of a GGUF file come as :class:`~vividface_core.io.quantization.QuantizedWeight`; a description of quantized
    layers in a safetensors file's metadata comes as a tensor for each layer.

    Raises:
        MissingWeights: nothing there, or a shard is missing.
        MissingDependency: a GGUF file, and no package to read it with.
        UnsupportedCheckpoint: damaged, no checkpoint, or a pickle with more than tensors in it.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, names)
    if not path.is_file():
        raise MissingWeights(f"There is no checkpoint at {path}. Give the path of a file or folder of weights.")
    if path.name.endswith(".index.json"):
        return _read_shards(path, names)
    try:
        check_weights(path)
        with open(path, "rb") as file:
            head = file.read(64)
    except OSError as error:
        raise UnsupportedCheckpoint(f"{path} can't be read: {error.strerror}. Check the file.") from error
    if head.startswith(b"GGUF"):
        from vividface_core.io.gguf import read_gguf

        return read_gguf(path, names)
    if path.suffix == ".safetensors" or (len(head) > 9 and head[8:9] == b"{"):
        return _read_safetensors(path, names)
    if head.startswith((b"PK", b"\x80")):
        tensors = _read_pickle(path)
        return tensors if names is None else {name: tensors[name] for name in names if name in tensors}
    raise UnsupportedCheckpoint(f"{path} is no checkpoint. Wanted is a safetensors, PyTorch or GGUF file.")


def container(path: Path) -> str:
    """The kind of file, or of the files in a folder, in a word or two."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
        shards = any(file.name.endswith(".index.json") for file in path.iterdir())
        return ("sharded " if shards else "") + (container(files[0]) if files else "folder")
    if path.name.endswith(".index.json"):
        return f"sharded {container(_shards(path, None)[0])}"
    with open(path, "rb") as file:
        head = file.read(9)
    if head.startswith(b"GGUF"):
        return "GGUF"
    if head.startswith(b"PK"):
        return "PyTorch"
    return LEGACY_ZIP_MESSAGE if head.startswith(b"\x80") else "safetensors"


def stream_tensors(path: Path, sizes: Mapping[str, int]) -> Iterator[tuple[str, Stored]]:
    """Tensors one after the other, so that little of the file is in memory at a time.

    Pages of a memory map count as the process's own until it is closed. So a few tensors are mapped at a time, the
    largest first: at the end, when most has been taken, only small ones are there twice. A file of PyTorch's old
    format can't be mapped and is read whole.

    Args:
        sizes: names of the wanted ones and their bytes.

    Raises:
        MissingWeights, MissingDependency, UnsupportedCheckpoint: as :func:`read_tensors`.
    """
    budget = max(GROUP, sum(sizes.values()) // 32) if _maps(path) else 1 << 62
    group: list[str] = []
    room = budget
    for name in [*sorted(sizes, key=sizes.__getitem__, reverse=True), None]:
        if group and (name is None or sizes[name] > room):
            tensors = read_tensors(path, group)
            for wanted in group:
                yield wanted, tensors.pop(wanted)
            group, room = [], budget
        if name is not None:
            group.append(name)
            room -= sizes[name]


def _maps(path: Path) -> bool:
    """Whether the tensors of a file or folder are mapped, not read."""
    files = [path]
    if path.is_dir():
        files = [file for file in path.iterdir() if file.suffix in SUFFIXES]
    elif path.name.endswith(".index.json"):
        files = _shards(path, None)
    return all(container(file) != LEGACY_ZIP_MESSAGE for file in files)


def _read_safetensors(path: Path, names: Collection[str] | None) -> dict[str, Tensor]:
    try:
        with safe_open(path, "pt") as file:
            tensors = {unwrap(name): name for name in file.keys()}
            described = _layer_descriptions((file.metadata() or {}).get(METADATA), tensors, path)
            wanted = tensors if names is None else {name: tensors[name] for name in names if name in tensors}
            return {name: file.get_tensor(inside) for name, inside in wanted.items()} | {
                name: value for name, value in described.items() if names is None or name in names
            }
    except (SafetensorError, OSError) as error:
        raise UnsupportedCheckpoint(f"{path} is damaged or no safetensors file ({first_line(error)}).") from error


def _layer_descriptions(table: str | None, tensors: Collection[str], path: Path) -> dict[str, Tensor]:
    """ComfyUI's table of quantized layers as what it makes of it: JSON in bytes, a tensor a layer."""
    if table is None:
        return {}
    try:
        layers = dict(json.loads(table)["layers"])
    except (ValueError, TypeError, KeyError) as error:
        raise UnsupportedCheckpoint(f"{path}: its {METADATA} is no table of layers ({first_line(error)}).") from error
    # The table may leave out what stands before every name in the file.
    prefix = next((find_prefix(tensors, f"{layer}.weight", path) for layer in layers), "") or ""
    return {
        f"{prefix}{layer}{LAYER}": torch.tensor(list(json.dumps(entry).encode()), dtype=torch.uint8)
        for layer, entry in layers.items()
    }


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise UnsupportedCheckpoint(
            f"{path} holds more than tensors and is not opened, as that could run foreign code. "
            f"Save it as safetensors. ({first_line(error)})"
        ) from error
    except LOAD_ERRORS as error:
        raise UnsupportedCheckpoint(f"{path} is damaged or no PyTorch file ({first_line(error)}).") from error
    return dict(_flatten(content))


def _flatten(content: object, prefix: str = "") -> Iterable[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield unwrap(prefix.removesuffix(".")), content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _flatten(value, f"{prefix}{key}.")


def unwrap(name: str) -> str:
    """A parameter's name without what training wrappers put into it."""
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _read_folder(folder: Path, names: Collection[str] | None) -> dict[str, Tensor]:
    present = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES and file.is_file())
    whole = [folder / name for name in WHOLE_MODELS if folder / name in present]
    indices = [folder / f"{name}.index.json" for name in WHOLE_MODELS if (folder / f"{name}.index.json").is_file()]
    if whole or (len(present) == 1 and not indices):
        return read_tensors((whole or present)[0], names)
    if indices:
        return _read_shards(indices[0], names)
    found = ", ".join(file.name for file in present) or "none"
    raise UnsupportedCheckpoint(f"{folder} should hold one file of weights or an index of shards; found: {found}.")


def _read_shards(index: Path, names: Collection[str] | None) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for file in _shards(index, names):
        tensors |= read_tensors(file, names)
    return tensors


def _shards(index: Path, names: Collection[str] | None) -> list[Path]:
    files = [index.parent / file for file in shard_names(index, names)]
    for file in files:
        if not file.is_file():
            raise MissingWeights(f"{file} is missing; {index.name} lists it. Fetch the folder again.")
    return files


def shard_names(index: Path, names: Collection[str] | None = None) -> list[str]:
    """The files that an ``*.index.json`` lists, all or those that hold tensors ``names``.

    Raises:
        UnsupportedCheckpoint: no index, or one that names files outside of its folder.
    """
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise UnsupportedCheckpoint(f"{index} is no index of shards; fetch the folder again.")
    files = sorted({file for name, file in places.items() if names is None or unwrap(name) in names})
    for file in files:
        # The index comes from outside: it may name its neighbours, nothing else.
        if Path(file).name != file:
            raise UnsupportedCheckpoint(f"{index} names a shard outside of its folder: {file}")
    return files


def misfits(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """In what tensors differ from the wanted ones, by name and shape: ``2 missing (a, b); 1 unexpected (c)``; "" if
    in nothing. Three of each are named."""
    faults = {
        "missing": [key for key in wanted if key not in found],
        "unexpected": sorted(key for key in found if key not in wanted),
        "of another shape": [
            f"{key} is {list(found[key].shape)}, not {list(value.shape)}"
            for key, value in wanted.items()
            if key in found and found[key].shape != value.shape
        ],
    }
    return "; ".join(
        f"{len(told)} {what} ({', '.join(told[:3])}{', …' if len(told) > 3 else ''})"
        for what, told in faults.items()
        if told
    )


def find_prefix(keys: Iterable[str], anchor: str, path: Path) -> str | None:
    """What stands before ``anchor`` in ``keys``: "" or, say, ``model.``; ``None`` if no key ends so.

    Raises:
        UnsupportedCheckpoint: there are several, as in a training state with and without averaged weights.
    """
    found = sorted({key[: -len(anchor)] for key in keys if key == anchor or key.endswith("." + anchor)})
    if len(found) > 1:
        raise UnsupportedCheckpoint(
            f"{path} holds {len(found)} copies of the model, under {', '.join(repr(p) for p in found)}. "
            "Save only one of them."
        )
    return found[0] if found else None


def unfamiliar(state: Mapping[str, Any]) -> str:
    """The size and the first entries of a state dict that is not recognised, for a message."""
    sample = ", ".join(f"{key} {list(value.shape)}" for key, value in list(state.items())[:3])
    return f"{len(state)} unfamiliar tensors ({sample} …)"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all, that others may read: the library writes for its owner alone."""
    partial = beside(path, before=".", after=".partial")
    try:
        save_file(dict(tensors), partial, metadata=dict(metadata) if metadata else None)
        partial.chmod(0o644)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def as_stored(name: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A weight as it is written: on the CPU, in ``dtype`` or its own type.

    Raises:
        UnsupportedCheckpoint: it is too large for ``dtype``.
    """
    # A copy, because safetensors refuses tensors that share memory.
    stored = value.detach().to("cpu", dtype or value.dtype, copy=True).contiguous()
    if torch.isfinite(value).all() and not torch.isfinite(stored).all():
        raise UnsupportedCheckpoint(f"{name} reaches {float(value.abs().max()):.3g}, too large for {dtype}. Take bf16.")
    return stored
