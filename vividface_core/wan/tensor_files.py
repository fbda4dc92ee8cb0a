"""Tensors out of files, by content and without running anything that a file may hold."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vividface_core.errors import MissingWeights, UnsupportedCheckpoint

SUFFIXES = {".safetensors", ".pth", ".pt", ".ckpt", ".bin"}
WHOLE_MODELS = (
    "diffusion_pytorch_model.safetensors", "model.safetensors", "diffusion_pytorch_model.bin", "pytorch_model.bin",
)  # fmt: skip
"""Names of diffusers and transformers for a model in one file; with ``.index.json`` behind it, for shards."""
_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch.compile, FSDP and activation checkpointing write into the middle of names."""


def read_tensors(path: Path, names: Collection[str] | None = None) -> dict[str, Tensor]:
    """All tensors (or those ``names``) of a file, an ``*.index.json`` or a folder with one possibly sharded model.

    Tensors are memory-mapped: nothing is read before it is used. Nested dictionaries get dotted names.

    Raises:
        MissingWeights: nothing there, or a shard is missing.
        UnsupportedCheckpoint: damaged, no checkpoint, or a pickle with more than tensors in it.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, names)
    if not path.is_file():
        raise MissingWeights(f"There is no checkpoint at {path}. Give the path of a file or folder of weights.")
    if path.name.endswith(".index.json"):
        return _read_shards(path, names)
    with open(path, "rb") as file:
        head = file.read(64)
    if path.suffix == ".safetensors" or (len(head) > 9 and head[8:9] == b"{"):
        return _read_safetensors(path, names)
    if head.startswith((b"PK", b"\x80")):
        tensors = _read_pickle(path)
        return tensors if names is None else {name: tensors[name] for name in names if name in tensors}
    what = "a Git LFS pointer, not the file itself" if head.startswith(b"version https://git-lfs") else "no checkpoint"
    raise UnsupportedCheckpoint(f"{path} is {what}. Wanted is a safetensors or PyTorch file.")


def _read_safetensors(path: Path, names: Collection[str] | None) -> dict[str, Tensor]:
    try:
        with safe_open(path, "pt") as file:
            return {
                unwrap(name): file.get_tensor(name) for name in file.keys() if names is None or unwrap(name) in names
            }
    except (SafetensorError, OSError) as error:
        raise UnsupportedCheckpoint(f"{path} is damaged or no safetensors file ({reason(error)}).") from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise UnsupportedCheckpoint(
            f"{path} holds more than tensors and is not opened, as that could run foreign code. "
            f"Save it as safetensors. ({reason(error)})"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UnsupportedCheckpoint(f"{path} is damaged or no PyTorch file ({reason(error)}).") from error
    return dict(_flatten(content))


def _flatten(content: object, prefix: str = "") -> Iterable[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield unwrap(prefix.removesuffix(".")), content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _flatten(value, f"{prefix}{key}.")


def reason(error: Exception) -> str:
    """An error's first line, short enough for a message of one line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


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


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all, that others may read: the library writes for its owner alone."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        save_file(dict(tensors), partial, metadata=dict(metadata) if metadata else None)
        partial.chmod(0o644)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: object, indent: int | None = None) -> None:
    """Write JSON at once or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")
    os.replace(partial, path)


def read_json(path: Path) -> dict[str, Any]:
    """An object out of a JSON file.

    Raises:
        UnsupportedCheckpoint: it is damaged or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnsupportedCheckpoint(f"{path} is no valid JSON ({error}); fetch the checkpoint again.") from error
    if not isinstance(content, dict):
        raise UnsupportedCheckpoint(f"{path} holds no JSON object; fetch the checkpoint again.")
    return content
