"""Where checkpoints lie in ComfyUI, and where the pack may write."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import Any

import folder_paths

from vividface_core.io.folders import entries, is_dir, is_file, walk
from vividface_core.weights import TABLE, inspect, list_checkpoints

MODELS = "vividface"
"""The pack's own folder among ComfyUI's model folders; extra_model_paths.yaml may add others of this name."""
CORE_MODELS = "diffusion_models"
LANGUAGE_MODELS = "LLM"
"""Where packs with language models keep them; ComfyUI itself has no such folder."""

_restoring: dict[tuple[str, int, int], bool] = {}


def register_folders() -> None:
    """Add ``models/vividface`` and ``models/LLM`` to ComfyUI's model folders."""
    models = Path(folder_paths.models_dir)
    folder_paths.add_model_folder_path(MODELS, str(models / MODELS), is_default=True)
    folder_paths.add_model_folder_path(LANGUAGE_MODELS, str(models / LANGUAGE_MODELS))


def model_folders() -> list[Path]:
    """All folders for the pack's checkpoints, the default one first."""
    register_folders()
    return [Path(folder) for folder in folder_paths.get_folder_paths(MODELS)]


def model_names() -> list[str]:
    """What the loader offers: the table's names, everything in the pack's folders, and checkpoints of a system in the
    core's."""
    found = [name for name, entry in TABLE.items() if entry.restores]
    found += [info.name for info in list_checkpoints(model_folders()) if info.name not in TABLE]
    for name in folder_paths.get_filename_list(CORE_MODELS):
        path = folder_paths.get_full_path(CORE_MODELS, name)
        if path and _restores(Path(path)):
            found.append(f"{CORE_MODELS}/{name}")
    return list(dict.fromkeys(found))


def model_path(name: str) -> str:
    """What :func:`vividface_core.weights.load_restorer` takes for one of :func:`model_names`."""
    folder, _, rest = name.partition("/")
    return folder_paths.get_full_path_or_raise(CORE_MODELS, rest) if folder == CORE_MODELS and rest else name


def search_folders(name: str) -> list[Path]:
    """Where the parts of a checkpoint are looked for: of a core model also in the core's folders."""
    if not name.startswith(f"{CORE_MODELS}/"):
        return model_folders()
    core = [Path(folder) for kind in ("vae", "text_encoders") for folder in folder_paths.get_folder_paths(kind)]
    return [*model_folders(), *core]


def face_folders() -> list[Path]:
    """Where weights of face parsers and detectors may lie."""
    return [part for folder in model_folders() for part in (folder / "facexlib", folder)]


def metric_folders() -> list[Path]:
    """Where weights of metrics may lie."""
    return [folder / "metrics" for folder in model_folders()]


def language_model_folders() -> list[Path]:
    """Where multimodal models may lie."""
    register_folders()
    return [Path(folder) for folder in folder_paths.get_folder_paths(LANGUAGE_MODELS)]


def files_in(part: str, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files that a person put into ``part`` of the pack's folders, by name: nothing else can be chosen by it."""
    found: dict[str, Path] = {}
    for folder in model_folders():
        place = folder / part
        for path in entries(place):
            if path.suffix.lower() in suffixes and path.is_file():
                found.setdefault(path.name, path)
    return found


def safe_join(base: str | Path, name: str) -> Path | None:
    """The folder ``name`` below ``base``; ``None`` if the name leads out of it. Links belong to where they lie."""
    plain = name.replace("\\", "/").strip()
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    rooted = plain.startswith("/") or Path(plain).is_absolute() or Path(plain).drive
    if rooted or any(part == ".." or ":" in part or "\0" in part for part in parts):
        return None
    return Path(base).joinpath(*parts)


def temp_path(suffix: str) -> Path:
    """A new name in ComfyUI's temp folder, which is emptied when the server starts."""
    folder = Path(folder_paths.get_temp_directory()) / "vividface"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{uuid.uuid4().hex}{suffix}"


def view_params(path: str | Path) -> dict[str, str] | None:
    """How the page can ask for a file (``filename``, ``subfolder``, ``type``); ``None`` if no folder serves it."""
    path = Path(path).resolve()
    for kind in ("temp", "output", "input"):
        folder = Path(folder_paths.get_directory_by_type(kind)).resolve()
        if path.is_relative_to(folder):
            return {
                "filename": path.name,
                "subfolder": path.parent.relative_to(folder).as_posix().removeprefix("."),
                "type": kind,
            }
    return None


def fingerprint(path: str | Path, blocks: int = 16, size: int = 1 << 20) -> str:
    """What tells a file's content from another's: its length and sixteen evenly spread megabytes.

    Reading a film whole at every run would cost more than restoring some of it.
    """
    path = Path(path)
    files = [file for _, found in walk(path) for file in found if is_file(file)] if is_dir(path) else [path]
    digest = hashlib.sha256()
    for file in sorted(files):
        try:
            _take_in(digest, file, blocks, size)
        except OSError as error:  # it vanished, or may not be read: that is what it differs by
            digest.update(f"{file.name}:{error.errno}".encode())
    return digest.hexdigest()


def _take_in(digest: Any, file: Path, blocks: int, size: int) -> None:
    length = file.stat().st_size
    digest.update(f"{file.name}:{length}".encode())
    with file.open("rb") as source:
        for number in range(blocks):
            source.seek(max(0, length - size) * number // (blocks - 1))
            digest.update(source.read(size))
            if length <= size:
                break


def _restores(path: Path) -> bool:
    """Whether a core model is of one of the systems; pickles, which are slow to look into, only by their name."""
    try:
        state = path.stat()
    except OSError:
        return False
    key = (str(path), state.st_size, state.st_mtime_ns)
    if key not in _restoring:
        try:
            readable = path.suffix in (".safetensors", ".gguf") or "vividface" in path.name.lower()
            _restoring[key] = readable and inspect(path).restores
        except Exception:  # whatever a file of somebody's makes of a reader: the list of models goes on
            _restoring[key] = False
    return _restoring[key]
