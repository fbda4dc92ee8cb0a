"""The project's own checkpoint: one folder.

``vae/`` and ``transformer/`` in diffusers' layout, ``empty_prompt.safetensors`` (``rows``: the text encoder's output
for the real tokens of "") and ``vividface.json`` (system, t*, velocity scale, native size, origin).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vividface_core.errors import MissingDependency, UnsupportedCheckpoint

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan, WanTransformer3DModel

FORMAT = 1
CARD = "vividface.json"
PROMPT = "empty_prompt.safetensors"
WEIGHTS = "diffusion_pytorch_model.safetensors"


def wan_classes() -> tuple[type, type]:
    """diffusers' ``AutoencoderKLWan`` and ``WanTransformer3DModel``.

    Raises:
        MissingDependency: diffusers is absent or can't be imported.
    """
    try:
        from diffusers import AutoencoderKLWan, WanTransformer3DModel
    except Exception as error:  # a broken diffusers fails in many ways, all of them mean the same here
        raise MissingDependency(
            f"Restoring needs diffusers 0.36 or newer, which can't be imported here ({error}). "
            "Install it again: pip install -U diffusers"
        ) from error
    return AutoencoderKLWan, WanTransformer3DModel


def save_checkpoint_folder(
    folder: Path,
    vae: AutoencoderKLWan,
    transformer: WanTransformer3DModel,
    prompt_rows: Tensor,
    meta: dict[str, Any],
    *,
    dtype: torch.dtype = torch.float16,
) -> Path:
    """Write a checkpoint folder; it appears under its name only when it is complete.

    Args:
        prompt_rows: ``[rows, text width]``.
        meta: written into ``vividface.json``.
        dtype: type of the stored weights.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, module in (("vae", vae), ("transformer", transformer)):
            (scratch / name).mkdir()
            module.save_config(scratch / name)
            state = {key: value.detach().cpu().to(dtype).contiguous() for key, value in module.state_dict().items()}
            save_file(state, scratch / name / WEIGHTS)
        save_file({"rows": prompt_rows.detach().cpu().float().contiguous()}, scratch / PROMPT)
        (scratch / CARD).write_text(json.dumps({"format": FORMAT, **meta}, indent=1) + "\n")
        os.chmod(scratch, 0o755)
        if folder.exists():
            shutil.rmtree(folder)
        scratch.rename(folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return folder


def load_checkpoint_folder(
    folder: Path, dtype: torch.dtype = torch.float32
) -> tuple[AutoencoderKLWan, WanTransformer3DModel, Tensor, dict[str, Any]]:
    """Read a checkpoint folder.

    Returns:
        Autoencoder, denoiser, prompt rows ``[rows, text width]`` and the card.

    Raises:
        UnsupportedCheckpoint: a file is missing, damaged, or its keys or shapes are not the config's.
    """
    folder = Path(folder)
    vae_class, transformer_class = wan_classes()
    try:
        meta = json.loads((folder / CARD).read_text())
        rows = load_file(folder / PROMPT)["rows"]
        states = {name: load_file(folder / name / WEIGHTS) for name in ("vae", "transformer")}
        configs = {name: json.loads((folder / name / "config.json").read_text()) for name in states}
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UnsupportedCheckpoint(f"{folder} is no complete checkpoint folder: {error}") from error
    if meta.get("format") != FORMAT:
        raise UnsupportedCheckpoint(
            f"{folder / CARD} has format {meta.get('format')!r}; this version reads format {FORMAT}. Update VividFace."
        )
    modules = []
    for name, kind in (("vae", vae_class), ("transformer", transformer_class)):
        modules.append(fill(kind.from_config(configs[name]), states[name], folder / name, dtype))
    return modules[0], modules[1], rows, meta


def fill(module: nn.Module, state: dict[str, Tensor], source: Path, dtype: torch.dtype) -> nn.Module:
    """Put a state dict into a module, all keys and shapes matching.

    Raises:
        UnsupportedCheckpoint: names the first keys or shapes at fault.
    """
    expected = module.state_dict()
    wrong = [f"missing {key}" for key in expected.keys() - state.keys()]
    wrong += [f"unexpected {key}" for key in state.keys() - expected.keys()]
    wrong += [
        f"{key} is {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected.keys() & state.keys()
        if state[key].shape != expected[key].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UnsupportedCheckpoint(f"{source} doesn't fit its config: {'; '.join(sorted(wrong)[:3])}{more}.")
    module.load_state_dict(state, strict=True)
    return module.to(dtype)
