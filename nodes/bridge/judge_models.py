"""Multimodal models in ComfyUI's folders and in its model management."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import comfy.model_management as management
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP

from vividface_core.errors import MissingWeights, UnsupportedCheckpoint
from vividface_core.io.atomic import read_json
from vividface_core.io.folders import entries, is_dir, is_file
from vividface_core.mllm.judges.local import MODELS, LocalJudge

from .paths import language_model_folders

ANY = "auto"
DEPTH = 3
"""Levels of folders that are searched: packs keep models under the name of their makers."""
LATER = 1.0
"""Seconds."""
ROOM = 3 << 30
"""Bytes that an answer takes beside the weights, at the default number and size of frames of a 7B model."""


def judge_models() -> dict[str, Path]:
    """Qwen2.5-VL and Qwen3-VL in transformers' layout, by their place in the folder."""
    found: dict[str, Path] = {}
    for base in language_model_folders():
        for folder in _folders(base, DEPTH):
            if _kind(folder / "config.json") in MODELS:
                found.setdefault(folder.relative_to(base).as_posix(), folder)
    return dict(sorted(found.items()))


def judge_model(name: str) -> Path:
    """
    Raises:
        MissingWeights: it isn't there.
    """
    known = judge_models()
    if name == ANY and known:
        return next(iter(known.values()))
    if name not in known:
        which = "There is no Qwen2.5-VL or Qwen3-VL" if name == ANY else f"There is no {name}"
        places = ", ".join(map(str, language_model_folders()))
        raise MissingWeights(
            f"{which} in {places}. Put its whole folder there (config.json, *.safetensors …), as from "
            "https://huggingface.co/Qwen/Qwen2.5-VL-7B-Instruct, or choose another judge."
        )
    return known[name]


def _folders(base: Path, depth: int) -> Iterator[Path]:
    for entry in (entry for entry in entries(base) if is_dir(entry) and entry.name[0] != "."):
        yield entry
        if depth > 1:
            yield from _folders(entry, depth - 1)


def _kind(config: Path) -> Any:
    try:
        return read_json(config).get("model_type") if is_file(config) else None
    except (UnsupportedCheckpoint, OSError):
        return None


class ModelCache:
    """The judge that was used last: it stays on its device until ComfyUI wants the room, and is then let go of."""

    def __init__(self) -> None:
        self._held: tuple[Any, ModelPatcher, tuple[Any, Any]] | None = None

    def judge(self, folder: Path, dtype: str, make: Callable[..., LocalJudge]) -> LocalJudge:
        """A judge whose model is on its device.

        Args:
            dtype: of the weights.
            make: a judge on the CPU; gets ``loaded``.
        """
        held, key = self._held, (folder, dtype, _stamp(folder))
        if held is None or held[0] != key:
            self.drop()
            logging.info("VividFace: loading the judge %s as %s", folder.name, dtype)
            with torch.inference_mode(False):
                loaded = make(loaded=None).loaded
            # A list of its own around it: the patcher notes things on its model.
            patcher = ModelPatcher(
                torch.nn.ModuleList([loaded[0]]), management.get_torch_device(), management.unet_offload_device()
            )
            patcher.add_callback(CallbacksMP.ON_DETACH, self._unloaded)
            held = key, patcher, loaded
        management.load_models_gpu([held[1]], memory_required=ROOM, force_full_load=True)
        self._held = held
        return make(loaded=held[2])

    def drop(self) -> None:
        """Forget the model."""
        self._held = None

    def _unloaded(self, patcher: ModelPatcher, for_good: bool) -> None:
        """ComfyUI took it off its device. It is walking through its list of models, which forgetting one would change:
        so that comes a moment later."""
        if for_good:
            later = threading.Timer(LATER, self._forget, [patcher])
            later.daemon = True
            later.start()

    def _forget(self, patcher: ModelPatcher) -> None:
        used_again = any(one is patcher for one in management.loaded_models())
        if self._held is not None and self._held[1] is patcher and not used_again:
            logging.info("VividFace: the judge is let go of")
            self.drop()


def _stamp(folder: Path) -> tuple[Any, ...]:
    """Changes when files do."""
    files = [path for path in entries(folder) if is_file(path)]
    return tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files)


MODEL_CACHE = ModelCache()
